"""Tasks which must run on one rank, because what they need is in a process there.

A pinned task may go on its rank whenever nothing runs there, however many stacks the rank has, and
though a gang which is blocked keeps a seat there: it has no other place to go, and two tasks whose
pinned tasks waited for the other's rank would wait for ever.

Pins are indexed by rank, and only *hot* ranks are looked at: those which have come free, or have
got a pin, since they were looked at last, and those whose pins wait for memory or tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpipool.ids import Rank
from mpipool.scheduler.demands import Demand


class Pins:
    """The pinned tasks of all scatters, by rank."""

    def __init__(self) -> None:
        self._by_rank: dict[Rank, dict[int, Demand]] = {}
        """The demands with a task for this rank, by the number of their opening."""
        self._hot: dict[Rank, None] = {}

    def __bool__(self) -> bool:
        return bool(self._by_rank)

    def change(self, demand: Demand, ranks: Iterable[Rank]) -> None:
        """Note for which ranks a scatter has pinned tasks now."""
        pins = dict.fromkeys(() if demand.closed or demand.refused else ranks)
        for rank in demand.pins.keys() - pins.keys():
            self._remove(demand, rank)
        for rank in pins:
            if rank not in demand.pins:
                self._by_rank.setdefault(rank, {})[demand.opened] = demand
                self._hot[rank] = None
        demand.pins = pins

    def met(self, demand: Demand, rank: Rank) -> None:
        """Note that a rank was lent for its pinned task."""
        self._remove(demand, rank)
        del demand.pins[rank]

    def freed(self, ranks: Iterable[Rank]) -> None:
        """Note that ranks may have come free."""
        for rank in ranks:
            if rank in self._by_rank:
                self._hot[rank] = None

    def keep_hot(self, rank: Rank) -> None:
        """Note that a rank is to be looked at again: its tasks lack something else."""
        self._hot[rank] = None

    def take_hot(self) -> list[Rank]:
        """Return the ranks to look at, and forget which they were."""
        hot, self._hot = list(self._hot), {}
        return hot

    def on(self, rank: Rank) -> list[Demand]:
        """Return the demands with a task for a rank, the most urgent first."""
        return sorted(self._by_rank.get(rank, {}).values(), key=lambda demand: demand.urgency)

    def _remove(self, demand: Demand, rank: Rank) -> None:
        there = self._by_rank[rank]
        del there[demand.opened]
        if not there:
            del self._by_rank[rank]
