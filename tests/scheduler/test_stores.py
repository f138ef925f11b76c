"""Who holds how much, and from whom."""

import pytest

from mpipool.ids import LeaseId
from mpipool.scheduler.stores import Store

L1, L2, L3, L4 = map(LeaseId, (1, 2, 3, 4))


def store(cap: int = 10) -> Store:
    """Of 10, lease 1 holds 6 and lease 2, below it, 4 of these."""
    made = Store("memory", cap)
    made.promise(L1, 6, ())
    made.promise(L2, 4, (L1,))
    return made


def test_what_a_descendant_needs_comes_from_its_ancestors_first():
    assert store().free == 4
    assert (store().parts[L1].unused, store().parts[L2].unused) == (2, 4)
    assert store().parts[L2].sources == [(L1, 4)]


def test_the_nearest_ancestor_gives_first_then_those_outside_it_then_the_store():
    made = store()
    made.promise(L3, 9, (L2, L1))
    assert made.parts[L3].sources == [(L2, 4), (L1, 2)]
    assert (made.parts[L3].own, made.free) == (3, 1)


@pytest.mark.parametrize(
    ("above", "reach", "rest"), [((), 4, 8), ((L1,), 6, 6), ((L2, L1), 10, 2), ((L4,), 4, 8)]
)
def test_what_is_within_reach_depends_on_the_ancestors(above, reach, rest):
    assert store().reach(above) == reach
    assert store().rest(8, above) == rest
    assert store().rest(1, (L1,)) == 0


def test_what_is_given_back_goes_where_it_came_from():
    made = store()
    made.give_back(L2)
    assert (made.free, made.parts[L1].unused) == (4, 6)
    made.give_back(L1)
    assert (made.free, made.parts) == (10, {})


def test_a_lease_which_ends_before_its_descendants_gives_back_when_they_have():
    made = store()
    made.promise(L3, 5, (L2, L1))
    made.give_back(L1)
    made.give_back(L2)
    assert made.free == 4
    made.give_back(L3)
    assert (made.free, made.parts) == (10, {})
