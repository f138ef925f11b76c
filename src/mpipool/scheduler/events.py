"""What the scheduler is told, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass

from mpipool.ids import LeaseId, Rank, ScatterId


@dataclass(frozen=True, slots=True)
class RankJoined:
    """A rank is there and has a core to lend."""

    rank: Rank


@dataclass(frozen=True, slots=True)
class DemandChanged:
    """A scatter opened, its queue ran empty or filled again, or it closed."""

    scatter: ScatterId
    path: tuple[ScatterId, ...]
    """Its ancestors, outermost first, ending with itself."""
    queued: int
    """Tasks that no rank has yet."""
    seconds: float
    """Expected time of these on one rank; 0 while nothing is known."""
    closed: bool = False


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """A rank has no more tasks under this lease."""

    lease: LeaseId
    queued: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CoreBlocked:
    """All tasks under these leases of the rank wait in a gather (none, when one resumed)."""

    rank: Rank
    leases: frozenset[LeaseId]
    tops: tuple[ScatterId, ...]
    """For each stack of the rank, the scatter for which its topmost task waits."""


Event = RankJoined | DemandChanged | LeaseReturned | CoreBlocked


@dataclass(frozen=True, slots=True)
class Grant:
    """Lend this rank's core to the scatter."""

    lease: LeaseId
    scatter: ScatterId
    rank: Rank
    quantum: float
    """Seconds after which the leader gives it no new tasks."""
