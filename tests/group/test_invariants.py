"""The invariants notice what they are there to notice."""

import pytest

from builders import lent, scatter_of
from mpipool.group import Scatter
from mpipool.group.events import Abandoned
from mpipool.group.invariants import check
from mpipool.group.scatter import Lease, Run
from mpipool.ids import LeaseId, Rank


@pytest.fixture
def machine() -> Scatter:
    """One task runs, four wait."""
    made = scatter_of(5)
    made.handle(lent(1), 0.0)
    check(made)
    return made


def complaint(machine: Scatter) -> str:
    with pytest.raises(AssertionError) as caught:
        check(machine)
    return str(caught.value).partition("\n")[0]


@pytest.mark.parametrize("counted", [3, 5])
def test_tasks_which_wait_miscounted(machine, counted):
    machine.waiting.open = counted
    assert complaint(machine) == f"4 tasks wait, {counted} were counted"


@pytest.mark.parametrize(("delivered", "places"), [(1, 6), (-1, 4)])
def test_tasks_in_two_places_or_in_none(machine, delivered, places):
    machine.delivered = delivered
    assert complaint(machine) == f"{places} tasks have a place, of 5"


def test_a_task_which_runs_and_waits(machine):
    machine.leases[LeaseId(1)].chunks[1].count += 1
    assert complaint(machine) == "6 tasks have a place, of 5"


def test_a_lease_without_a_task(machine):
    machine.leases[LeaseId(2)] = Lease(Rank(2), 1.0)
    assert complaint(machine) == "lease 2 is held without a task"


def test_a_task_which_waits_twice(machine):
    queue = machine.waiting._queue.runs
    queue[0].count -= 1
    queue.append(Run(3, 1, 1))
    assert complaint(machine) == "a task is queued twice"


def test_a_task_which_waits_twice_in_place_of_another(machine):
    queue = machine.waiting._queue.runs
    queue[0].first, queue[0].count = 2, 2
    queue.append(Run(3, 2, 1))
    assert complaint(machine) == "a task is queued twice"


def test_an_abandoned_scatter_need_not_have_a_place_for_each_task(machine):
    machine.handle(Abandoned(), 0.0)
    check(machine)
