"""The scheduler: lends the cores of ranks to scatters.

Theory of operation. The scheduler knows scatters by their demand (tasks queued, expected seconds,
what each task needs) and ranks by their leases. After each event it places: first pinned tasks on
ranks that came free; then, while a core is free and a demand unmet, the most urgent demand gets a
core, and with it all that its tasks need. For the most urgent one that lacks ranks, threads or
memory something is reserved. A grant is a lease with a quantum; the scatter's leader returns the
lease, and may be lent the rank again. Nothing is ever taken away: after a quantum, at the latest
when the running task ends, each rank is placed anew.

After each event everything that waits has been tried on everything that is free, in vain. So the
next event concerns only what it has freed and the demand it has changed: while no node has gained
something (`nodes`), only that demand is tried. This holds once nodes are indexed; with plain
demands alone what is free is soon taken anyway.

What can never be placed is refused at once, and what turns out to wait in a circle when it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mpipool.errors import InvalidEvent
from mpipool.ids import LeaseId, Rank, ScatterId, leader_of
from mpipool.scheduler import stall
from mpipool.scheduler.cores import Cores
from mpipool.scheduler.demands import Demand, Demands
from mpipool.scheduler.events import (
    Command,
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    Lease,
    LeaseReturned,
    Pardon,
    RankJoined,
    RankLost,
    RankQuarantined,
    Reclaim,
    Refuse,
    TokensProvided,
)
from mpipool.scheduler.fitting import Fitting
from mpipool.scheduler.holdings import Holdings
from mpipool.scheduler.pins import Pins
from mpipool.scheduler.reservation import Reservation, Reservations
from mpipool.scheduler.spots import Spots

QUANTUM: Final = 0.1
"""Seconds. Short against the run of a scatter, long against the 0.3 ms of lending a rank anew."""
RETURNS_PER_SECOND: Final = 10_000
"""With many ranks the quantum grows, so that rank 0 sees no more than so many returns."""


class Scheduler:
    """Lends ranks to scatters; see the module's docstring.

    Parameters
    ----------
    size : int or None
        How many ranks will join: what can never be placed is refused when they have. None: those
        which are there when a scatter opens are all.
    tokens : mapping or None
        How many of each named token the run has.

    Attributes
    ----------
    cores : Cores
        The ranks.
    demands : Demands
        The scatters.
    leases : dict
        The leases that are out.
    holdings : Holdings
        What these hold besides cores.
    pins : Pins
        The tasks which wait for one rank.
    spots : Spots
        Finds places for tasks which need more than a core.
    reservations : Reservations
        What is withheld, and for whom.
    """

    def __init__(self, size: int | None = None, tokens: Mapping[str, int] | None = None) -> None:
        self.cores = Cores()
        self.demands = Demands()
        self.leases: dict[LeaseId, Lease] = {}
        self.holdings = Holdings(self.cores)
        self.holdings.provide(tokens or {})
        self.pins = Pins()
        self.spots = Spots(self.cores, self.holdings, self.demands, self.leases)
        self.reservations = Reservations(self.cores, self.leases)
        self._fitting = Fitting(self.cores, self.holdings.tokens)
        self._size = size
        self._last_lease = LeaseId(0)
        self._first: list[Command] = []
        """What is to be said before anything is granted."""

    def handle(self, event: Event, now: float = 0.0) -> list[Command]:  # noqa: C901 - a table
        """Take in what happened and decide who gets which rank.

        Parameters
        ----------
        event : Event
            What happened.
        now : float
            Monotonic seconds.
        """
        changed: Demand | None = None
        match event:
            case LeaseReturned():
                changed = self._end(event)
            case DemandChanged():
                changed = self._change(event)
            case CoreBlocked():
                self._block(event)
            case RankJoined():
                self._join(event)
            case RankLost(rank):
                self._lose(rank)
            case RankQuarantined(rank):
                self._quarantine(rank)
            case TokensProvided(tokens):
                self.holdings.provide(tokens)
        commands = self._place(changed, now)
        if self._first:
            commands = self._first + commands
            self._first = []
        return commands

    @property
    def quantum(self) -> float:
        """Seconds after which a lease is returned."""
        return max(QUANTUM, len(self.cores) / RETURNS_PER_SECOND)

    @property
    def is_complete(self) -> bool:
        """Whether all ranks have joined."""
        return self._size is None or len(self.cores) >= self._size

    # --- events ----------------------------------------------------------------------------------

    def _join(self, event: RankJoined) -> None:
        rank = event.rank
        if rank in self.cores:
            raise InvalidEvent("scheduler", f"RankJoined({rank})", "the rank has joined before")
        self.cores.join(rank, event.node, event.memory)
        self.pins.freed([rank])
        if self._size is not None and self.is_complete:
            for demand in self.demands:
                self._judge(demand)

    def _lose(self, rank: Rank) -> None:
        """Take a rank out, and drop the scatters which it led."""
        self._take_out(rank, lost=True)
        orphans = [demand for demand in self.demands if leader_of(demand.scatter) == rank]
        for demand in orphans:
            demand.closed = True
            self._report(demand, 0, 0.0)
        self._reclaim({demand.scatter for demand in orphans})
        self._unpin(rank)

    def _quarantine(self, rank: Rank) -> None:
        """Lend a rank no more; what is on it may end, and caches there are made again elsewhere."""
        self._take_out(rank, lost=False)
        self._unpin(rank)

    def _take_out(self, rank: Rank, *, lost: bool) -> None:
        if self._size is not None and not self.cores.is_gone(rank):
            self._size -= 1
        if rank in self.cores or self.cores.is_gone(rank):
            self.cores.retire(rank, lost=lost)
            self.reservations.drop()

    def _unpin(self, rank: Rank) -> None:
        """Expect no task to run on a rank any more, and see what can't be without it."""
        for demand in self.demands:
            self.pins.change(demand, [pin for pin in demand.pins if pin != rank])
            if self.is_complete:
                self._judge(demand)

    def _reclaim(self, orphans: set[ScatterId]) -> None:
        """Have the leases of scatters whose leader is gone returned."""
        for number, lease in list(self.leases.items()):
            if lease.scatter not in orphans:
                continue
            if not self.cores.is_lost(lease.rank):
                self._first.append(Reclaim(number, lease.rank))
            else:
                self._end(LeaseReturned(number, 0, 0.0))

    def _change(self, event: DemandChanged) -> Demand:
        is_new = event.scatter not in self.demands
        demand = self.demands.open(event.scatter, event.path, event.needs)
        demand.closed = event.closed
        if is_new:
            demand.origin = event.origin
            self._set_in_place(demand, event.parent)
        self._report(demand, event.queued, event.seconds, event.pins)
        if not demand.plain and is_new and self.is_complete:
            self._judge(demand)
        return demand

    def _set_in_place(self, demand: Demand, parent: LeaseId | None) -> None:
        """Note under which leases the ancestors of a new scatter run."""
        if not demand.plain:
            self.cores.index_nodes()
        # A parent that has ended is that of a scatter which is being given up.
        if parent is not None and parent in self.leases:
            opener = self.demands[self.leases[parent].scatter]
            demand.above = (parent, *opener.above)
            demand.gang = parent if opener.needs.in_place else opener.gang

    def _end(self, event: LeaseReturned) -> Demand:
        lease = event.lease
        if lease not in self.leases:
            raise InvalidEvent("scheduler", f"LeaseReturned({lease})", "no such lease is out")
        rank, scatter, _ = self.leases.pop(lease)
        if self.pins:
            self.pins.freed(self.cores.ranks_of(lease, rank))
        self.cores.end(rank, lease)
        demand = self.demands[scatter]
        demand.lent -= 1
        if not demand.plain:
            self.holdings.release(lease)
        self._report(demand, event.queued, event.seconds, event.pins)
        return demand

    def _report(
        self, demand: Demand, queued: int, seconds: float, pins: tuple[Rank, ...] = ()
    ) -> None:
        demand.queued, demand.seconds, demand.coming = queued, seconds, 0
        # Its leader may not know yet that a rank is lost.
        pins = tuple(rank for rank in pins if not self.cores.is_gone(rank))
        if pins or demand.pins:
            self.pins.change(demand, pins)
            if self.is_complete:
                self._judge(demand)
        self.demands.forget_if_over(demand)
        self.demands.file(demand)

    def _block(self, event: CoreBlocked) -> None:
        rank = event.rank
        if rank not in self.cores and not self.cores.is_gone(rank):
            raise InvalidEvent("scheduler", f"CoreBlocked({rank})", "the rank has not joined")
        self.cores.block(rank, event.leases, event.tops)
        self.cores[rank].held = event.held
        if self.pins:
            self.pins.freed([rank])
            for lease in self.cores[rank].leases:
                self.pins.freed(self.cores.ranks_of(lease, rank))

    # --- what can't be ---------------------------------------------------------------------------

    def _judge(self, demand: Demand) -> None:
        if demand.plain and not demand.pins:
            return
        reason = self._fitting.judge(demand)
        if reason and self._pardon():
            reason = self._fitting.judge(demand)
        if reason:
            self._refuse(demand, reason)

    def _pardon(self) -> bool:
        """Lend the ranks in quarantine again, if there are some: better a bad place than none."""
        back = self.cores.readmit()
        if back:
            self._size = None if self._size is None else self._size + len(back)
            self._first.append(Pardon(back))
        return bool(back)

    def _refuse(self, demand: Demand, reason: str) -> None:
        if not demand.refused and not demand.closed:
            demand.refused = True
            self.pins.change(demand, ())
            self.demands.file(demand)
            self._first.append(Refuse(demand.scatter, reason))

    # --- placing ---------------------------------------------------------------------------------

    def _place(self, changed: Demand | None, now: float) -> list[Command]:
        """Place what can be placed after an event, which has changed one demand at most."""
        commands: list[Command] = []
        if self.pins:
            commands += self._place_pinned(now)
        self._stir()
        unplaceable = self._place_by_urgency(commands, now)
        if changed and changed not in unplaceable and not self._place_one(changed, commands, now):
            self.cores.stirred = True  # it has a claim, and so others may have lost theirs
            unplaceable += self._place_by_urgency(commands, now)
        self.cores.stirred = False
        self.cores.nodes.calm_down()
        if self.cores.free == len(self.cores) and (unplaceable or self.pins):
            commands += self._get_going(unplaceable, now)
        for demand in unplaceable:
            self.demands.file(demand)
        return commands

    def _stir(self) -> None:
        """See whether all that waits is to be tried again, whatever the nodes have gained."""
        cores = self.cores
        if self.reservations.lapse() or not cores.by_node or cores.free == len(cores):
            cores.stirred = True

    def _place_by_urgency(self, commands: list[Command], now: float) -> list[Demand]:
        """Lend ranks to the most urgent demands; return those for which there was none."""
        unplaceable: list[Demand] = []
        cores, withheld = self.cores, None
        while cores.free and (cores.stirred or cores.nodes.gained):
            demand = self.demands.take()
            if demand is None:
                break
            grant = self._try(demand, withheld, now)
            if grant:
                commands.append(grant)
                self.demands.file(demand)
                cores.stirred |= self.reservations.lapse()
                continue
            unplaceable.append(demand)
            if withheld is None and not demand.plain and self.holdings.has_tokens(demand):
                withheld = self.reservations.reserve(demand, now)
                if withheld and withheld.is_total(now, self.quantum):
                    break
        return unplaceable

    def _place_one(self, demand: Demand, commands: list[Command], now: float) -> bool:
        """Lend ranks to the demand that has changed; False if it finds none and should reserve."""
        while demand.waits and self.cores.free:
            withheld = self.reservations.against(demand)
            grant = self._try(demand, withheld, now)
            if grant is None:
                return demand.plain or bool(withheld) or not self.holdings.has_tokens(demand)
            commands.append(grant)
            self.demands.file(demand)
        return True

    def _try(self, demand: Demand, withheld: Reservation | None, now: float) -> Grant | None:
        """Lend a rank to a scatter if there is one for it."""
        if withheld and withheld.admits(demand, now, self.quantum):
            withheld = None
        if demand.plain and withheld is None:
            rank = self.cores.choose(demand.path, leader_of(demand.scatter), demand.gang)
            return None if rank is None else self._grant(demand, (rank,), now)
        spot = self.spots.find(demand, withheld)
        return self._grant(demand, spot, now) if spot else None

    def _place_pinned(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for rank in self.pins.take_hot():
            for demand in self.pins.on(rank):
                spot = self.spots.on_rank(demand, rank) if rank in self.cores else None
                if spot:
                    self.pins.met(demand, rank)
                    commands.append(self._grant(demand, spot, now, pinned=True))
                    self.demands.file(demand)
                    break
            else:
                if rank in self.cores and self.cores.is_free(rank):
                    self.pins.keep_hot(rank)
        return commands

    def _get_going(self, unplaceable: list[Demand], now: float) -> list[Command]:
        """Make sure that something goes on though no rank runs anything; see `stall`."""
        for demand in unplaceable:
            grant = self._try(demand, None, now)
            if grant:
                return [grant]
        # A leader may wait for another scatter than the one which is refused; then one more is.
        while self.is_complete and stall.all_wait(self.cores, self.demands, self.leases):
            for demand in unplaceable:
                for rank in () if demand.needs.in_place else self.cores:
                    fits = self.cores.has_seat(rank, demand.gang)
                    spot = self.spots.on_rank(demand, rank) if fits else None
                    if spot:
                        return [self._grant(demand, spot, now)]
            victim = stall.victim(self.demands)
            if victim is None:
                break
            self._refuse(victim, stall.reason(victim.needs))
        return []

    def _grant(
        self, demand: Demand, spot: tuple[Rank, ...], now: float, *, pinned: bool = False
    ) -> Grant:
        lease = self._last_lease = LeaseId(self._last_lease + 1)
        quantum, needs, rank = self.quantum, demand.needs, spot[0]
        self.leases[lease] = Lease(rank, demand.scatter, now + max(quantum, demand.mean))
        demand.lent += 1
        demand.coming += not pinned
        if demand.plain:
            self.cores.lend(rank, lease)
            return Grant(lease, demand.scatter, rank, quantum)
        self.holdings.hold(lease, demand, spot)
        if len(spot) > 1 or needs.in_place:
            self.cores.lend_several(spot, lease, needs.in_place)
        else:
            self.cores.lend(rank, lease)
        return Grant(lease, demand.scatter, rank, quantum, spot if len(spot) > 1 else ())
