"""Scatters of single calls: they are cancelled and skipped one by one, and may be anything."""

import pytest

from builders import give, lent, scatter_of
from mpipool.group import Scatter
from mpipool.group.events import Cancelled, Demand, Drop, Extended, Give, Skipped
from mpipool.group.invariants import check
from mpipool.group.pace import Pace
from mpipool.ids import ExecutorId, Rank


def waiting(machine: Scatter) -> list[int]:
    runs = machine.waiting.runs()
    return sorted(index for run in runs for index in range(run.first, run.first + run.count))


@pytest.mark.parametrize(
    ("first", "count", "dropped"),
    [(0, 10, range(10)), (3, 4, range(3, 7)), (8, 9, (8, 9)), (12, 3, ()), (0, 0, ())],
)
def test_those_which_wait_are_dropped(first, count, dropped):
    machine = scatter_of(10)
    commands = machine.handle(Cancelled(first, count), 0.0)
    assert commands[0] == Drop(tuple(dropped))
    assert waiting(machine) == [index for index in range(10) if index not in dropped]
    check(machine)


def test_those_which_a_rank_has_are_not():
    machine = scatter_of(5)
    assert give(1, 1, 0) in machine.handle(lent(1), 0.0)
    assert machine.handle(Cancelled(0, 5), 0.0)[0] == Drop((1, 2, 3, 4))
    check(machine)
    assert not machine.complete


def test_a_scatter_all_of_which_was_cancelled_is_complete():
    machine = scatter_of(5)
    assert machine.handle(Cancelled(0, 5), 0.0) == [
        Drop((0, 1, 2, 3, 4)),
        Demand(0, 0.0, 5, closed=True),
    ]
    assert machine.over


def test_nothing_is_dropped_twice():
    machine = scatter_of(5)
    machine.handle(Cancelled(1, 2), 0.0)
    assert machine.handle(Cancelled(0, 4), 0.0)[0] == Drop((0, 3))
    check(machine)


def test_what_is_pinned_near_or_costly_is_dropped_too():
    machine = Scatter()
    pins = ((1, Rank(3), ExecutorId(7)),)
    event = Extended(6, 48, True, (1.0,) * 6, (-1, -1, 2, 2, -1, -1), pins)
    machine.handle(event, 0.0)
    assert machine.handle(Cancelled(1, 3), 0.0)[0] == Drop((1, 2, 3))
    assert waiting(machine) == [0, 4, 5]
    assert machine.waiting.pinned == ()
    assert machine.waiting.cost == pytest.approx(3.0)
    check(machine)
    given = []
    for lease in (1, 2, 3, 4):
        commands = machine.handle(lent(lease, rank=2), 0.0)
        given += [command.first for command in commands if isinstance(command, Give)]
    assert sorted(given) == [0, 4, 5]


def test_a_cancelled_task_is_not_given_to_a_rank_later():
    machine = scatter_of(3, mean=1.0)
    machine.handle(Cancelled(0, 1), 0.0)
    assert give(1, 1, 1) in machine.handle(lent(1), 0.0)


def test_a_task_which_never_runs_has_its_place_and_the_scheduler_hears_of_it():
    machine = Scatter()
    assert machine.handle(Skipped(), 0.0) == [Demand(0, 0.0, 1)]
    machine.handle(Extended(1, 8, True), 0.0)
    assert waiting(machine) == [1]
    assert not machine.complete
    check(machine)


def test_the_few_that_wait_go_to_a_rank_each_however_short_the_last_ones_were():
    alike = Pace(mean=5e-6, items=10, size=80)
    mixed = Pace(mean=5e-6, items=10, size=80, mixed=True)
    assert (alike.chunk(2, 1) > 1, alike.ahead(1, 1)) == (True, 2)
    assert (mixed.chunk(2, 1), mixed.ahead(1, 1)) == (1, 1)
    assert mixed.ahead(2, 1) == 2
    assert mixed.chunk(6000, 3) == 1000
