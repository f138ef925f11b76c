"""Where the caches of a scatter's tasks are, and how each could be made again.

A task may leave things in its cache (`Pool().cache`) for a later call with the same item. The cache
lives in the process which ran it; a later scatter with ``previous=True`` sends each item there. If
that process is gone, the item's earlier calls are run once more somewhere, for the cache alone:
their items and functions are kept here as its *lineage*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpipool.group.events import Pin
from mpipool.ids import ExecutorId, Rank, ScatterId
from mpipool.messages import Buffer
from mpipool.task import SIZE

if TYPE_CHECKING:
    from mpipool.led import Led


@dataclass(slots=True, eq=False)
class Scope:
    """The caches which the tasks of one scatter began."""

    origin: ScatterId
    calls: list[Led] = field(default_factory=list)
    """The scatter which began them, and those which went on with them."""
    places: dict[int, tuple[Rank, ExecutorId]] = field(default_factory=dict)
    """By index, where a cache is."""
    lost: set[int] = field(default_factory=set)
    """Those which must be made again."""
    ranks: set[Rank] = field(default_factory=set)
    """The ranks which may hold some, also of tasks that ran again elsewhere: all must forget."""
    _filled: dict[ScatterId, set[int]] = field(default_factory=dict)
    """By scatter, the tasks which left something in their caches."""

    def fill(
        self, tasks: tuple[int, ...], rank: Rank, executor: ExecutorId, led: Led | None = None
    ) -> None:
        """Note where caches are, after a call (the first one, if it is not named)."""
        self.ranks.add(rank)
        self._filled.setdefault(led.scatter if led else self.origin, set()).update(tasks)
        for index in tasks:
            self.places[index] = (rank, executor)
            self.lost.discard(index)

    def lose(self, first: int, count: int) -> None:
        """Note that the process with these caches is gone."""
        for index in range(first, first + count):
            if self.places.pop(index, None):
                self.lost.add(index)

    def lose_rank(self, rank: Rank) -> None:
        """Note that a rank is gone, with all its caches."""
        for index in [index for index, (where, _) in self.places.items() if where == rank]:
            self.lose(index, 1)

    def pins(self, first: int, count: int) -> tuple[Pin, ...]:
        """Return where consecutive tasks must go."""
        return tuple(
            (index, *self.places[index])
            for index in range(first, first + count)
            if index in self.places
        )

    def lineage(self, led: Led, first: int, count: int) -> list[tuple[Led, tuple[Buffer, ...]]]:
        """Return which calls must come before these tasks of ``led``, and with which items.

        An item is empty where the call is not to be run again: its cache is there, or it had none.
        """
        lost = self.lost.intersection(range(first, first + count))
        if not lost:
            return []
        earlier = self.calls[: self.calls.index(led)]
        again = [(call, lost & self._filled.get(call.scatter, set())) for call in earlier]
        return [(call, _items(call, first, count, tasks)) for call, tasks in again if tasks]


def _items(call: Led, first: int, count: int, tasks: set[int]) -> tuple[Buffer, ...]:
    """Cut the items of some tasks out of a call; those of the others are empty."""
    cut = [
        call.backlog.cut(index, 1) if index in tasks else (bytes(SIZE.size), b"")
        for index in range(first, first + count)
    ]
    return b"".join(sizes for sizes, _ in cut), b"".join(items for _, items in cut)
