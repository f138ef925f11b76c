"""Tasks which lacked memory: they leave a scatter, and are tried in its branches."""

from builders import done, give, lent, scatter_of
from mpipool.group import Scatter
from mpipool.group.events import (
    Abandoned,
    Deliver,
    Demand,
    Drained,
    End,
    Extended,
    Fail,
    Halt,
    Hopeless,
    Joined,
    Limited,
    Move,
    Release,
    Settled,
)
from mpipool.group.invariants import check


def played(machine: Scatter, *events):
    """Return the commands after each event; the invariants hold in between."""
    commands = []
    for event in events:
        commands.append(machine.handle(event, 0.0))
        check(machine)
    return commands


def branch(*moves: Move, retries: int = 0) -> Scatter:
    machine = Scatter(retries, branch=True)
    for move in moves:
        machine.handle(Joined(move), 0.0)
    return machine


# --- the scatter ---------------------------------------------------------------------------------


def test_a_task_that_lacked_memory_moves_to_a_branch_and_the_others_are_delivered():
    machine = scatter_of(3, mean=2**-10)
    assert played(machine, lent(1), done(1, 1, 0, 2), done(1, 2, 2, starved=((2, 200),))) == [
        [give(1, 1, 0, 2), give(1, 2, 2), Demand(0, 0.0, 3)],
        [Deliver(0, 2)],
        [Move(2, 200, attempt=2, excused=1), Release(1, 0, 0.0)],
    ]
    assert not machine.complete
    assert machine.away == 1


def test_tasks_around_it_are_delivered_in_runs():
    machine = scatter_of(9, mean=2**-10)
    assert machine.handle(lent(1), 0.0)[0] == give(1, 1, 0, 5)
    report = done(1, 1, 0, 5, starved=((3, 200), (1, 400)))
    assert machine.handle(report, 0.0)[:5] == [
        Deliver(0, 1), Move(1, 400, 2, 1), Deliver(2, 1), Move(3, 200, 2, 1), Deliver(4, 1),
    ]  # fmt: skip
    check(machine)


def test_the_scatter_is_complete_when_its_branches_have_delivered():
    machine = scatter_of(1)
    played(machine, lent(1), done(1, 1, 0, starved=((0, 200),)))
    assert played(machine, Settled(delivered=1)) == [[Demand(0, 0.0, 1, closed=True)]]
    assert machine.over


def test_a_task_which_is_known_to_need_more_begins_in_a_branch():
    machine = Scatter()
    assert played(machine, Extended(3, 24, True, (1.0, 5.0, 2.0), starved=((1, 500),))) == [
        [Move(1, 500, attempt=1, cost=5.0), Demand(2, 3.0, 3)]
    ]


def test_where_its_cache_is_moves_with_it():
    machine = scatter_of(1)
    pins = ((0, 7, 3),)
    assert played(machine, lent(1), done(1, 1, 0, starved=((0, 200),), pins=pins))[1][0] == (
        Move(0, 200, 2, 1, pin=(7, 3))
    )


def test_when_the_run_drains_it_is_left():
    machine = scatter_of(1)
    assert played(machine, lent(1), Drained(), done(1, 1, 0, starved=((0, 200),)))[2] == [
        Release(1, 0, 0.0), Halt(0), Demand(0, 0.0, 1, closed=True),
    ]  # fmt: skip
    assert machine.left == 1


def test_a_draining_scatter_halts_after_its_branches():
    machine = scatter_of(3)
    played(machine, lent(1), done(1, 1, 0, leave=True, starved=((0, 200),)), Drained())
    assert machine.left == 2
    assert not machine.complete
    assert played(machine, Settled(interrupted=1)) == [
        [Halt(1), Demand(0, 0.0, 3, closed=True)],
    ]  # fmt: skip


# --- a branch ------------------------------------------------------------------------------------


def test_a_branch_delivers_its_tasks_and_is_over():
    machine = Scatter(branch=True)
    assert played(
        machine,
        Joined(Move(7, 200, 2, 1)),
        Joined(Move(3, 200, 2, 1)),
        lent(1),
        done(1, 1, 7),
        done(1, 2, 3),
    ) == [
        [Demand(1, 0.0, 1)],
        [Demand(2, 0.0, 2)],
        [give(1, 1, 7, attempt=2)],
        [Deliver(7, 1), give(1, 2, 3, attempt=2), Demand(0, 0.0, 2)],
        [Deliver(3, 1), Release(1, 0, 0.0), Demand(0, 0.0, 2, closed=True)],
    ]
    assert machine.over


def test_a_branch_is_not_over_before_it_has_begun():
    machine = Scatter(branch=True)
    assert played(machine, Limited(100.0), Joined(Move(7, 200, 2, 1))) == [
        [],
        [Demand(1, 0.0, 1)],
    ]


def test_in_a_run_which_drains_nothing_of_it_begins():
    machine = Scatter(branch=True)
    assert played(machine, Drained(), Joined(Move(7, 200, 2, 1))) == [
        [],
        [Halt(0), Demand(0, 0.0, 1, closed=True)],
    ]
    assert machine.left == 1


def test_what_still_lacks_memory_leaves_the_branch():
    machine = branch(Move(7, 200, 2, 1))
    assert played(machine, lent(1), done(1, 1, 7, starved=((7, 400),)))[1] == [
        Move(7, 400, 3, 2), Release(1, 0, 0.0), Demand(0, 0.0, 0, closed=True),
    ]  # fmt: skip
    assert machine.over


def test_attempts_which_lacked_memory_are_none_of_the_retries():
    machine = branch(Move(7, 200, 3, 2), retries=1)
    assert played(machine, lent(1), done(1, 1, 7, failed=(7,)), done(1, 2, 7, failed=(7,))) == [
        [give(1, 1, 7, attempt=3)],
        [give(1, 2, 7, attempt=4)],
        [Deliver(7, 1), Release(1, 0, 0.0), Demand(0, 0.0, 1, closed=True)],
    ]


def test_a_pinned_task_goes_where_its_cache_is():
    machine = branch(Move(7, 200, 2, 1, pin=(4, 9)))
    assert machine.handle(lent(1, rank=5), 0.0)[0] == Release(1, 0, 0.0, (4,))
    assert machine.handle(lent(2, rank=4), 0.0)[0] == give(2, 1, 7, attempt=2, rank=4, executor=9)


def test_what_can_never_be_placed_fails_and_so_does_what_would_come_after_it():
    machine = branch(Move(7, 200, 2, 1), Move(3, 200, 2, 1), Move(5, 200, 2, 1), retries=5)
    played(machine, lent(1))
    assert played(machine, Hopeless()) == [[Fail((3, 5)), Demand(0, 0.0, 3)]]
    assert played(machine, done(1, 1, 7, lost=(7,), leave=True))[0][-2:] == [
        Fail((7,)),
        Demand(0, 0.0, 3, closed=True),
    ]


def test_an_abandoned_branch_ends_what_runs():
    machine = branch(Move(7, 200, 2, 1))
    played(machine, lent(1, rank=4))
    assert played(machine, Abandoned()) == [[End(1, 4)]]
