"""In which states a fault finds a run, its ranks and its tasks: the columns of the coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpipool.agent import Agent
from mpipool.ids import ChunkId, ExecutorId, LeaseId
from mpipool.led import Led
from simulation.faults import BLOCKED, ENTERING, IDLE, IN_GANG, RUNNING, SECOND

if TYPE_CHECKING:
    from simulation.world import SimulatedRun

WAITING: Final = "waiting"
"""Of a task: with its leader, which has given it to nobody."""
GIVEN: Final = "given"
"""With a rank, and not begun."""
RUNS: Final = "runs"
REPORTED: Final = "reported"
"""It has ended, and its leader does not know it."""
DELIVERED: Final = "delivered"
"""Its caller was told, and it is not on disk."""
RECORDED: Final = "recorded"
"""It is on disk (or, without a checkpoint, nowhere else any more)."""
TASK_STATES: Final = (WAITING, GIVEN, RUNS, REPORTED, DELIVERED, RECORDED)

STARTING: Final = "starting"
MIDDLE: Final = "middle"
DRAINING: Final = "draining"
ENDING: Final = "ending"
RUN_STATES: Final = (STARTING, MIDDLE, DRAINING, ENDING)


def rank_states(agent: Agent) -> frozenset[str]:
    """Return what a rank does."""
    member, seat = agent.member, agent.ganging._seat
    entries = member.entries.values()
    states = {
        IDLE: not entries,
        RUNNING: any(member._runs(entry) for entry in entries),
        BLOCKED: any(entry.waits_for for entry in entries),
        ENTERING: seat.holder is not None and not seat.inside,
        IN_GANG: seat.inside,
        SECOND: len(member.stacks) > 1,
    }
    return frozenset(state for state, holds in states.items() if holds)


def run_state(run: SimulatedRun) -> str:
    """Return how far a run is."""
    broker = run.broker
    if broker.exit_code is not None:
        return ENDING
    if not broker.scheduler.is_complete:
        return STARTING
    if broker.oversight.draining.reason:
        return DRAINING
    return MIDDLE


def task_states(
    run: SimulatedRun, rank: int | None = None, executor: ExecutorId | None = None
) -> set[str]:
    """Return the states of tasks which a rank (or one process of it, or all) leads or has.

    Parameters
    ----------
    run : SimulatedRun
        The run.
    rank : int or None
        The rank; None for all tasks.
    executor : ExecutorId or None
        The process of this rank; None for all of them.
    """
    states: set[str] = set()
    for agent in run.living:
        here = rank is None or agent.transport.rank == rank
        for led in agent.leading.scatters.values():
            leads = here and (executor is None or led.owner == executor)
            if leads:
                states |= _with_the_leader(run, agent, led)
            for number, lease in led.machine.leases.items():
                for chunk in lease.chunks:
                    if leads or (lease.rank == rank and _has(run, rank, (number, chunk), executor)):
                        states |= _in_a_chunk(run, lease.rank, number, chunk)
    return states


def _with_the_leader(run: SimulatedRun, agent: Agent, led: Led) -> set[str]:
    states = {WAITING} if len(led.machine.waiting) else set()
    if led.machine.delivered:
        unsaved = bool(agent.leading.records._gathered) or (run.disk and run.disk.backlog > 0)
        states.add(DELIVERED if unsaved or not led.opening.recorded else RECORDED)
    return states


def _has(
    run: SimulatedRun, rank: int, chunk: tuple[LeaseId, ChunkId], executor: ExecutorId | None
) -> bool:
    """Whether a process of a rank (or any) has a chunk, or has reported of it."""
    there = executor is None or run.agents[rank].member.entry(chunk[0], executor) is not None
    return there or run.reporters.get(chunk) == executor


def _in_a_chunk(run: SimulatedRun, rank: int, lease: LeaseId, chunk: ChunkId) -> set[str]:
    agent = run.agents[rank]
    for process in (*agent.executors.alive.values(), agent.here):
        current = process.place_of(lease, chunk)
        if current:
            states = {RUNS if current.runs else REPORTED}
            states |= {GIVEN} if current.task + 1 < current.end else set()
            return states | ({REPORTED} if current.task > current.first else set())
    waits = any(
        chunk in entry.chunks and entry.lease == lease for entry in agent.member.entries.values()
    )
    return {GIVEN} if waits or (lease, chunk) not in run.arrived else {REPORTED}
