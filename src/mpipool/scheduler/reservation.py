"""What is kept together for the most urgent task that finds no place, and back-filling.

A task which needs many ranks, cores of one node or much memory would wait for ever while smaller
ones take each core as it comes free. So for the most urgent of those which find no place
something is withheld from all less urgent ones: for a gang as many free ranks as it needs; for
threads or memory, cores and memory on one node, where the least is missing; for a gang with
memory, both on several nodes. One reservation stands at a time, and for as long as the task is
the most urgent one without a place.

A less urgent task may still use what is withheld if it is expected to end before the reservation
can be complete. That time is estimated from the expected ends of the leases when the reservation
is made, and anew when it has passed: tasks which take longer than they should are then expected
to end at any moment, and nothing is back-filled until they have. A task whose duration is unknown
never is.

Nothing that runs waits for what is withheld, so the reservation becomes complete; leaders which are
blocked may, and where everything is blocked the reservation gives way (see `stall`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mpipool.ids import LeaseId, Rank
from mpipool.scheduler.cores import Cores
from mpipool.scheduler.demands import Demand, Urgency
from mpipool.scheduler.events import Lease
from mpipool.scheduler.nodes import Node
from mpipool.scheduler.places import BUSY


@dataclass(slots=True)
class Reservation:
    """What is withheld for one scatter."""

    demand: Demand
    common: Cores
    cores: int = 0
    """Free ranks, wherever they are."""
    nodes: dict[Node, tuple[int, int]] = field(default_factory=dict)
    """On these nodes so many free cores, and so many MiB."""
    complete: float = -math.inf
    """When it can be complete."""
    urgency: Urgency = (0, 0, 0)
    """The scatter's, when something was withheld for it last."""
    denied: bool = False
    """Whether something that it withholds would have been used by another scatter."""

    @property
    def everywhere(self) -> bool:
        """Whether ranks are withheld wherever they are."""
        return not self.nodes

    def on(self, node: Node) -> tuple[int, int]:
        """Return how many cores and MiB are withheld on a node in particular."""
        return self.nodes.get(node, (0, 0))

    def leaves(self, node: Node, cores: int, memory: int) -> bool:
        """Whether what is withheld is left when so many free cores and MiB of a node are taken."""
        if self.everywhere:
            left = not cores or len(self.common.common) - cores >= self.cores
        else:
            kept_cores, kept_memory = self.on(node)
            left = (not cores or node.free - cores >= kept_cores) and (
                not memory or node.memory.free - memory >= kept_memory
            )
        self.denied |= not left
        return left

    def is_total(self, now: float, quantum: float) -> bool:
        """Whether nothing is left for anyone: then nothing more need be tried while others run."""
        cores = self.common
        is_total = (
            self.everywhere
            and len(cores.common) == cores.free < len(cores)
            and cores.free <= self.cores
            and now + quantum > self.complete
        )
        self.denied |= is_total
        return is_total

    def admits(self, demand: Demand, now: float, quantum: float) -> bool:
        """Whether a task of a scatter may use what is withheld."""
        mean = demand.mean
        return mean > 0 and now + max(mean, quantum) <= self.complete


