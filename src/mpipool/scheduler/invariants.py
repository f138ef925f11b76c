"""What must hold after each event; asserted by the simulation."""

from __future__ import annotations

from mpipool.ids import leader_of
from mpipool.scheduler.machine import Scheduler


def check(scheduler: Scheduler) -> None:
    """Raise AssertionError with what is wrong, if something is."""
    _each_lease_stands_once(scheduler)
    _no_core_idles_beside_work(scheduler)


def _each_lease_stands_once(scheduler: Scheduler) -> None:
    lent: dict[int, int] = {}
    for lease, (rank, scatter) in scheduler.leases.items():
        assert lease in scheduler.cores[rank].leases, f"lease {lease} is not on rank {rank}"
        lent[scatter] = lent.get(scatter, 0) + 1
    for demand in scheduler.demands:
        assert demand.lent == lent.pop(demand.scatter, 0), f"scatter {demand.scatter} miscounts"
    assert not lent, f"leases of unknown scatters: {lent}"


def _no_core_idles_beside_work(scheduler: Scheduler) -> None:
    if not scheduler.cores.any_free:
        return
    for demand in scheduler.demands:
        if not demand.waits:
            continue
        rank = scheduler.cores.choose(demand.path, leader_of(demand.scatter))
        assert rank is None, f"rank {rank} idles while scatter {demand.scatter} waits"
