"""Where a task fits which needs more than a core, or for which something is withheld.

A *spot* is the ranks of one lease, its first one in front: one rank, or with threads one and others
of its node, or the members of a gang. Any free core will do for the others: a rank whose leases are
all blocked lends its core out like one that has none, but idle ones are taken first. Were blocked
ones left out, two leaders on a node of two ranks could wait for each other's core for ever.

A search begins where the task's ancestors hold something, and goes on to nodes with free cores and
enough free memory; it scans the ranks of a node at most, and for a gang the nodes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice

from mpipool.ids import BROKER, LeaseId, Rank, leader_of
from mpipool.scheduler.cores import NO_GANG, Cores
from mpipool.scheduler.demands import Demand, Demands
from mpipool.scheduler.events import Lease
from mpipool.scheduler.holdings import Holdings
from mpipool.scheduler.nodes import Node
from mpipool.scheduler.reservation import Reservation

Spot = tuple[Rank, ...]


class Spots:
    """Finds spots.

    Parameters
    ----------
    cores : Cores
        The ranks.
    holdings : Holdings
        Memory and tokens.
    demands : Demands
        The scatters: gangs of variable size share the ranks.
    leases : mapping
        The leases that are out.

    Attributes
    ----------
    spares_root : bool
        Whether gangs do without rank 0 while there are other ranks to wait for. Where a run
        survives the death of a member, the others may be lost too, and rank 0 would end it.
    """

    def __init__(
        self,
        cores: Cores,
        holdings: Holdings,
        demands: Demands,
        leases: Mapping[LeaseId, Lease],
    ) -> None:
        self._cores = cores
        self._holdings = holdings
        self._demands = demands
        self._leases = leases
        self.spares_root = False

    def find(self, demand: Demand, withheld: Reservation | None) -> Spot | None:
        """Find a spot for a task of a scatter; None if there is none now.

        Parameters
        ----------
        demand : Demand
            The scatter.
        withheld : Reservation or None
            What is kept for another scatter.
        """
        needs = demand.needs
        if not self._holdings.has_tokens(demand):
            return None
        if needs.in_place:
            return self._gang(demand, withheld)
        if needs.memory or needs.threads > 1:
            return self._on_a_node(demand, withheld)
        return self._anywhere(demand, withheld)

    def on_rank(
        self, demand: Demand, rank: Rank, withheld: Reservation | None = None
    ) -> Spot | None:
        """Find a spot whose first rank is this one, whatever waits there."""
        core, needs = self._cores[rank], demand.needs
        if not self._cores.is_free(rank):
            return None
        rest = core.node.memory.rest(needs.memory, demand.above)
        if rest > core.node.memory.free or not self._holdings.has_tokens(demand):
            return None
        spot = (rank, *self._others(demand, rank)) if needs.threads > 1 else (rank,)
        if len(spot) < needs.threads:
            return None
        if withheld:
            common = sum(not self._cores[held].seat for held in spot)
            if not withheld.leaves(core.node, common, rest):
                return None
        return spot

    # --- one rank, and others of its node --------------------------------------------------------

    def _anywhere(self, demand: Demand, withheld: Reservation | None) -> Spot | None:
        home = leader_of(demand.scatter)
        for rank in self._cores.candidates(demand.path, home, demand.gang):
            core = self._cores[rank]
            if core.seat or withheld is None or withheld.leaves(core.node, 1, 0):
                return (rank,)
            if withheld.everywhere and rank != home:
                return None
        return None

    def _on_a_node(self, demand: Demand, withheld: Reservation | None) -> Spot | None:
        for node in self._nodes(demand):
            rank = next(self._firsts(node, demand), None)
            # What one of them lacks is lacking to all ranks of the node.
            spot = None if rank is None else self.on_rank(demand, rank, withheld)
            if spot:
                return spot
        for rank in self._of_ancestors(demand):
            spot = self.on_rank(demand, rank, withheld)
            if spot:
                return spot
        return None

    def _of_ancestors(self, demand: Demand) -> Iterator[Rank]:
        """Yield the ranks where an ancestor came onto another gang's seat, as pinned tasks may."""
        for lease in demand.above:
            if lease in self._leases:
                rank = self._leases[lease].rank
                came_later = NO_GANG < self._cores[rank].seat < lease
                if came_later and self._cores.can_stand(rank, demand.path):
                    yield rank

    def _nodes(self, demand: Demand) -> Iterator[Node]:
        """Yield the nodes which are worth a look, some of them twice."""
        home = leader_of(demand.scatter)
        if home in self._cores:
            yield self._cores[home].node
        for lease in demand.above:
            if lease in self._leases:
                ranks = self._cores.ranks_of(lease, self._leases[lease].rank)
                yield from dict.fromkeys(self._cores[rank].node for rank in ranks)
        yield from self._cores.nodes.ready(demand.needs.memory)

    def _firsts(self, node: Node, demand: Demand) -> Iterator[Rank]:
        """Yield the free ranks of a node on which a task can stand."""
        home = leader_of(demand.scatter)
        here = [home] if home in self._cores and self._cores[home].node is node else []
        for ranks in (here, self._members(node, demand), node.cores()):
            for rank in ranks:
                if self._cores.takes(rank, demand.path, demand.gang):
                    yield rank

    def _members(self, node: Node, demand: Demand) -> Iterator[Rank]:
        """Yield the free members, on a node, of the gang to which a scatter belongs."""
        return (rank for rank in self._cores.members(demand.gang) if self._cores[rank].node is node)

    def _others(self, demand: Demand, first: Rank) -> list[Rank]:
        """Choose the other ranks whose cores a task with threads holds, too few if there are."""
        node, wanted = self._cores[first].node, demand.needs.threads - 1
        chosen: list[Rank] = []
        for ranks in (self._members(node, demand), node.cores()):
            for rank in ranks:
                if len(chosen) == wanted:
                    return chosen
                if rank != first:
                    chosen.append(rank)
        return chosen

    # --- gangs -----------------------------------------------------------------------------------

    def _gang(self, demand: Demand, withheld: Reservation | None) -> Spot | None:
        fewest = demand.needs.ranks[0]
        if len(self._cores.common) < fewest:
            return None
        for spared in (True, False) if self.spares_root and self._root_is_free else (False,):
            room = self._room(demand, withheld, spared)
            kept = (withheld.cores if withheld else 0) + spared
            free = min(len(self._cores.common) - kept, sum(room.values()))
            if free >= fewest:
                return _seated(room, self._width(demand, free), spared)
            if spared and self._others_end(fewest):
                break
        if withheld:
            withheld.denied = True  # perhaps; nobody counts what there would be without it
        return None

    @property
    def _root_is_free(self) -> bool:
        return BROKER in self._cores and self._cores[BROKER].node.has_free(BROKER)

    def _others_end(self, fewest: int) -> bool:
        """Whether there are enough ranks besides rank 0, of which some are yet to become free."""
        others = len(self._cores) - (BROKER in self._cores)
        return others >= fewest and self._cores.free < len(self._cores)

    def _room(self, demand: Demand, withheld: Reservation | None, spared: bool) -> dict[Node, int]:
        """Return how many members of a gang each node can take now, rank 0 spared or not."""
        room = {}
        for node in self._cores.nodes.ready():
            seats = self._seats(node, demand, withheld, spared)
            if seats > 0:
                room[node] = seats
        return room

    def _seats(self, node: Node, demand: Demand, withheld: Reservation | None, spared: bool) -> int:
        cores, memory = withheld.on(node) if withheld else (0, 0)
        seats = node.free - cores - (spared and node.has_free(BROKER))
        if demand.needs.memory:
            reach = node.memory.reach(demand.above) - memory
            seats = min(seats, reach // demand.needs.memory)
        return seats

    def _width(self, demand: Demand, free: int) -> int:
        """Return how many ranks a gang gets: a fair share of those that are free."""
        waiting = sum(
            other.unmet
            for other in self._demands.gangs.values()
            if other.waits and other.needs.ranks[0] <= free
        )
        fewest, most = demand.needs.ranks
        # No more gangs of this size can be placed now than the ranks are enough for.
        sharing = max(min(waiting, free // fewest), 1)
        return min(most, max(fewest, free // sharing))


def _seated(room: dict[Node, int], width: int, spared: bool) -> Spot:
    """Choose the members of a gang: idle ranks if there are enough, on few nodes, rank 0 last."""
    there = {node: len(node.idle) - (spared and BROKER in node.idle) for node in room}
    idle = sum(min(there[node], seats) for node, seats in room.items()) >= width
    counts = []
    for node, seats in room.items():
        ranks = node.idle if idle else node.cores()
        free = (len(node.idle) if idle else node.free) - (BROKER in ranks)
        counts.append((min(free, seats), node))
    members: list[Rank] = []
    for node, count in _from_few(counts, width):
        ranks = node.idle if idle else node.cores()
        members += islice((rank for rank in ranks if rank != BROKER), count)
    return (*sorted(members), *[BROKER][: width - len(members)])


def _from_few(counts: list[tuple[int, Node]], wanted: int) -> Iterator[tuple[Node, int]]:
    """Divide ``wanted`` ranks among as few nodes as possible, the last of which it rather fills."""
    counts.sort(key=lambda entry: entry[0])
    while counts and wanted:
        at = bisect_left(counts, wanted, key=lambda entry: entry[0])
        count, node = counts.pop(min(at, len(counts) - 1))
        yield node, min(count, wanted)
        wanted -= min(count, wanted)
