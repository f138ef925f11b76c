"""The scatters which want ranks, in the order in which they should get them.

Deeper scatters come first, so that what is begun is finished before something new is started;
among equally deep ones gangs, which else would never find enough ranks free at once;
then the longest expected remaining time per rank, in steps of a tenth, within which times are tied;
then what was opened earlier.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mpipool.ids import LeaseId, Rank, ScatterId
from mpipool.needs import PLAIN, Needs
from mpipool.scheduler.cores import NO_GANG

TIE: Final = math.log(1.1)
"""Expected times within this factor (as a logarithm) count as equal."""

SLACK: Final = 64
"""So many stale entries are left in the heap however few scatters there are."""

GANGS_FIRST: Final = 0.5
"""So much deeper than it is a scatter of gangs counts."""

Urgency = tuple[float, int, int]


@dataclass(slots=True, eq=False)
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
    needs: Needs = PLAIN
    plain: bool = True
    """Whether it needs no more than a core."""
    above: tuple[LeaseId, ...] = ()
    """The leases under which its ancestors run, the nearest first."""
    origin: ScatterId | None = None
    """The scatter of which it is a branch."""
    gang: LeaseId = NO_GANG
    """The one of these which is a gang's."""
    pins: dict[Rank, None] = field(default_factory=dict)
    """Ranks for each of which a task waits that runs nowhere else."""
    refused: bool = False
    """Whether its leader was told that it gets no rank."""
    filed: Urgency | None = None
    """Where it stands in the heap."""

    @property
    def awaited(self) -> ScatterId:
        """The scatter for which its leader waits, where that waits for its tasks."""
        return self.scatter if self.origin is None else self.origin

    @property
    def unmet(self) -> int:
        """How many more ranks could find a task: each grant takes one at least."""
        return self.queued - self.coming

    @property
    def waits(self) -> bool:
        """Whether it should get another rank, be it which."""
        return self.queued > self.coming and not self.closed and not self.refused

    @property
    def mean(self) -> float:
        """Expected seconds of one task; 0 while nothing is known."""
        return self.seconds / self.queued if self.queued else 0.0

    @property
    def urgency(self) -> Urgency:
        """Sorts the most urgent first."""
        seconds = self.seconds or float(self.queued)
        remaining = seconds / (self.lent + 1)
        depth = len(self.path) + (GANGS_FIRST if self.needs.in_place else 0)
        return (-depth, -round(math.log(max(remaining, 1e-9)) / TIE), self.opened)


class Demands:
    """All open scatters, and a heap of those which want a rank.

    An entry of the heap is stale when the demand was filed elsewhere since; it is dropped when it
    comes up. So an event costs a push, never a search. Entries which never come up, because
    more urgent ones of the same demand always do, are swept out before they outnumber the others.
    """

    def __init__(self) -> None:
        self.gangs: dict[ScatterId, Demand] = {}
        """Those whose tasks are gangs."""
        self._demands: dict[ScatterId, Demand] = {}
        self._heap: list[tuple[Urgency, ScatterId]] = []
        self._opened = 0

    def __contains__(self, scatter: ScatterId) -> bool:
        return scatter in self._demands

    def __getitem__(self, scatter: ScatterId) -> Demand:
        return self._demands[scatter]

    def __iter__(self) -> Iterator[Demand]:
        return iter(self._demands.values())

    def __len__(self) -> int:
        return len(self._demands)

    def open(self, scatter: ScatterId, path: tuple[ScatterId, ...], needs: Needs = PLAIN) -> Demand:
        """Return the demand of a scatter, a new one if it is not known yet."""
        if scatter not in self._demands:
            self._opened += 1
            demand = Demand(scatter, path, self._opened)
            if needs != PLAIN:
                demand.needs, demand.plain = needs, False
            if needs.in_place:
                self.gangs[scatter] = demand
            self._demands[scatter] = demand
        return self._demands[scatter]

    def forget_if_over(self, demand: Demand) -> None:
        """Forget a closed scatter once its last rank has come back."""
        if demand.closed and not demand.lent:
            del self._demands[demand.scatter]
            self.gangs.pop(demand.scatter, None)

    def file(self, demand: Demand) -> None:
        """Put a demand in its place after it changed."""
        urgency = demand.urgency if demand.waits else None
        if urgency == demand.filed:
            return
        demand.filed = urgency
        if urgency:
            heapq.heappush(self._heap, (urgency, demand.scatter))
        if len(self._heap) > 2 * len(self._demands) + SLACK:
            self._sweep()

    def _sweep(self) -> None:
        self._heap = [(demand.filed, demand.scatter) for demand in self if demand.filed]
        heapq.heapify(self._heap)

    def take(self) -> Demand | None:
        """Take the most urgent unmet demand out of the heap, or None."""
        while self._heap:
            urgency, scatter = heapq.heappop(self._heap)
            demand = self._demands.get(scatter)
            if demand and demand.filed == urgency:
                demand.filed = None
                return demand
        return None