class Reservations:
    """Makes reservations.

    Parameters
    ----------
    cores : Cores
        The ranks.
    leases : mapping
        The leases that are out.

    Attributes
    ----------
    standing : Reservation or None
        The one that was made last.
    """

    def __init__(self, cores: Cores, leases: Mapping[LeaseId, Lease]) -> None:
        self._cores = cores
        self._leases = leases
        self.standing: Reservation | None = None

    def reserve(self, demand: Demand, now: float) -> Reservation | None:
        """Withhold something for a scatter that finds no place; None where that would not help."""
        standing = self.standing
        if standing is None or standing.demand is not demand:
            standing = self.standing = self._plan(demand)
        if standing:
            standing.urgency = demand.urgency
            if now >= standing.complete:
                standing.complete = self._completion(standing, now)
        return standing

    def drop(self) -> None:
        """Withhold nothing any more: what was planned may not come true."""
        self.standing = None

    def against(self, demand: Demand) -> Reservation | None:
        """Return what is withheld from a scatter."""
        standing = self.standing
        if standing is None or not standing.demand.waits or standing.demand is demand:
            return None
        return standing if standing.demand.urgency < demand.urgency else None

    def lapse(self) -> bool:
        """Return whether others may now have what is withheld; drop what is needed no more."""
        standing = self.standing
        if standing is None or (
            standing.demand.waits and standing.demand.urgency <= standing.urgency
        ):
            return False
        if not standing.demand.waits:
            self.standing = None
        standing.urgency = standing.demand.urgency
        denied, standing.denied = standing.denied, False
        return denied

    # --- what to withhold ------------------------------------------------------------------------

    def _plan(self, demand: Demand) -> Reservation | None:
        needs = demand.needs
        if needs.in_place and not needs.memory:
            return Reservation(demand, self._cores, needs.ranks[0])
        if needs.in_place:
            nodes = self._nodes_for_gang(demand)
        elif needs.memory or needs.threads > 1:
            nodes = self._node_for_one(demand)
        else:
            return None
        return Reservation(demand, self._cores, 0, nodes) if nodes else None

    def _node_for_one(self, demand: Demand) -> dict[Node, tuple[int, int]]:
        needs = demand.needs
        fitting = [
            node
            for node in self._cores.nodes
            if len(node.ranks) >= needs.threads and node.memory.cap >= needs.memory
        ]
        if not fitting:
            return {}
        rest = {node: node.memory.rest(needs.memory, demand.above) for node in fitting}
        best = min(
            fitting,
            key=lambda node: (
                max(rest[node] - node.memory.free, 0),
                max(needs.threads - node.free, 0),
            ),
        )
        return {best: (needs.threads, rest[best])}

    def _nodes_for_gang(self, demand: Demand) -> dict[Node, tuple[int, int]]:
        missing, memory = demand.needs.ranks[0], demand.needs.memory
        nodes: dict[Node, tuple[int, int]] = {}
        free = {
            node: min(node.free, node.memory.reach(demand.above) // memory)
            for node in self._cores.nodes
        }
        for node in sorted(free, key=lambda node: -free[node]):
            members = min(len(node.ranks), node.memory.cap // memory, missing)
            if members:
                nodes[node] = (members, node.memory.rest(members * memory, demand.above))
                missing -= members
        return {} if missing else nodes

    # --- when it will be complete ----------------------------------------------------------------

    def _completion(self, reservation: Reservation, now: float) -> float:
        if reservation.everywhere:
            missing = reservation.cores - len(self._cores.common)
            return self._nth_end(self._cores, missing, now)
        return max(
            max(
                self._nth_end(node.ranks, cores - node.free, now),
                self._memory_at(node, memory - node.memory.free, now),
            )
            for node, (cores, memory) in reservation.nodes.items()
        )

    def _nth_end(self, ranks: Iterable[Rank], missing: int, now: float) -> float:
        """Return when so many more of these ranks can be free."""
        if missing <= 0:
            return now
        ends = sorted(self._ends(ranks))
        return max(ends[missing - 1], now) if len(ends) >= missing else math.inf

    def _ends(self, ranks: Iterable[Rank]) -> Iterator[float]:
        for rank in ranks:
            core = self._cores[rank]
            holding = {core.seat} if core.seat else set()
            if core.place is BUSY:
                holding |= core.guests | (core.leases - core.blocked)
            if holding:
                yield max(self._leases[lease].until for lease in holding)

    def _memory_at(self, node: Node, missing: int, now: float) -> float:
        """Return when so many more MiB of a node can be free."""
        if missing <= 0:
            return now
        ends = sorted(
            (self._leases[lease].until if lease in self._leases else now, part.own)
            for lease, part in node.memory.parts.items()
        )
        for end, own in ends:
            missing -= own
            if missing <= 0:
                return max(end, now)
        return math.inf
