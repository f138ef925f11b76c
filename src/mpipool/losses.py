"""What a leader takes tasks for of which nobody will say what became of them."""

from __future__ import annotations

import time

from mpipool.group.leases import Chunk
from mpipool.ids import GONE, ChunkId, LeaseId, Rank
from mpipool.led import Led
from mpipool.messages import TasksDone
from mpipool.outcomes import notice
from mpipool.task import INTERRUPTED, LOST
from mpipool.task import Entry as Outcome


def reports_for(rank: Rank, reason: str, led: Led) -> list[TasksDone]:
    """Say what became of what a rank had which is gone.

    The first task of each chunk was probably running, and counts as lost: one which takes ranks
    along must not go round for ever.
    """
    details = {"error": "RankLost", "message": f"rank {rank} was lost: {reason}"}
    return [
        _report(number, chunk_number, chunk, led, LOST, details)
        for number, lease in led.machine.leases.items()
        if lease.rank == rank
        for chunk_number, chunk in lease.chunks.items()
    ]


def reports_of_all(led: Led) -> list[tuple[Rank, TasksDone]]:
    """Say, for each rank, that the first task of each chunk was interrupted: time is up."""
    details = {"error": "Interrupted", "message": "the run drained, and its rank did not say more"}
    return [
        (lease.rank, _report(number, chunk_number, chunk, led, INTERRUPTED, details))
        for number, lease in led.machine.leases.items()
        for chunk_number, chunk in lease.chunks.items()
    ]


def _report(
    lease: LeaseId, number: ChunkId, chunk: Chunk, led: Led, state: int, details: dict[str, str]
) -> TasksDone:
    entry = Outcome(state, 0, time.time(), 0.0, 0.0, 0, 0)
    return TasksDone(
        lease=lease,
        chunk=number,
        scatter=led.scatter,
        first=chunk.first,
        count=1,
        back=chunk.count - 1,
        failures=1,
        busy=0.0,
        leave=True,
        executor=GONE,
        parts=notice(0, entry, details),
    )
