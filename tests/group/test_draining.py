"""A scatter near the end of the run: what it begins, what it leaves, and when it is halted."""

import pytest

from builders import done, give, given, lent, scatter_of
from group.test_scatter import played, release, wait
from mpipool.group import Scatter
from mpipool.group.events import (
    Abandoned,
    Deliver,
    Demand,
    Drained,
    End,
    Extended,
    Halt,
    Limited,
    TimeUp,
)

LONG = 1.0
"""Seconds; such tasks go one by one."""


def closed(tasks):
    return Demand(0, 0.0, tasks, closed=True)


def running(machine, *leases):
    played(machine, *(lent(lease, rank=lease) for lease in leases))
    return machine


def test_when_the_run_drains_what_waits_is_left_and_what_runs_may_end():
    machine = running(scatter_of(5, mean=LONG), 1, 2)
    assert played(machine, Drained(), done(1, 1, 0), done(2, 2, 1)) == [
        [wait(0, 5)],
        [Deliver(0, 1), release(1)],
        [Deliver(1, 1), release(2), Halt(interrupted=0), closed(5)],
    ]
    assert (machine.delivered, machine.left, machine.interrupted) == (2, 3, 0)


def test_a_scatter_of_which_all_runs_completes_as_usual():
    machine = running(scatter_of(2, mean=LONG), 1, 2)
    commands = played(machine, Drained(), done(1, 1, 0), done(2, 2, 1))
    assert commands[-1] == [Deliver(1, 1), release(2), closed(2)]


def test_a_failed_task_is_not_tried_again_when_the_run_drains():
    machine = running(scatter_of(1, retries=3, mean=LONG), 1)
    commands = played(machine, Drained(), done(1, 1, 0, failed=(0,)))
    assert commands[-1] == [release(1), Halt(interrupted=0), closed(1)]


def test_a_rank_that_is_lent_meanwhile_goes_back_at_once():
    machine = running(scatter_of(5, mean=LONG), 1)
    assert played(machine, Drained(), lent(7)) == [[wait(0, 5)], [release(7)]]


def test_when_time_is_up_what_runs_is_ended_and_its_tasks_are_interrupted():
    machine = running(scatter_of(5, mean=LONG), 1, 2)
    assert played(
        machine, Drained(), TimeUp(), done(1, 1, 0, interrupted=(0,)), done(2, 2, 1, 0, back=1)
    ) == [
        [wait(0, 5)],
        [End(1, 1), End(2, 2)],
        [release(1)],
        [release(2), Halt(interrupted=1), closed(5)],
    ]
    assert (machine.left, machine.interrupted) == (4, 1)


def test_a_task_that_was_ended_while_the_run_goes_on_waits_again_at_the_same_attempt():
    machine = running(scatter_of(1, mean=LONG), 1)
    commands = played(machine, done(1, 1, 0, interrupted=(0,)))
    assert commands == [[give(1, 2, 0, attempt=1)]]


def test_items_which_come_while_the_run_drains_are_left():
    machine = Scatter()
    assert played(machine, Drained(), Extended(3, 24, False), Extended(2, 16, True)) == [
        [],
        [Halt(interrupted=0), closed(3)],
        [],
    ]


def test_a_scatter_without_an_item_is_not_halted():
    machine = Scatter()
    assert played(machine, Drained()) == [[]]
    assert played(machine, Extended(0, 0, True)) == [[closed(0)]]
    assert not machine.halted


def test_what_was_given_up_is_not_halted():
    machine = running(scatter_of(5, mean=LONG), 1)
    commands = played(machine, Drained(), Abandoned(), done(1, 1, 0, 0, back=1))
    assert commands[-1] == [release(1), closed(5)]


# --- near the limit ------------------------------------------------------------------------------


def test_tasks_which_would_take_longer_than_there_is_time_are_left():
    machine = Scatter()
    played(machine, Limited(10.0), Extended(3, 24, True, (60.0, 5.0, 20.0)))
    assert played(machine, lent(1, quantum=100.0)) == [[give(1, 1, 1), wait(0, 3)]]
    assert machine.left == 2
    assert played(machine, done(1, 1, 1), now=5.0) == [
        [Deliver(1, 1), release(1), Halt(interrupted=0), closed(3)]
    ]


def test_of_tasks_without_a_cost_the_mean_is_what_counts():
    machine = scatter_of(3, mean=4.0)
    played(machine, Limited(10.0))
    assert given(machine.handle(lent(1, quantum=100.0), 5.0)) == [give(1, 1, 0)]
    assert given(machine.handle(done(1, 1, 0, busy=4.0), 9.0)) == []
    assert machine.halted


def test_what_fits_exactly_is_begun():
    machine = scatter_of(1, mean=4.0)
    played(machine, Limited(4.0))
    assert given(machine.handle(lent(1), 0.0)) == [give(1, 1, 0)]


def test_a_scatter_which_may_get_more_items_is_not_halted_by_the_limit_alone():
    machine = Scatter()
    played(machine, Limited(1.0), Extended(1, 8, False, (60.0,)), lent(1))
    assert not machine.halted
    assert played(machine, Extended(1, 8, True, (0.5,)))[-1] == [wait(1, 2, 0.5)]
    assert given(machine.handle(lent(2), 0.0)) == [give(2, 1, 1)]


@pytest.mark.parametrize("time", [0.0, 1e9])
def test_without_a_limit_any_task_is_begun(time):
    machine = scatter_of(1, mean=1e6)
    assert given(machine.handle(lent(1), time)) == [give(1, 1, 0)]
