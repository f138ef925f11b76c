"""Short ways to say what happened, for the tests of the machines."""

from collections.abc import Iterable

from mpipool.group import Member, Scatter
from mpipool.group.events import Command, Done, Extended, Give, Lent
from mpipool.ids import ANY_EXECUTOR, ChunkId, ExecutorId, LeaseId, Rank, ScatterId, scatter_id
from mpipool.scheduler import (
    CoreBlocked,
    DemandChanged,
    Grant,
    LeaseReturned,
    RankJoined,
    Scheduler,
)
from mpipool.task import DONE, ENTRY, Entry

NOBODY = Rank(99)
"""Leads scatters, and has no core to lend."""


def led_by(rank: int, serial: int = 1) -> ScatterId:
    return scatter_id(Rank(rank), serial)


# --- the scheduler -------------------------------------------------------------------------------


def scheduler(*ranks: int) -> Scheduler:
    """Make a scheduler to which these ranks have joined."""
    made = Scheduler()
    for rank in ranks:
        assert made.handle(RankJoined(Rank(rank))) == []
    return made


def wants(
    scatter: ScatterId,
    queued: int,
    seconds: float = 0.0,
    *,
    below: Iterable[ScatterId] = (),
    **more: object,
) -> DemandChanged:
    return DemandChanged(scatter, (*below, scatter), queued, seconds, **more)


def returned(
    lease: int, queued: int = 0, seconds: float = 0.0, pins: tuple[int, ...] = ()
) -> LeaseReturned:
    return LeaseReturned(LeaseId(lease), queued, seconds, pins)


def blocked(rank: int, leases: Iterable[int] = (), tops: Iterable[ScatterId] = ()) -> CoreBlocked:
    return CoreBlocked(Rank(rank), frozenset(map(LeaseId, leases)), tuple(tops))


def grant(
    lease: int, scatter: ScatterId, rank: int, quantum: float = 0.1, *, ranks: tuple[int, ...] = ()
) -> Grant:
    return Grant(LeaseId(lease), scatter, Rank(rank), quantum, ranks)


def on_nodes(*nodes: tuple[int, int], tokens: dict[str, int] | None = None) -> Scheduler:
    """Make a scheduler with nodes of so many ranks and MiB each; ranks are numbered from 1."""
    made = Scheduler(sum(ranks for ranks, _ in nodes), tokens)
    rank = 0
    for number, (ranks, memory) in enumerate(nodes):
        for _ in range(ranks):
            rank += 1
            assert made.handle(RankJoined(Rank(rank), f"n{number}", memory)) == []
    return made


# --- a scatter at its leader ---------------------------------------------------------------------


def scatter_of(tasks: int, *, retries: int = 0, mean: float | None = None) -> Scatter:
    """Make a scatter with its tasks queued; ``mean`` seconds are known of each, or nothing."""
    made = Scatter(retries)
    made.handle(Extended(tasks, 8 * tasks, True), 0.0)
    made.pace.mean = mean
    return made


def lent(lease: int, rank: int = 1, quantum: float = 0.1) -> Lent:
    return Lent(LeaseId(lease), Rank(rank), quantum)


def done(lease: int, chunk: int, first: int, count: int = 1, **details: object) -> Done:
    return Done(LeaseId(lease), ChunkId(chunk), first, count, **details)


def give(  # noqa: PLR0913 - a table of arguments
    lease: int,
    chunk: int,
    first: int,
    count: int = 1,
    attempt: int = 1,
    *,
    rank: int = 1,
    executor: int = ANY_EXECUTOR,
) -> Give:
    made = ChunkId(chunk), first, count, attempt, ExecutorId(executor)
    return Give(LeaseId(lease), Rank(rank), *made)


def given(commands: list[Command]) -> list[Give]:
    return [command for command in commands if isinstance(command, Give)]


# --- a member ------------------------------------------------------------------------------------


def told(member: Member):
    """Return what the broker is told, which leases are blocked and on what; None if nothing new."""
    report = member.blocked()
    return report and report[:2]


# --- outcomes ------------------------------------------------------------------------------------


def entry(state: int = DONE, details: int = 0, result: int = 0, **changes: float) -> Entry:
    values = {"started": 1000.0, "wall": 2.0, "cpu": 1.5, "peak": 2048, **changes}
    return Entry(state=state, details=details, result=result, **values)


def batch(*tasks: tuple[int, bytes, bytes]) -> tuple[bytes, bytes, bytes]:
    """Pack outcomes, each given as state, details and result."""
    entries = [entry(state, len(said), len(result)) for state, said, result in tasks]
    return (
        b"".join(ENTRY.pack(*fields) for fields in entries),
        b"".join(said for _, said, _ in tasks),
        b"".join(result for _, _, result in tasks),
    )
