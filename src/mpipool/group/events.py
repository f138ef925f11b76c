"""What the leader of a scatter is told, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass

from mpipool.ids import ANY_EXECUTOR, ChunkId, ExecutorId, LeaseId, Rank

Pin = tuple[int, Rank, ExecutorId]
"""A task, and where its cache is."""


@dataclass(frozen=True, slots=True)
class Extended:
    """More items came in, or the last ones."""

    count: int
    size: int
    """Bytes of these items together."""
    last: bool
    costs: tuple[float, ...] = ()
    """Expected seconds of each, if they are known."""
    homes: tuple[int, ...] = ()
    """The rank which keeps the data of each, -1 for none; empty if none has any."""
    pins: tuple[Pin, ...] = ()
    """Those which must go to the process that holds their cache."""


@dataclass(frozen=True, slots=True)
class Lent:
    """A rank is there to work on the scatter."""

    lease: LeaseId
    rank: Rank
    quantum: float
    """Seconds after which it gets no new tasks."""


@dataclass(frozen=True, slots=True)
class Done:
    """A member reports tasks of a chunk."""

    lease: LeaseId
    chunk: ChunkId
    first: int
    count: int
    back: int = 0
    """So many tasks at the end of the chunk come back unstarted."""
    failed: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    redo: tuple[int, ...] = ()
    busy: float = 0.0
    """Seconds which the tasks took together."""
    leave: bool = False
    """The member wants no more tasks under this lease."""
    gone: bool = False
    """What comes back has lost its caches, and may go anywhere."""
    pins: tuple[Pin, ...] = ()
    """Where caches of the ended tasks are: those which are tried again must go there."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nobody waits for these tasks any more; those which were not given out are to be dropped."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """The next task never runs, and its caller knows."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nobody waits for the scatter any more."""


Event = Extended | Lent | Done | Cancelled | Skipped | Abandoned


@dataclass(frozen=True, slots=True)
class Give:
    """Send these tasks to the rank."""

    lease: LeaseId
    rank: Rank
    chunk: ChunkId
    first: int
    count: int
    attempt: int
    executor: ExecutorId = ANY_EXECUTOR


@dataclass(frozen=True, slots=True)
class Release:
    """Return the lease; so much still waits here."""

    lease: LeaseId
    queued: int
    seconds: float
    pins: tuple[Rank, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """Tell the scheduler what waits here."""

    queued: int
    seconds: float
    tasks: int
    closed: bool = False
    pins: tuple[Rank, ...] = ()
    """Ranks for each of which a task waits that must run there."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """These outcomes, of those just reported, are final."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class End:
    """Tell the member to end what runs under the lease, and to send everything back."""

    lease: LeaseId
    rank: Rank


@dataclass(frozen=True, slots=True)
class Drop:
    """Tell the caller that these tasks, and no others of those cancelled, were dropped."""

    tasks: tuple[int, ...]


Command = Give | Release | Demand | Deliver | End | Drop
