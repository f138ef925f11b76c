"""The order of demands."""

import pytest

from builders import NOBODY, led_by
from mpipool.needs import Needs
from mpipool.scheduler.demands import Demand, Demands

A, B, C = (led_by(NOBODY, serial) for serial in (1, 2, 3))


def demand(path=(A,), opened: int = 1, **fields) -> Demand:
    return Demand(path[-1], tuple(path), opened, **fields)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"queued": 9, "seconds": 1.0}, 0),
        ({"queued": 9, "seconds": 1.04}, 0),
        ({"queued": 9, "seconds": 0.96}, 0),
        ({"queued": 9, "seconds": 1.1}, 1),
        ({"queued": 9, "seconds": 2.0}, 7),
        ({"queued": 9, "seconds": 4.0, "lent": 1}, 7),
        ({"queued": 9, "seconds": 4.0, "lent": 3}, 0),
        ({"queued": 9, "seconds": 4.0, "coming": 3}, 15),
        ({"queued": 9, "seconds": 1000.0}, 72),
        ({"queued": 2}, 7),
        ({"queued": 2, "lent": 1}, 0),
        ({"queued": 0}, -217),
        ({"queued": 9, "seconds": 1e-12}, -217),
    ],
)
def test_urgency_goes_in_steps_of_a_tenth(fields, steps):
    assert demand(**fields).urgency == (-1, -steps, 1)


def test_urgency_sorts_by_depth_then_time_then_opening():
    assert demand((A, B, C), opened=4, seconds=1.0).urgency == (-3, 0, 4)


@pytest.mark.parametrize(
    ("queued", "coming", "unmet"), [(3, 0, 3), (3, 2, 1), (3, 3, 0), (0, 1, -1)]
)
def test_each_rank_that_comes_will_take_a_task(queued, coming, unmet):
    assert demand(queued=queued, coming=coming).unmet == unmet


def opened(demands: Demands, scatter, **fields) -> Demand:
    """Open a demand with these fields, in its place."""
    made = demands.open(scatter, (scatter,))
    for name, value in fields.items():
        setattr(made, name, value)
    demands.file(made)
    return made


def test_demands_are_numbered_as_they_open_and_found_again():
    demands = Demands()
    first, second = demands.open(A, (A,)), demands.open(B, (A, B))
    assert (first.opened, second.opened) == (1, 2)
    assert (second.scatter, second.path) == (B, (A, B))
    assert (second.queued, second.seconds, second.lent, second.coming) == (0, 0.0, 0, 0)
    assert not second.closed
    assert demands.open(A, (A,)) is first
    assert demands[B] is second
    assert list(demands) == [first, second]
    assert A in demands
    assert C not in demands


def test_the_most_urgent_is_taken_out_and_then_the_next():
    demands = Demands()
    assert demands.take() is None
    short, long = (
        opened(demands, A, queued=1, seconds=1.0),
        opened(demands, B, queued=1, seconds=9.0),
    )
    assert [demands.take(), demands.take(), demands.take()] == [long, short, None]


@pytest.mark.parametrize(
    "fields", [{"queued": 0}, {"queued": 2, "coming": 2}, {"queued": 2, "closed": True}]
)
def test_what_wants_nothing_is_not_taken(fields):
    demands = Demands()
    opened(demands, A, **fields)
    assert demands._heap == []
    assert demands.take() is None


@pytest.mark.parametrize(
    ("change", "is_first"),
    [
        ({"queued": 1, "seconds": 4.0}, True),
        ({"seconds": 0.1}, False),
        ({"coming": 5, "seconds": 9.0}, None),
        ({"closed": True}, None),
        ({"refused": True}, None),
    ],
)
def test_what_was_filed_anew_stands_in_its_new_place_only(change, is_first):
    demands = Demands()
    changed, other = opened(demands, A, queued=5, seconds=9.0), opened(demands, B, queued=1)
    for name, value in change.items():
        setattr(changed, name, value)
    demands.file(changed)
    expected = {True: [changed, other], False: [other, changed], None: [other]}[is_first]
    assert [*iter(demands.take, None)] == expected


def test_what_is_filed_twice_is_taken_once():
    demands = Demands()
    one = opened(demands, A, queued=5, seconds=9.0)
    for seconds in (99.0, 9.0, 9.0):
        one.seconds = seconds
        demands.file(one)
    assert [demands.take(), demands.take()] == [one, None]


def test_what_was_forgotten_since_it_was_filed_is_passed_over():
    demands = Demands()
    over, other = opened(demands, A, queued=5, seconds=9.0), opened(demands, B, queued=1)
    over.closed = True
    demands.forget_if_over(over)
    assert A not in demands
    assert [demands.take(), demands.take()] == [other, None]


@pytest.mark.parametrize("fields", [{}, {"closed": True, "lent": 1}, {"lent": 1}])
def test_what_is_open_or_has_a_rank_is_not_forgotten(fields):
    demands = Demands()
    demands.forget_if_over(opened(demands, A, **fields))
    assert A in demands


def test_stale_entries_do_not_pile_up():
    demands = Demands()
    short = opened(demands, A, queued=1, seconds=1.0)
    long = opened(demands, B, queued=1, seconds=9.0)
    longest = opened(demands, C, queued=1, seconds=99.0)
    opened(demands, led_by(NOBODY, 4), queued=1).closed = True
    closed = demands[led_by(NOBODY, 4)]
    demands.file(closed)
    for turn in range(2 * 4 + 64 - 4):
        short.seconds = 1.0 + turn % 2
        demands.file(short)
    assert len(demands._heap) == 71
    short.seconds = 1.0
    demands.file(short)
    assert len(demands._heap) == 72
    short.seconds = 2.0
    demands.file(short)
    assert len(demands._heap) == 3
    assert [demands.take(), demands.take(), demands.take()] == [longest, long, short]
    assert demands.take() is None


def test_gangs_come_before_other_demands_of_the_same_depth_and_after_deeper_ones():
    demands = Demands()
    gangs = demands.open(A, (A,), Needs((2, 2), in_place=True))
    others = [demands.open(B, (B,)), demands.open(C, (B, C))]
    for each in (gangs, *others):
        each.queued, each.seconds = 1, 1000.0 * (each is not gangs)
        demands.file(each)
    assert [demands.take() for _ in range(3)] == [others[1], gangs, others[0]]
    assert list(demands.gangs) == [A]
    gangs.closed = True
    demands.forget_if_over(gangs)
    assert demands.gangs == {}


@pytest.mark.parametrize(
    ("queued", "seconds", "mean"), [(4, 2.0, 0.5), (4, 0.0, 0.0), (0, 0.0, 0.0)]
)
def test_the_mean_is_0_while_nothing_is_known(queued, seconds, mean):
    assert demand(queued=queued, seconds=seconds).mean == mean


def test_a_scatter_which_opens_again_is_new():
    demands = Demands()
    over = opened(demands, A, closed=True)
    demands.forget_if_over(over)
    assert demands.open(A, (A,)).opened == 2
