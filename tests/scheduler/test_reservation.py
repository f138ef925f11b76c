"""What is withheld for tasks that need much, and what may use it meanwhile."""

import pytest

from builders import NOBODY, blocked, grant, led_by, on_nodes, returned, wants
from mpipool.ids import LeaseId
from mpipool.needs import Needs
from mpipool.scheduler import Scheduler
from mpipool.scheduler.invariants import check

A, B, C, D = (led_by(NOBODY, serial) for serial in (1, 2, 3, 4))
GANG_OF_3 = Needs((3, 3), in_place=True)


def played(machine: Scheduler, *events, now: float = 0.0):
    commands = []
    for event in events:
        commands.append(machine.handle(event, now))
        check(machine)
    return commands


def test_ranks_which_come_free_are_kept_for_a_gang_that_waits():
    machine = on_nodes((3, 0))
    assert played(
        machine, wants(A, 3), wants(B, 1, needs=GANG_OF_3), wants(C, 9, 1e6),
        returned(1), returned(2), returned(3), returned(4),
    ) == [
        [grant(1, A, 1), grant(2, A, 2), grant(3, A, 3)], [], [],
        [], [], [grant(4, B, 1, ranks=(1, 2, 3))],
        [grant(5, C, 1), grant(6, C, 2), grant(7, C, 3)],
    ]  # fmt: skip


def busy(*, until: float, ranks: int = 3) -> Scheduler:
    """All ranks run tasks of A until then; a gang of three waits; then rank 1 comes free."""
    machine = on_nodes((ranks, 0))
    played(machine, wants(A, ranks, ranks * until), wants(B, 1, needs=GANG_OF_3))
    assert played(machine, returned(1), now=1.0) == [[]]
    return machine


@pytest.mark.parametrize(
    ("queued", "seconds", "is_lent"),
    [(1, 8.0, True), (2, 16.0, True), (1, 9.5, False), (2, 20.0, False), (1, 0.0, False)],
)
def test_what_ends_before_the_reservation_is_complete_is_filled_in(queued, seconds, is_lent):
    machine = busy(until=10.0)
    commands = played(machine, wants(C, queued, seconds), now=1.0)
    assert commands == [[grant(4, C, 1)] if is_lent else []]


def test_what_waited_before_something_was_withheld_is_filled_in_too():
    machine = on_nodes((3, 0))
    played(machine, wants(A, 3, 30.0), wants(B, 1, needs=GANG_OF_3), wants(C, 1, 5.0))
    assert played(machine, returned(1), now=1.0) == [[grant(4, C, 1)]]


def test_a_lease_lasts_a_quantum_at_least():
    machine = busy(until=1.15)
    assert played(machine, wants(C, 1, 0.01), now=1.0) == [[grant(4, C, 1)]]
    machine = busy(until=1.05)
    assert played(machine, wants(C, 1, 0.01), now=1.0) == [[]]


def test_when_tasks_take_longer_than_expected_nothing_is_filled_in_until_they_end():
    machine = busy(until=10.0)
    assert played(machine, wants(C, 1, 0.5), now=10.5) == [[]]
    assert played(machine, returned(2), now=11.0) == [[]]
    assert played(machine, returned(3), now=12.0) == [[grant(4, B, 1, ranks=(1, 2, 3))]]


def test_deeper_demands_are_more_urgent_than_a_gang_and_take_what_is_withheld():
    machine = busy(until=10.0)
    assert played(machine, wants(C, 1, below=[A]), now=1.0) == [[grant(4, C, 1)]]


def test_when_the_gang_is_given_up_what_was_withheld_is_lent():
    machine = busy(until=10.0)
    assert played(machine, wants(C, 1), wants(B, 0, needs=GANG_OF_3, closed=True), now=1.0) == [
        [],
        [grant(4, C, 1)],
    ]


def test_a_gang_gets_what_was_withheld_from_it_when_the_other_is_given_up():
    machine = on_nodes((3, 10))
    much, gang = Needs(memory=9), Needs((2, 2), memory=1, in_place=True)
    inner = wants(led_by(1), 1, below=[A], needs=much)
    played(machine, wants(A, 1, needs=Needs(memory=4)), inner)
    assert played(
        machine, wants(B, 1, needs=gang), wants(led_by(1), 0, below=[A], needs=much, closed=True)
    ) == [[], [grant(2, B, 2, ranks=(2, 3))]]


def test_ranks_beyond_those_which_the_gang_needs_are_lent():
    machine = on_nodes((4, 2))
    needs = Needs((2, 2), memory=1, in_place=True)
    played(machine, wants(A, 1, needs=Needs(memory=2)), wants(B, 1, needs=needs))
    assert played(machine, wants(C, 9)) == [[grant(2, C, 2)]]
    assert played(machine, returned(2, 8)) == [[grant(3, C, 3)]]
    assert played(machine, returned(1)) == [
        [grant(4, B, 2, ranks=(2, 4)), grant(5, C, 1)]  # rank 1 has the memory of neither
    ]


def test_cores_of_one_node_are_kept_for_threads():
    machine = on_nodes((2, 0), (2, 0))
    played(machine, wants(A, 4), wants(B, 1, 1e6, needs=Needs(threads=2)), wants(C, 9))
    assert played(machine, returned(1), returned(3), returned(4)) == [
        [],
        [grant(5, C, 3)],
        [grant(6, C, 4)],
    ]
    assert played(machine, returned(2)) == [[grant(7, B, 1, ranks=(1, 2))]]


def test_memory_of_one_node_is_kept_and_a_core_with_it():
    machine = on_nodes((4, 10))
    small = Needs(memory=4)
    played(machine, wants(A, 2, needs=small), wants(B, 1, 1e6, needs=Needs(memory=9)))
    assert played(machine, wants(C, 9, needs=small), wants(D, 9), returned(1), returned(2)) == [
        [],
        [grant(3, D, 3)],
        [grant(4, D, 4)],
        [grant(5, B, 1)],  # rank 2 is kept for C now, which lacks memory
    ]


def test_memory_of_another_node_is_lent():
    machine = on_nodes((2, 10), (2, 10))
    half = Needs(memory=5)
    played(machine, wants(A, 4, needs=half), wants(B, 1, 1e6, needs=Needs(memory=10)))
    played(machine, wants(C, 9, needs=half))
    assert played(machine, returned(1), returned(3)) == [[], [grant(5, C, 3)]]


def test_a_task_that_waits_for_tokens_withholds_nothing():
    machine = on_nodes((3, 10), tokens={"io": 1})
    played(machine, wants(A, 1, needs=Needs(tokens=(("io", 1),))))
    needs = Needs(memory=10, tokens=(("io", 1),))
    assert played(machine, wants(B, 1, needs=needs), wants(C, 1)) == [[], [grant(2, C, 2)]]


def test_a_reservation_gives_way_where_nothing_else_would_go_on():
    machine = on_nodes((2, 10))
    inner, other = led_by(1), led_by(2)
    played(machine, wants(A, 2, needs=Needs(memory=4)))
    played(machine, blocked(1, [1], [inner]), blocked(2, [2], [other]))
    # The deeper one lacks memory that lease 1 holds; the other needs more than its own leader has.
    deep = wants(led_by(2, 7), 1, below=[A, other], needs=Needs(memory=8), parent=LeaseId(2))
    assert played(
        machine, deep, wants(inner, 1, below=[A], needs=Needs(memory=6), parent=LeaseId(1))
    ) == [[], [grant(3, inner, 1)]]
