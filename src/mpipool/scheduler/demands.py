"""The scatters which want ranks, in the order in which they should get them.

Deeper scatters come first, so that what is begun is finished before something new is started;
then the longest expected remaining time per rank, in steps of a tenth, within which times are tied;
then what was opened earlier.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mpipool.ids import ScatterId

TIE: Final = math.log(1.1)
"""Expected times within this factor (as a logarithm) count as equal."""

SLACK: Final = 64
"""So many stale entries are left in the heap however few scatters there are."""

Urgency = tuple[int, int, int]


@dataclass(slots=True)
class Demand:
    """What one scatter wants."""

    scatter: ScatterId
    path: tuple[ScatterId, ...]
    opened: int
    """Serial number of its opening."""
    queued: int = 0
    seconds: float = 0.0
    lent: int = 0
    """Ranks which it has now."""
    coming: int = 0
    """Ranks granted since its leader last said how many tasks are queued."""
    closed: bool = False

    @property
    def unmet(self) -> int:
        """How many more ranks could find a task: each grant takes one at least."""
        return self.queued - self.coming

    @property
    def waits(self) -> bool:
        """Whether it should get another rank."""
        return self.unmet > 0 and not self.closed

    @property
    def urgency(self) -> Urgency:
        """Sorts the most urgent first."""
        seconds = self.seconds or float(self.queued)
        remaining = seconds / (self.lent + 1)
        return (-len(self.path), -round(math.log(max(remaining, 1e-9)) / TIE), self.opened)


class Demands:
    """All open scatters, and a heap of those which want a rank.

    An entry of the heap is stale when the demand's urgency has changed since; it is dropped when
    it comes up. So an event costs a push, never a search. Entries which never come up, because
    more urgent ones of the same demand always do, are swept out before they outnumber the others.
    """

    def __init__(self) -> None:
        self._demands: dict[ScatterId, Demand] = {}
        self._heap: list[tuple[Urgency, ScatterId]] = []
        self._opened = 0

    def __contains__(self, scatter: ScatterId) -> bool:
        return scatter in self._demands

    def __getitem__(self, scatter: ScatterId) -> Demand:
        return self._demands[scatter]

    def __iter__(self) -> Iterator[Demand]:
        return iter(self._demands.values())

    def open(self, scatter: ScatterId, path: tuple[ScatterId, ...]) -> Demand:
        """Return the demand of a scatter, a new one if it is not known yet."""
        if scatter not in self._demands:
            self._opened += 1
            self._demands[scatter] = Demand(scatter, path, self._opened)
        return self._demands[scatter]

    def forget_if_over(self, demand: Demand) -> None:
        """Forget a closed scatter once its last rank has come back."""
        if demand.closed and not demand.lent:
            del self._demands[demand.scatter]

    def file(self, demand: Demand) -> None:
        """Put a demand in its place after it changed."""
        if demand.waits:
            heapq.heappush(self._heap, (demand.urgency, demand.scatter))
        if len(self._heap) > 2 * len(self._demands) + SLACK:
            self._sweep()

    def _sweep(self) -> None:
        self._heap = [(demand.urgency, demand.scatter) for demand in self if demand.waits]
        heapq.heapify(self._heap)

    def take(self) -> Demand | None:
        """Take the most urgent unmet demand out of the heap, or None."""
        while self._heap:
            urgency, scatter = heapq.heappop(self._heap)
            demand = self._demands.get(scatter)
            if demand and demand.waits and demand.urgency == urgency:
                return demand
        return None
