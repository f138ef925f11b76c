"""What is there is needed: nothing runs, is held or is known for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from mpipool.agent import Agent
from mpipool.executor.virtual import VirtualExecutor
from mpipool.ids import HERE, Rank, ScatterId, leader_of

if TYPE_CHECKING:
    from simulation.world import SimulatedRun


def check_needs(run: SimulatedRun) -> None:
    """While no message is under way, all that is over has been ended, returned or forgotten."""
    unwanted = _Unwanted(run)
    for agent in run.living:
        for process in agent.executors.alive.values():
            for scatter in _scatters_of(process):
                assert not unwanted.is_unwanted(scatter), (
                    f"executor {process.number} of rank {agent.transport.rank} still has tasks of "
                    f"scatter {scatter}, for which nobody waits"
                )
            _check_functions(agent, process)
    _check_leases(run)


def _scatters_of(process: VirtualExecutor) -> Iterator[ScatterId]:
    for current in process._frames:
        yield current.chunk.scatter


class _Unwanted:
    """Which scatters nobody waits for."""

    def __init__(self, run: SimulatedRun) -> None:
        self._run = run

    def is_unwanted(self, scatter: ScatterId) -> bool:
        leader = leader_of(scatter)
        if leader in self._run.world.dead:
            return True
        leading = self._run.agents[leader].leading
        led = leading.scatters.get(scatter)
        if led is None or led.machine.abandoned:
            return True
        halting = leading.halting
        # The script's are ended when their time is up.
        return led.entry is None and bool(halting.reason) and halting._until == inf


def _check_functions(agent: Agent, process: VirtualExecutor) -> None:
    """A process knows no function which its rank has forgotten."""
    if process.inbox or process.number == HERE:
        return
    stale = process._functions - agent.serving._definitions._definitions.keys()
    assert not stale, (
        f"executor {process.number} of rank {agent.transport.rank} knows functions "
        f"{[digest.hex()[:6] for digest in stale]}, which its rank does not"
    )


def _check_leases(run: SimulatedRun) -> None:
    """A lease whose leader is dead is returned as soon as nothing runs under it."""
    for number, (rank, scatter, _) in run.broker.scheduler.leases.items():
        if leader_of(scatter) not in run.world.dead or rank in run.world.dead:
            continue
        agent = run.agents[rank]
        held = {lease for lease, _ in (*agent.member.entries, *agent.ganging._conducted)}
        assert number in held, f"rank {Rank(rank)} keeps lease {number} for a leader that is dead"
