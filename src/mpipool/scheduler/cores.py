"""The cores of all ranks: which may be lent, and for what.

A rank's place is derived from its leases, and it stands in one pool of free ranks at most:

    idle      no lease                                  takes any task
    spare     every lease blocked, fewer than 2 stacks  takes any task
    narrow    every lease blocked, 2 stacks             takes descendants of what is blocked on top
    busy      a lease that is not blocked               takes nothing
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from mpipool.ids import LeaseId, Rank, ScatterId

MAX_STACKS: Final = 2
"""Stacks of tasks a rank may hold (design, section 5): it bounds memory."""


class Place(Enum):
    """Whether and for what a rank may be lent."""

    IDLE = auto()
    SPARE = auto()
    NARROW = auto()
    BUSY = auto()


@dataclass(slots=True)
class Core:
    """One rank's core."""

    leases: set[LeaseId] = field(default_factory=set)
    blocked: frozenset[LeaseId] = frozenset()
    tops: tuple[ScatterId, ...] = ()

    @property
    def place(self) -> Place:
        """Where the rank belongs."""
        if not self.leases:
            return Place.IDLE
        if not self.leases <= self.blocked:
            return Place.BUSY
        return Place.SPARE if len(self.tops) < MAX_STACKS else Place.NARROW


class Cores:
    """All ranks, indexed by what they may be lent for, so that no placement scans them."""

    def __init__(self) -> None:
        self._cores: dict[Rank, Core] = {}
        # Dicts serve as ordered sets: the choice is the same in each replay.
        self._pools: dict[Place, dict[Rank, None]] = {
            place: {} for place in Place if place is not Place.BUSY
        }
        self._under: dict[ScatterId, dict[Rank, None]] = {}

    def __len__(self) -> int:
        return len(self._cores)

    def __contains__(self, rank: Rank) -> bool:
        return rank in self._cores

    def __getitem__(self, rank: Rank) -> Core:
        return self._cores[rank]

    @property
    def any_free(self) -> bool:
        """Whether some rank may be lent for something."""
        return any(self._pools.values())

    def join(self, rank: Rank) -> None:
        """Add a rank with nothing on it."""
        self._cores[rank] = Core()
        self._file(rank)

    def lend(self, rank: Rank, lease: LeaseId) -> None:
        """Put a lease on a rank."""
        self._unfile(rank)
        self._cores[rank].leases.add(lease)
        self._file(rank)

    def end(self, rank: Rank, lease: LeaseId) -> None:
        """Take a lease off a rank."""
        self._unfile(rank)
        self._cores[rank].leases.remove(lease)
        self._file(rank)

    def block(self, rank: Rank, leases: frozenset[LeaseId], tops: tuple[ScatterId, ...]) -> None:
        """Note which leases of a rank wait in a gather."""
        self._unfile(rank)
        core = self._cores[rank]
        core.blocked, core.tops = leases, tops
        self._file(rank)

    def choose(self, path: tuple[ScatterId, ...], home: Rank) -> Rank | None:
        """Choose a rank for a task of the scatter at the end of ``path``; None if none may take it.

        First the leader's own rank, which has its data and modules; then an idle one; then one on
        whose stack the task can stand; last one which must open another stack.
        """
        if home in self._cores and self._takes(home, path):
            return home
        for rank in self._pools[Place.IDLE]:
            return rank
        for ancestor in reversed(path):
            for rank in self._under.get(ancestor, ()):
                return rank
        for rank in self._pools[Place.SPARE]:
            return rank
        return None

    def _takes(self, rank: Rank, path: tuple[ScatterId, ...]) -> bool:
        core = self._cores[rank]
        match core.place:
            case Place.IDLE | Place.SPARE:
                return True
            case Place.NARROW:
                return any(top in path for top in core.tops)
            case Place.BUSY:
                return False

    def _unfile(self, rank: Rank) -> None:
        core = self._cores[rank]
        if core.place is Place.BUSY:
            return
        del self._pools[core.place][rank]
        for top in core.tops:
            self._under[top].pop(rank, None)
            if not self._under[top]:
                del self._under[top]

    def _file(self, rank: Rank) -> None:
        core = self._cores[rank]
        if core.place is Place.BUSY:
            return
        self._pools[core.place][rank] = None
        for top in core.tops:
            self._under.setdefault(top, {})[rank] = None
