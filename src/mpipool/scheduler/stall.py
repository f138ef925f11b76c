"""When everything waits for something else: noticing it, and what is done then.

Tasks hold what they need while they wait for tasks below them. Each can go on by itself as long as
the tasks below it need no more than it holds. If they need more, leaders can wait for what each
other holds: of 10 GB two hold 5 each, and each scatters a task which needs 6. Nobody can know
that before, since what a task will scatter is not known when it starts.

It is noticed when it has happened: no rank runs anything, something finds no place, and each
lease that is out waits for a scatter which has tasks to be placed or ranks which wait in turn. (A
lease whose scatter has neither is about to resume: the message says so is on its way.) Then, in
this order,

1. the reservation gives way (that needs no such proof);
2. a task is put on a rank where it opens a third stack: memory is promised, the rule of two is not;
3. one scatter is refused: of the deepest the one that opened last. What its leader does with that
   error ends its wait, and what it holds comes free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpipool.ids import LeaseId
from mpipool.needs import Needs
from mpipool.scheduler.cores import Core, Cores
from mpipool.scheduler.demands import Demand, Demands
from mpipool.scheduler.events import Lease


def all_wait(cores: Cores, demands: Demands, leases: Mapping[LeaseId, Lease]) -> bool:
    """Whether nothing runs and nothing that is blocked is about to resume."""
    if cores.free < len(cores):
        return False
    below: dict[LeaseId, list[Demand]] = {}
    for demand in demands:
        if demand.above:
            below.setdefault(demand.above[0], []).append(demand)
    return all(
        not is_ending(cores, demands, lease)
        and (number in cores[lease.rank].held or waits(below.get(number, ()), cores[lease.rank]))
        for number, lease in leases.items()
    )


def is_ending(cores: Cores, demands: Demands, lease: Lease) -> bool:
    """Whether a lease is about to be returned, since its rank or its leader is gone."""
    return cores.is_lost(lease.rank) or demands[lease.scatter].closed


def waits(below: Iterable[Demand], core: Core) -> bool:
    """Whether a lease on a core waits for the scatters which its task has opened."""
    on_top = [demand for demand in below if demand.awaited in core.tops]
    return any(demand.waits or demand.pins or demand.lent for demand in on_top or below)


def victim(demands: Demands) -> Demand | None:
    """Choose the scatter to refuse; None if all that wait need only cores."""
    return max(
        (d for d in demands if not d.plain and (d.waits or d.pins)),
        key=lambda demand: (len(demand.path), demand.opened),
        default=None,
    )


def reason(needs: Needs) -> str:
    """Say why a scatter is refused which might have been placed at another time."""
    wanted = [f"{count} of {name}" for name, count in needs.tokens]
    if needs.memory:
        wanted.insert(0, f"{needs.memory} MiB")
    if needs.threads > 1:
        wanted.insert(0, f"{needs.threads} cores of one node")
    if needs.in_place:
        wanted.insert(0, f"{needs.ranks[0]} ranks")
    return (
        f"each task needs {' and '.join(wanted)}, more than the tasks outside it hold, and all the "
        "rest is held by tasks which wait in the same way: it would wait for ever. Let the outer "
        "tasks ask for as much as the inner ones need, or run fewer of them at once"
    )
