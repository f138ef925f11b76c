"""What the leader of a scatter is told, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass

from mpipool.ids import ChunkId, LeaseId, Rank


@dataclass(frozen=True, slots=True)
class Extended:
    """More items came in, or the last ones."""

    count: int
    size: int
    """Bytes of these items together."""
    last: bool


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


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nobody waits for the scatter any more."""


Event = Extended | Lent | Done | Abandoned


@dataclass(frozen=True, slots=True)
class Give:
    """Send these tasks to the rank."""

    lease: LeaseId
    rank: Rank
    chunk: ChunkId
    first: int
    count: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Release:
    """Return the lease; so much still waits here."""

    lease: LeaseId
    queued: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Demand:
    """Tell the scheduler what waits here."""

    queued: int
    seconds: float
    tasks: int
    closed: bool = False


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


Command = Give | Release | Demand | Deliver | End
