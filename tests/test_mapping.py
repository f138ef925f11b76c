"""What a map makes of its options before anything runs."""

from math import inf, nan

import pytest

from mpipool.errors import UsageError
from mpipool.mapping import make_call
from mpipool.options import check

BEYOND = 10**400
"""No float is as large."""
ITEMS = ["a", "bbb", "cc"]


def costs(cost, items=ITEMS) -> list[float]:
    call = make_call(len, check("map", {"cost": cost}), "")
    return [call.cost(index, item) for index, item in enumerate(items)]


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [
        (2, [2.0, 2.0, 2.0]),
        ([1, 2.5, 0], [1.0, 2.5, 0.0]),
        (range(3), [0.0, 1.0, 2.0]),
        (len, [1.0, 3.0, 2.0]),
    ],
)
def test_costs_are_seconds_of_each_item_however_they_are_given(cost, seconds):
    found = costs(cost)
    assert found == seconds
    assert all(type(cost) is float for cost in found)


def test_no_costs_are_made_up():
    assert make_call(len, check("map", {}), "").cost is None


@pytest.mark.parametrize("bad", ["x", None, -1.0, nan, inf, [1.0], BEYOND], ids=type)
@pytest.mark.parametrize(
    "form", [lambda bad: [1.0, bad, 1.0], lambda bad: {"bbb": bad, "a": 1}.get]
)
def test_what_is_no_cost_is_refused_with_its_item(bad, form):
    with pytest.raises(UsageError) as caught:
        costs(form(bad))
    assert str(caught.value) == f"cost= of item 1 is {bad!r}: that is a number of seconds"


def test_items_beyond_the_costs_are_refused():
    with pytest.raises(UsageError, match=r"^cost= has 2 numbers, and there are more items$"):
        costs([1.0, 2.0])
