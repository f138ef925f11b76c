"""Each task is in exactly one place: what leaders have given out is what ranks have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpipool.agent import Agent
from mpipool.ids import ChunkId, LeaseId, Rank

if TYPE_CHECKING:
    from simulation.world import SimulatedRun

Key = tuple[int, LeaseId, ChunkId]
"""Whose chunk: that of a rank, as own leases have the same numbers everywhere."""


def check_places(run: SimulatedRun) -> None:
    """While no message is under way, leaders and ranks have the same view of what is given out."""
    given: dict[Key, tuple[int, int, int]] = {}
    for agent in run.living:
        for led in agent.leading.scatters.values():
            for number, lease in led.machine.leases.items():
                for chunk_id, chunk in lease.chunks.items():
                    key = (lease.rank, number, chunk_id)
                    here = (led.scatter, chunk.first, chunk.count)
                    assert given.setdefault(key, here) is here, f"{key} is given out twice"
    # What runs for a leader which is dead is just being ended, if it can be.
    held: dict[Key, tuple[int, int, int]] = {}
    for agent in run.living:
        held |= _held_by(agent, run.world.dead)
    for key in given.keys() | held.keys():
        assert given.get(key) == held.get(key), (
            f"chunk {key}: its leader has given {given.get(key)}, the rank has {held.get(key)}"
        )


def _held_by(agent: Agent, dead: set[Rank]) -> dict[Key, tuple[int, int, int]]:
    rank = agent.transport.rank
    held = {
        (rank, entry.lease, chunk): (assigned.scatter, assigned.first, assigned.count)
        for entry in agent.member.entries.values()
        for chunk, assigned in entry.chunks.items()
        if assigned.leader not in dead
    }
    for (lease, number), conducted in agent.ganging._conducted.items():
        chunk = conducted.chunk
        if conducted.leader in dead:
            continue
        held.setdefault((rank, lease, number), (chunk.scatter, chunk.first, chunk.count))
    return held
