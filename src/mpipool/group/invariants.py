"""What must hold in a scatter after each event; asserted by the simulation and the tests."""

from __future__ import annotations

from collections.abc import Iterable
from math import isclose

from mpipool.group.scatter import Scatter
from mpipool.group.waiting import Run, Waiting


def check(scatter: Scatter) -> None:
    """Raise AssertionError with what is wrong, if something is."""
    runs = list(scatter.waiting.runs())
    waiting = sum(run.count for run in runs)
    counted = len(scatter.waiting)
    assert waiting == counted, f"{waiting} tasks wait, {counted} were counted"
    out = sum(chunk.count for lease in scatter.leases.values() for chunk in lease.chunks.values())
    if not scatter.abandoned:
        ended = scatter.delivered + scatter.left + scatter.interrupted
        places = waiting + out + scatter.away + ended
        assert places == scatter.tasks, f"{places} tasks have a place, of {scatter.tasks}"
    for lease_id, lease in scatter.leases.items():
        assert lease.chunks, f"lease {lease_id} is held without a task"
    indices = _indices(runs)
    assert len(indices) == len(set(indices)), "a task is queued twice"
    _lines_add_up(scatter.waiting)


def _lines_add_up(waiting: Waiting) -> None:
    """Each task that waits is counted once where it stands, and its cost as long as it waits."""
    apart = [*waiting._near.values(), *waiting._pinned.values()]
    assert all(line.runs for line in apart), "an empty line is kept"
    for line in (waiting._queue, *apart):
        there = sum(run.count for run in line.runs)
        assert line.tasks == there, f"{there} tasks stand in a line, {line.tasks} were counted"
    bound = {i for line in waiting._pinned.values() for i in _indices(line.runs)}
    assert len(waiting) - waiting.open == len(bound), f"{len(bound)} tasks are pinned"
    known = [waiting.cost_of(index) for index in _indices(waiting.runs()) if index not in bound]
    costs = [cost for cost in known if cost is not None]
    assert waiting.priced == len(costs), f"{len(costs)} costs are known, not {waiting.priced}"
    assert isclose(waiting.cost, sum(costs), abs_tol=1e-6), "the costs of what waits do not add up"


def _indices(runs: Iterable[Run]) -> list[int]:
    return [index for run in runs for index in range(run.first, run.first + run.count)]
