"""Where the caches of tasks are, and which calls make them again."""

from array import array

import pytest

from builders import led_by
from mpipool.caching import Scope
from mpipool.group import Scatter
from mpipool.ids import ExecutorId, Rank
from mpipool.led import Led
from mpipool.messages import Open


def call(serial: int, *items: bytes) -> Led:
    """Make a call with its items."""
    opening = Open(
        request=serial, digest=b"%16d" % serial, stage="", retries=0, recorded=False, keyed=False
    )
    scatter = led_by(1, serial)
    led = Led(
        scatter=scatter,
        path=(scatter,),
        owner=ExecutorId(1),
        entry=None,
        opening=opening,
        machine=Scatter(),
    )
    led.backlog.add(array("Q", map(len, items)).tobytes(), b"".join(items))
    return led


def fill(scope: Scope, *tasks: int, rank: int, executor: int = 1, after: Led | None = None) -> None:
    scope.fill(tasks, Rank(rank), ExecutorId(executor), after)


@pytest.fixture
def first() -> Led:
    return call(1, b"a", b"bb", b"ccc", b"dddd")


@pytest.fixture
def scope(first) -> Scope:
    """Caches of tasks 0 and 1 on rank 4, of task 2 on rank 5, none of task 3."""
    made = Scope(first.scatter, [first])
    fill(made, 0, 1, rank=4, executor=2)
    fill(made, 2, rank=5, executor=7)
    return made


def test_tasks_are_pinned_to_where_their_caches_are(scope):
    assert scope.pins(0, 4) == ((0, 4, 2), (1, 4, 2), (2, 5, 7))
    assert scope.pins(1, 2) == ((1, 4, 2), (2, 5, 7))
    assert scope.pins(3, 1) == ()
    assert scope.ranks == {4, 5}


def test_the_latest_place_counts_but_all_must_forget(scope):
    fill(scope, 0, rank=6, executor=3)
    assert scope.pins(0, 1) == ((0, 6, 3),)
    assert scope.ranks == {4, 5, 6}
    fill(scope, 0, 1, 2, rank=6, executor=3)
    assert scope.ranks == {4, 5, 6}


def test_while_nothing_is_lost_nothing_is_made_again(scope):
    second = call(2, b"", b"", b"", b"")
    scope.calls.append(second)
    assert scope.lineage(second, 0, 4) == []


def test_a_lost_cache_is_made_by_all_earlier_calls_in_their_order(scope, first):
    second, third = call(2, b"A", b"BB", b"CCC", b"DDDD"), call(3, b"", b"", b"", b"")
    scope.calls += [second, third]
    fill(scope, 1, 2, rank=6, executor=3, after=second)
    scope.lose(1, 2)
    assert scope.pins(0, 4) == ((0, 4, 2),)
    sizes = array("Q", [2, 3]).tobytes()
    assert scope.lineage(third, 1, 2) == [(first, (sizes, b"bbccc")), (second, (sizes, b"BBCCC"))]
    assert scope.lineage(second, 2, 1) == [(first, (array("Q", [3]).tobytes(), b"ccc"))]
    assert scope.lineage(first, 1, 2) == []
    assert scope.lineage(third, 0, 1) == []
    assert scope.lineage(third, 3, 1) == []


def test_calls_which_have_left_nothing_in_a_lost_cache_are_not_made_again(scope, first):
    refused, second, third = call(2), call(3, b"A", b"BB", b"CCC", b"DDDD"), call(4, *[b""] * 4)
    scope.calls += [refused, second, third]
    fill(scope, 3, rank=5, executor=7, after=second)
    scope.lose(2, 2)
    assert scope.lineage(third, 2, 2) == [
        (first, (array("Q", [3, 0]).tobytes(), b"ccc")),
        (second, (array("Q", [0, 4]).tobytes(), b"DDDD")),
    ]


def test_what_is_not_lost_is_not_made_again_beside_what_is(scope, first):
    second = call(2, *[b""] * 4)
    scope.calls.append(second)
    scope.lose(1, 1)
    assert scope.lineage(second, 0, 2) == [(first, (array("Q", [0, 2]).tobytes(), b"bb"))]


def test_what_never_was_can_not_be_lost(scope):
    scope.lose(3, 1)
    scope.lose(9, 2)
    assert scope.lost == set()


def test_what_was_made_again_is_not_lost(scope):
    second = call(2, b"", b"", b"", b"")
    scope.calls.append(second)
    scope.lose(0, 2)
    assert scope.lost == {0, 1}
    fill(scope, 0, rank=8, executor=9)
    assert scope.lost == {1}
    assert scope.pins(0, 2) == ((0, 8, 9),)
    assert scope.lineage(second, 0, 1) == []
    assert scope.lineage(second, 0, 2) != []


def test_a_cache_may_be_lost_more_than_once(scope):
    scope.lose(2, 1)
    scope.lose(2, 1)
    fill(scope, 2, rank=8)
    scope.lose(2, 1)
    assert (scope.lost, 2 in scope.places) == ({2}, False)
