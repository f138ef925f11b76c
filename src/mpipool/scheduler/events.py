"""What the scheduler is told, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mpipool.ids import LeaseId, Rank, ScatterId
from mpipool.needs import PLAIN, Needs
from mpipool.values import value


@value
class RankJoined:
    """A rank is there and has a core to lend."""

    rank: Rank
    node: str = ""
    memory: int = 0
    """MiB of the node; 0 where it is unknown, and so not limited."""


@value
class RankLost:
    """A rank is gone, with all that it led and ran.

    Leases on it are returned by their leaders as usual, once these have heard of it.
    """

    rank: Rank


@value
class RankQuarantined:
    """A rank is bad, and is to be lent no more; what it runs and leads goes on."""

    rank: Rank


@value
class TokensProvided:
    """The run has so many of these named tokens."""

    tokens: Mapping[str, int]


@value
class DemandChanged:
    """A scatter opened, its queue ran empty or filled again, or it closed."""

    scatter: ScatterId
    path: tuple[ScatterId, ...]
    """Its ancestors, outermost first, ending with itself."""
    queued: int
    """Tasks that no rank has yet, without the pinned ones."""
    seconds: float
    """Expected time of these on one rank; 0 while nothing is known."""
    closed: bool = False
    needs: Needs = PLAIN
    """What each of its tasks holds. The first report counts."""
    pins: tuple[Rank, ...] = ()
    """Ranks for each of which a task waits that must run there."""
    parent: LeaseId | None = None
    """The lease of the task that opened it; None for the script. The first report counts."""
    origin: ScatterId | None = None
    """The scatter of which it is a branch, for which its leader waits. The first report counts."""


@value
class LeaseReturned:
    """A rank has no more tasks under this lease."""

    lease: LeaseId
    queued: int
    seconds: float
    pins: tuple[Rank, ...] = ()


@value
class CoreBlocked:
    """All tasks under these leases of the rank wait in a gather (none, when one resumed)."""

    rank: Rank
    leases: frozenset[LeaseId]
    """A lease with several ranks is named by its first one for all of them, by another member of
    a gang for that one alone."""
    tops: tuple[ScatterId, ...]
    """For each stack of the rank, the scatter for which its topmost blocked task waits."""
    held: frozenset[LeaseId] = frozenset()
    """Those of the leases which can't resume before another above them in their process has."""


Event = (
    RankJoined
    | RankLost
    | RankQuarantined
    | TokensProvided
    | DemandChanged
    | LeaseReturned
    | CoreBlocked
)


@value
class Grant:
    """Lend this rank's core to the scatter."""

    lease: LeaseId
    scatter: ScatterId
    rank: Rank
    quantum: float
    """Seconds after which the leader gives it no new tasks."""
    ranks: tuple[Rank, ...] = ()
    """For a gang its members, for threads the ranks whose cores are held; ``rank`` comes first."""


@value
class Refuse:
    """No task of the scatter can ever be placed; said once of each scatter."""

    scatter: ScatterId
    reason: str


@value
class Reclaim:
    """The leader of this lease is gone: have its rank end what runs under it, and return it."""

    lease: LeaseId
    rank: Rank


@value
class Pardon:
    """Ranks in quarantine are lent again, since something could not be placed without them."""

    ranks: tuple[Rank, ...]


Command = Grant | Refuse | Reclaim | Pardon


class Lease(NamedTuple):
    """One that is out."""

    rank: Rank
    """Its first one."""
    scatter: ScatterId
    until: float
    """When it is expected to end, in seconds."""
