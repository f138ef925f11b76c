"""What leases hold besides cores: memory of nodes, and tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mpipool.ids import LeaseId, Rank
from mpipool.scheduler.cores import Cores
from mpipool.scheduler.demands import Demand
from mpipool.scheduler.nodes import Node
from mpipool.scheduler.stores import Store


class Holdings:
    """Memory and tokens, and which lease holds what.

    Parameters
    ----------
    cores : Cores
        The ranks, on their nodes.

    Attributes
    ----------
    tokens : dict
        The run's tokens by name.
    """

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self.tokens: dict[str, Store] = {}
        self._of: dict[LeaseId, tuple[list[Node], list[Store]]] = {}

    def provide(self, tokens: Mapping[str, int]) -> None:
        """Set how many of some tokens there are."""
        for name, count in tokens.items():
            store = self.tokens.setdefault(name, Store(name, 0))
            store.free += count - store.cap
            store.cap = count
        self._cores.stirred = True

    def has_tokens(self, demand: Demand) -> bool:
        """Whether the tokens that a task needs are there."""
        return all(
            name in self.tokens and self.tokens[name].reach(demand.above) >= count
            for name, count in demand.needs.tokens
        )

    def hold(self, lease: LeaseId, demand: Demand, ranks: tuple[Rank, ...]) -> None:
        """Promise to a lease what its tasks need, each member of a gang the memory of a task."""
        needs, nodes, tokens = demand.needs, [], []
        if needs.memory:
            where = ranks if needs.in_place else ranks[:1]
            for node, members in Counter(self._cores[rank].node for rank in where).items():
                node.memory.promise(lease, needs.memory * members, demand.above)
                self._cores.nodes.file(node)
                nodes.append(node)
        for name, count in needs.tokens:
            self.tokens[name].promise(lease, count, demand.above)
            tokens.append(self.tokens[name])
        if nodes or tokens:
            self._of[lease] = (nodes, tokens)

    def release(self, lease: LeaseId) -> None:
        """Take back what a lease held."""
        if lease not in self._of:
            return
        nodes, tokens = self._of.pop(lease)
        for node in nodes:
            part = node.memory.parts[lease]
            # What goes back to an ancestor shows in no node's gain.
            self._cores.stirred |= bool(part.sources or part.lent)
            node.memory.give_back(lease)
            self._cores.nodes.file(node)
        self._cores.stirred |= bool(tokens)
        for store in tokens:
            store.give_back(lease)
