"""Why cores are idle: one cause for each, found without the scheduler's own way of choosing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpipool.agent import Agent
from mpipool.ids import BROKER, HERE, Rank
from mpipool.scheduler import Scheduler
from mpipool.scheduler.cores import NO_GANG, Core
from mpipool.scheduler.demands import Demand
from mpipool.scheduler.places import BUSY, NARROW

if TYPE_CHECKING:
    from simulation.world import SimulatedRun

START: Final = "start"
QUARANTINE: Final = "quarantine"
DRAIN: Final = "drain"
NOTHING: Final = "nothing queued"
PREREQUISITES: Final = "prerequisites"
"""All that is left of some scatter runs, or was not begun; what comes after must wait."""
MEMORY: Final = "memory"
TOKENS: Final = "tokens"
THREADS: Final = "cores of one node"
RANKS: Final = "ranks for a gang"
ROOT: Final = "gangs wait for others than rank 0"
HELD: Final = "held for a gang or for threads"
STACKS: Final = "two stacks are here"
RESERVATION: Final = "reservation"
PINS: Final = "pins"


def causes_of_idle_cores(run: SimulatedRun) -> dict[Rank, str]:
    """Return, for each idle core, why; to be called while nothing is under way.

    Raises
    ------
    AssertionError
        If there is no cause.
    """
    scheduler = run.broker.scheduler
    waiting = sorted(
        (demand for demand in scheduler.demands if demand.waits), key=lambda d: d.urgency
    )
    return {
        agent.transport.rank: _cause(run, agent.transport.rank, waiting)
        for agent in run.living
        if not _works(agent)
    }


def _works(agent: Agent) -> bool:
    """Whether something uses the core of a rank, by what its processes do and not by its books."""
    if agent.here.due or agent.ganging._running:  # whose first member waits for the others
        return True
    alive = agent.executors.alive
    dying = {entry.executor for entry in agent.member.entries.values()} - alive.keys() - {HERE}
    return bool(dying) or any(process.works for process in alive.values())


def _cause(run: SimulatedRun, rank: Rank, waiting: list[Demand]) -> str:
    scheduler = run.broker.scheduler
    if not scheduler.is_complete:
        return START
    if rank not in scheduler.cores:
        return QUARANTINE
    core = scheduler.cores[rank]
    if core.place is BUSY:
        assert core.guests - core.blocked, f"rank {rank} is lent, and has nothing to do"
        return HELD
    _check_pins(scheduler, rank, core)
    if not waiting and run.broker.oversight.draining.reason:
        return DRAIN
    if not waiting:
        return PINS if scheduler.pins else PREREQUISITES if scheduler.leases else NOTHING
    causes = [_obstacle(scheduler, rank, core, demand) for demand in waiting]
    for demand, cause in zip(waiting, causes, strict=True):
        assert cause, f"rank {rank} idles while scatter {demand.scatter} could use it"
    return causes[0]


def _check_pins(scheduler: Scheduler, rank: Rank, core: Core) -> None:
    for demand in scheduler.demands:
        if rank in demand.pins and not demand.refused:
            lacking = _lacking(scheduler, core, demand)
            assert lacking, f"rank {rank} idles while scatter {demand.scatter} waits for it"


def _obstacle(scheduler: Scheduler, rank: Rank, core: Core, demand: Demand) -> str:
    """Return why a core is not given to a scatter; empty if there is no reason."""
    standing = scheduler.reservations.standing
    if core.seat not in (NO_GANG, demand.gang) and not _stands_here(scheduler, rank, demand):
        return HELD
    if core.place is NARROW and not any(top in demand.path for top in core.tops):
        return STACKS
    if demand.needs.in_place:
        lacking = _lacking_tokens(scheduler, demand) or _lacking_for_gang(scheduler, demand)
    else:
        lacking = _lacking(scheduler, core, demand)
    if lacking:
        return lacking
    if standing and standing.demand is not demand and standing.demand.waits:
        return RESERVATION
    return ""


def _stands_here(scheduler: Scheduler, rank: Rank, demand: Demand) -> bool:
    """Whether an ancestor of a scatter has come onto a rank which was another gang's seat."""
    return any(
        lease in scheduler.leases
        and scheduler.leases[lease].rank == rank
        and lease > scheduler.cores[rank].seat
        for lease in demand.above
    )


def _lacking(scheduler: Scheduler, core: Core, demand: Demand) -> str:
    """Return what is not there for a task which would begin on a core."""
    memory = core.node.memory
    unused = sum(memory.parts[lease].unused for lease in demand.above if lease in memory.parts)
    if demand.needs.memory - unused > memory.free:
        return MEMORY
    free = sum(scheduler.cores[rank].place is not BUSY for rank in core.node.ranks)
    seats = sum(
        scheduler.cores[rank].seat not in (NO_GANG, demand.gang)
        and scheduler.cores[rank].place is not BUSY
        for rank in core.node.ranks
    )
    if demand.needs.threads > 1 and demand.needs.threads > free - seats:
        return THREADS
    return _lacking_tokens(scheduler, demand)


def _lacking_tokens(scheduler: Scheduler, demand: Demand) -> str:
    for name, count in demand.needs.tokens:
        store = scheduler.holdings.tokens[name]
        unused = sum(store.parts[lease].unused for lease in demand.above if lease in store.parts)
        if count - unused > store.free:
            return TOKENS
    return ""


def _lacking_for_gang(scheduler: Scheduler, demand: Demand) -> str:
    """Return why a gang is not begun: for want of something, or to leave rank 0 alone."""
    cores = scheduler.cores
    others = [rank for rank in cores if rank != BROKER]
    come = any(cores[rank].place is BUSY for rank in cores)
    lacking = _lacking_ranks(scheduler, demand, set(cores))
    if lacking or not scheduler.spots.spares_root or len(others) < demand.needs.ranks[0]:
        return lacking
    return ROOT if come and _lacking_ranks(scheduler, demand, set(others)) else ""


def _lacking_ranks(scheduler: Scheduler, demand: Demand, among: set[Rank]) -> str:
    """Return whether there are ranks for a gang, and memory for its members."""
    seats = with_memory = 0
    for node in scheduler.cores.nodes:
        free = sum(
            scheduler.cores[rank].place is not BUSY and not scheduler.cores[rank].seat
            for rank in among.intersection(node.ranks)
        )
        seats += free
        memory = node.memory
        unused = sum(memory.parts[lease].unused for lease in demand.above if lease in memory.parts)
        if demand.needs.memory and memory.cap:
            free = min(free, (memory.free + unused) // demand.needs.memory)
        with_memory += free
    fewest = demand.needs.ranks[0]
    return RANKS if seats < fewest else MEMORY if with_memory < fewest else ""
