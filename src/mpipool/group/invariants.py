"""What must hold in a scatter after each event; asserted by the simulation and the tests."""

from __future__ import annotations

from mpipool.group.scatter import Scatter


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
    indices = [i for run in runs for i in range(run.first, run.first + run.count)]
    assert len(indices) == len(set(indices)), "a task is queued twice"
