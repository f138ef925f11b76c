"""What must hold after each event; asserted by the simulation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mpipool.ids import LeaseId, Rank, leader_of
from mpipool.scheduler import stall
from mpipool.scheduler.cores import NO_GANG
from mpipool.scheduler.demands import Demand
from mpipool.scheduler.machine import Scheduler
from mpipool.scheduler.places import BUSY
from mpipool.scheduler.stores import Store


def check(scheduler: Scheduler) -> None:
    """Raise AssertionError with what is wrong, if something is."""
    _each_lease_stands_once(scheduler)
    _no_core_is_lent_twice(scheduler)
    _free_ranks_stand_where_they_belong(scheduler)
    _no_store_promises_too_much(scheduler)
    _no_core_idles_beside_work(scheduler)
    _something_goes_on(scheduler)


def _each_lease_stands_once(scheduler: Scheduler) -> None:
    lent: dict[int, int] = {}
    for lease, (rank, scatter, _) in scheduler.leases.items():
        assert lease in scheduler.cores[rank].leases, f"lease {lease} is not on rank {rank}"
        lent[scatter] = lent.get(scatter, 0) + 1
    for demand in scheduler.demands:
        assert demand.lent == lent.pop(demand.scatter, 0), f"scatter {demand.scatter} miscounts"
    assert not lent, f"leases of unknown scatters: {lent}"


def _no_core_is_lent_twice(scheduler: Scheduler) -> None:
    """Ranks know the leases of several ranks which are on them, and no rank sits in two gangs."""
    if all(demand.plain for demand in scheduler.demands):
        return
    cores = scheduler.cores
    active: dict[Rank, set[LeaseId]] = {}
    seats: dict[Rank, LeaseId] = {}
    for lease, (first, scatter, _) in scheduler.leases.items():
        ranks = cores.ranks_of(lease, first)
        assert len(set(ranks)) == len(ranks), f"lease {lease} has a rank twice: {ranks}"
        for rank in ranks:
            if lease not in cores[first].blocked and rank != first:
                active.setdefault(rank, set()).add(lease)
            if scheduler.demands[scatter].needs.in_place:
                assert rank not in seats, f"rank {rank} is in two gangs"
                seats[rank] = lease
    for rank in cores:
        assert cores[rank].guests == active.get(rank, set()), f"rank {rank} has other guests"
        assert cores[rank].seat == seats.get(rank, 0), f"rank {rank} has another seat"


def _free_ranks_stand_where_they_belong(scheduler: Scheduler) -> None:
    """Each free rank is found by those for whom it is, and no other rank by anybody."""
    cores = scheduler.cores
    free = {rank: cores[rank] for rank in cores if cores[rank].place is not BUSY}
    assert cores.free == len(free), f"{len(free)} ranks are free, {cores.free} were counted"
    standing = Counter(
        (rank, seat, place)
        for seat, shelf in ((NO_GANG, cores.common), *cores._gangs.items())
        for place, pool in shelf.pools.items()
        for rank in pool
    )
    right = Counter((rank, core.seat, core.place) for rank, core in free.items())
    assert standing == right, f"wrong shelves: {standing - right}, and not {right - standing}"
    on_nodes = {(r, place) for n in cores.nodes for place, pool in n.pools.items() for r in pool}
    there = {(rank, place) for rank, seat, place in right if cores.by_node and not seat}
    assert on_nodes == there, f"nodes count {on_nodes}, {there} are free"


def _no_store_promises_too_much(scheduler: Scheduler) -> None:
    """What is promised adds up, and no lease lends more than it holds."""
    stores = [(f"node {node.name!r}", node.memory) for node in scheduler.cores.nodes]
    stores += [(f"token {name!r}", store) for name, store in scheduler.holdings.tokens.items()]
    for name, store in stores:
        own = sum(part.own for part in store.parts.values())
        assert store.free == store.cap - own, f"{name} miscounts"
        assert store.free >= 0, f"{name} has promised {own} of {store.cap}"
        _parts_add_up(name, store)


def _parts_add_up(name: str, store: Store) -> None:
    lent: Counter[LeaseId] = Counter()
    for lease, part in store.parts.items():
        taken = sum(amount for _, amount in part.sources)
        assert part.own + taken == part.amount, f"lease {lease} has not got its part of {name}"
        for source, amount in part.sources:
            lent[source] += amount
    for lease, part in store.parts.items():
        assert part.lent == lent.pop(lease, 0), f"lease {lease} miscounts what it lent of {name}"
        assert part.lent <= part.amount, f"lease {lease} lends more of {name} than it holds"
    assert not lent, f"parts of {name} come from nowhere: {dict(lent)}"


def _no_core_idles_beside_work(scheduler: Scheduler) -> None:
    """What waits finds no place, but for what is withheld for the reservation of another."""
    if not scheduler.cores.any_free:
        return
    for demand in scheduler.demands:
        for rank in demand.pins:
            spot = rank in scheduler.cores and scheduler.spots.on_rank(demand, rank)
            assert not spot, f"rank {rank} idles while its task of {demand.scatter} waits"
        if not demand.waits:
            continue
        if demand.plain:
            path, home = demand.path, leader_of(demand.scatter)
            rank_there = scheduler.cores.choose(path, home, demand.gang)
            found: tuple[Rank, ...] = () if rank_there is None else (rank_there,)
        else:
            found = scheduler.spots.find(demand, None) or ()
        if found and not _is_withheld(scheduler, demand, found):
            name = f"rank {found[0]} idles" if len(found) == 1 else f"ranks {found} idle"
            raise AssertionError(f"{name} while scatter {demand.scatter} waits")


def _is_withheld(scheduler: Scheduler, demand: Demand, spot: tuple[Rank, ...]) -> bool:
    """Whether something of a spot is kept for a more urgent demand."""
    standing = scheduler.reservations.standing
    if standing is None or not standing.demand.waits or standing.demand.urgency > demand.urgency:
        return False
    return scheduler.spots.find(demand, replace(standing)) is None


def _something_goes_on(scheduler: Scheduler) -> None:
    """If no rank runs anything, what waits and is not refused waits for someone about to resume."""
    cores, demands = scheduler.cores, scheduler.demands
    waiting = [demand for demand in demands if demand.waits or demand.pins]
    if cores.free < len(cores) or not waiting or not scheduler.is_complete or not len(cores):
        return
    opened: dict[LeaseId, list[Demand]] = {}
    for demand in demands:
        if demand.above:
            opened.setdefault(demand.above[0], []).append(demand)
    if any(stall.is_ending(cores, demands, lease) for lease in scheduler.leases.values()):
        return
    for lease, (rank, _, _) in scheduler.leases.items():
        if lease in cores[rank].held:
            continue
        below = opened.get(lease, [])
        first = [demand for demand in below if demand.scatter in cores[rank].tops] or below
        if not any(demand in waiting or demand.lent for demand in first):
            return
    named = ", ".join(str(demand.scatter) for demand in waiting if not demand.plain)
    assert not named, f"nothing runs, and these wait for ever: {named}"
