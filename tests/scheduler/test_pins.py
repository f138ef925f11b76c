"""Tasks that must run on one rank."""

from builders import NOBODY, blocked, grant, led_by, on_nodes, returned, scheduler, wants
from mpipool.ids import LeaseId
from mpipool.needs import Needs
from mpipool.scheduler import Refuse, Scheduler
from mpipool.scheduler.invariants import check

A, B, C = (led_by(NOBODY, serial) for serial in (1, 2, 3))


def played(machine: Scheduler, *events):
    commands = []
    for event in events:
        commands.append(machine.handle(event))
        check(machine)
    return commands


def test_pinned_tasks_go_to_their_ranks_and_others_anywhere():
    assert played(scheduler(1, 2, 3), wants(A, 1, pins=(3, 2))) == [
        [grant(1, A, 3), grant(2, A, 2), grant(3, A, 1)]
    ]


def test_a_pinned_task_waits_for_its_rank_though_others_are_free():
    machine = scheduler(1, 2)
    played(machine, wants(A, 1))
    assert played(machine, wants(B, 0, pins=(1,)), returned(1)) == [[], [grant(2, B, 1)]]


def test_a_pinned_task_comes_before_anything_unpinned_on_its_rank():
    machine = scheduler(1)
    played(machine, wants(A, 1), wants(C, 9, 1e6, below=[A, B]), wants(B, 0, pins=(1,)))
    assert played(machine, returned(1), returned(2)) == [[grant(2, B, 1)], [grant(3, C, 1)]]


def test_a_pinned_task_may_open_a_third_stack():
    machine = scheduler(1)
    first, second = led_by(1, 1), led_by(1, 2)
    played(machine, wants(A, 2), blocked(1, [1], [first]), blocked(1, [1, 2], [first, second]))
    assert played(machine, wants(B, 1), wants(C, 0, pins=(1,))) == [[], [grant(3, C, 1)]]


def test_of_two_pinned_tasks_the_more_urgent_goes_first():
    machine = scheduler(1)
    played(machine, wants(A, 1), wants(B, 0, pins=(1,)), wants(C, 0, below=[A], pins=(1,)))
    assert played(machine, returned(1), returned(2)) == [[grant(2, C, 1)], [grant(3, B, 1)]]


def test_a_leader_that_pins_again_gets_the_rank_again():
    machine = scheduler(1)
    assert played(machine, wants(A, 0, pins=(1,)), returned(1, pins=(1,)), returned(2)) == [
        [grant(1, A, 1)],
        [grant(2, A, 1)],
        [],
    ]
    assert not machine.pins


def test_pins_which_are_named_no_more_are_forgotten():
    machine = scheduler(1)
    played(machine, wants(A, 1), wants(B, 0, pins=(1,)))
    assert played(machine, wants(B, 0), returned(1)) == [[], []]
    played(machine, wants(B, 0, pins=(1,)), wants(B, 0, closed=True, pins=(1,)))
    assert not machine.pins._by_rank


def test_a_pinned_task_waits_for_memory_and_goes_when_it_is_there():
    machine = on_nodes((3, 10))
    needs = Needs(memory=6)
    assert played(
        machine, wants(A, 1, needs=needs), wants(B, 0, needs=needs, pins=(3,)), returned(1)
    ) == [[grant(1, A, 1)], [], [grant(2, B, 3)]]


def test_where_a_pinned_task_takes_the_rank_that_came_free_others_get_the_memory_that_did():
    machine = on_nodes((4, 10))
    first, second = led_by(1, 1), led_by(1, 2)
    much, half = Needs(memory=8), Needs(memory=5)
    below = {"below": [A], "parent": LeaseId(1)}
    assert played(
        machine,
        wants(A, 1, needs=much),
        wants(first, 1, needs=much, **below),
        wants(second, 1, needs=half, **below),
        wants(B, 0, pins=(2,)),
        returned(2),
    ) == [[grant(1, A, 1)], [grant(2, first, 2)], [], [], [grant(3, B, 2), grant(4, second, 3)]]


def test_where_a_pinned_task_takes_a_rank_with_two_stacks_others_get_the_one_that_came_free():
    machine = on_nodes((2, 10))
    first, second = led_by(1, 1), led_by(1, 2)
    played(machine, wants(A, 1, needs=Needs(memory=1)), wants(B, 1), blocked(1, [1], [first]))
    assert played(
        machine,
        wants(A, 1),
        blocked(1, [1, 3], [first, second]),
        wants(C, 1),
        returned(2, pins=(1,)),
    ) == [[grant(3, A, 1)], [], [], [grant(4, B, 1), grant(5, C, 2)]]


def test_a_pinned_task_may_run_beside_a_blocked_gang():
    machine = scheduler(1, 2)
    played(machine, wants(A, 1, needs=Needs((2, 2), in_place=True)), blocked(1, [1], [led_by(1)]))
    assert played(machine, wants(B, 1, pins=(2,))) == [[grant(2, B, 2)]]


def test_a_task_pinned_where_nothing_runs_is_refused():
    assert played(scheduler(1), wants(A, 1, pins=(7,))) == [
        [Refuse(A, "a task must run on rank 7, which runs no tasks")]
    ]


def test_the_cores_of_the_pinned_ranks_node_count():
    machine = on_nodes((1, 4), (2, 9))
    assert played(machine, wants(A, 0, needs=Needs(threads=2), pins=(2, 1))) == [
        [Refuse(A, "a task must run on rank 1 and needs 2 cores; the node of this rank has 1")]
    ]
    assert not machine.leases


def test_the_memory_of_the_pinned_rank_counts():
    machine = on_nodes((1, 4), (1, 9))
    assert played(machine, wants(A, 0, needs=Needs(memory=5), pins=(2, 1))) == [
        [Refuse(A, "a task must run on rank 1 and needs 5 MiB; the node of this rank has 4 MiB")]
    ]
    assert not machine.leases
