"""The scheduler: lends the cores of ranks to scatters.

Theory of operation. The scheduler knows scatters by their demand (tasks queued, expected seconds)
and ranks by their leases. After each event it places: while a core is free and a demand unmet, the
most urgent demand gets a core. A grant is a lease with a quantum; the scatter's leader returns the
lease, and may be lent the rank again. Nothing is ever taken away: after a quantum, at the latest
when the running task ends, each rank is placed anew.
"""

from __future__ import annotations

from typing import Final

from mpipool.errors import InvalidEvent
from mpipool.ids import LeaseId, Rank, ScatterId, leader_of
from mpipool.scheduler.cores import Cores
from mpipool.scheduler.demands import Demand, Demands
from mpipool.scheduler.events import (
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    RankJoined,
)

QUANTUM: Final = 0.1
"""Seconds. Short against the run of a scatter, long against the 0.3 ms of lending a rank anew."""
RETURNS_PER_SECOND: Final = 10_000
"""With many ranks the quantum grows, so that rank 0 sees no more than so many returns."""


class Scheduler:
    """Lends ranks to scatters; see the module's docstring.

    Attributes
    ----------
    cores : Cores
        The ranks.
    demands : Demands
        The scatters.
    leases : dict
        The leases that are out: rank and scatter of each.
    """

    def __init__(self) -> None:
        self.cores = Cores()
        self.demands = Demands()
        self.leases: dict[LeaseId, tuple[Rank, ScatterId]] = {}
        self._last_lease = LeaseId(0)

    def handle(self, event: Event) -> list[Grant]:
        """Take in what happened and decide who gets which rank."""
        match event:
            case RankJoined(rank):
                self._join(rank)
            case DemandChanged():
                self._change(event)
            case LeaseReturned(lease, queued, seconds):
                self._end(lease, queued, seconds)
            case CoreBlocked(rank, leases, tops):
                self._block(rank, leases, tops)
        return self._place()

    @property
    def quantum(self) -> float:
        """Seconds after which a lease is returned."""
        return max(QUANTUM, len(self.cores) / RETURNS_PER_SECOND)

    def _join(self, rank: Rank) -> None:
        if rank in self.cores:
            raise InvalidEvent("scheduler", f"RankJoined({rank})", "the rank has joined before")
        self.cores.join(rank)

    def _change(self, event: DemandChanged) -> None:
        demand = self.demands.open(event.scatter, event.path)
        demand.closed = event.closed
        self._report(demand, event.queued, event.seconds)

    def _end(self, lease: LeaseId, queued: int, seconds: float) -> None:
        if lease not in self.leases:
            raise InvalidEvent("scheduler", f"LeaseReturned({lease})", "no such lease is out")
        rank, scatter = self.leases.pop(lease)
        self.cores.end(rank, lease)
        demand = self.demands[scatter]
        demand.lent -= 1
        self._report(demand, queued, seconds)

    def _report(self, demand: Demand, queued: int, seconds: float) -> None:
        demand.queued, demand.seconds, demand.coming = queued, seconds, 0
        self.demands.forget_if_over(demand)
        self.demands.file(demand)

    def _block(self, rank: Rank, leases: frozenset[LeaseId], tops: tuple[ScatterId, ...]) -> None:
        if rank not in self.cores:
            raise InvalidEvent("scheduler", f"CoreBlocked({rank})", "the rank has not joined")
        self.cores.block(rank, leases, tops)

    def _place(self) -> list[Grant]:
        grants = []
        unplaceable = []
        while self.cores.any_free:
            demand = self.demands.take()
            if demand is None:
                break
            rank = self.cores.choose(demand.path, leader_of(demand.scatter))
            if rank is None:
                unplaceable.append(demand)
                continue
            grants.append(self._grant(demand, rank))
            self.demands.file(demand)
        for demand in unplaceable:
            self.demands.file(demand)
        return grants

    def _grant(self, demand: Demand, rank: Rank) -> Grant:
        self._last_lease = LeaseId(self._last_lease + 1)
        self.leases[self._last_lease] = (rank, demand.scatter)
        self.cores.lend(rank, self._last_lease)
        demand.lent += 1
        demand.coming += 1
        return Grant(self._last_lease, demand.scatter, rank, self.quantum)
