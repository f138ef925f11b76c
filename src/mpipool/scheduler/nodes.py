"""The nodes: which of their cores are free, and how much of their memory.

A node's free cores are those which stand in the common shelf (see `cores`): a seat kept by a gang
is not among them. Nodes with a free core are indexed by the magnitude of their free memory, so
that the search for some memory looks at nodes which have it, and at few others. The index is kept
from the first task on which needs more than a core; until then nothing pays for it.

Nodes are *calm* after everything that waits was tried on them in vain. What has come free since
is a *gain*: while there is none, nothing that was tried before needs to be tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mpipool.ids import Rank
from mpipool.scheduler.places import IDLE, NARROW, SPARE, Place
from mpipool.scheduler.stores import Store

UNLIMITED: Final = 1 << 60
"""Stands for the memory of a node about which nothing is known."""


class Node:
    """One machine with some ranks.

    Parameters
    ----------
    name : str
        Its name.
    memory : int
        MiB; 0 if unknown.

    Attributes
    ----------
    ranks : list
        All ranks on it, as they joined.
    pools : dict
        Its free cores by place. (Dicts serve as ordered sets.)
    memory : Store
        Its memory in MiB.
    """

    __slots__ = ("_calm", "_filed", "memory", "name", "pools", "ranks")

    def __init__(self, name: str, memory: int) -> None:
        self.name = name
        self.ranks: list[Rank] = []
        self.pools: dict[Place, dict[Rank, None]] = {IDLE: {}, SPARE: {}, NARROW: {}}
        self.memory = Store(f"memory of node {name}" if name else "memory", memory or UNLIMITED)
        self._filed: int | None = None
        self._calm = (0, 0, 0)

    @property
    def gained(self) -> bool:
        """Whether it has more free cores or memory than when it was calm."""
        free, narrow, memory = self._calm
        now_free, now_narrow = self.free, len(self.pools[NARROW])
        # A free core of any kind counts more than a narrow one, which few tasks can use.
        return now_free > free or now_free - now_narrow > free - narrow or self.memory.free > memory

    def calm_down(self) -> None:
        """Note that nothing that waits finds a place in what is free now."""
        self._calm = (self.free, len(self.pools[NARROW]), self.memory.free)

    @property
    def free(self) -> int:
        """How many of its cores are free."""
        return sum(map(len, self.pools.values()))

    @property
    def idle(self) -> dict[Rank, None]:
        """Its ranks without a lease."""
        return self.pools[IDLE]

    def has_free(self, rank: Rank) -> bool:
        """Whether a rank is one of its free cores."""
        return any(rank in pool for pool in self.pools.values())

    def cores(self) -> Iterator[Rank]:
        """Yield its free cores, idle ones first."""
        for pool in self.pools.values():
            yield from pool


class Nodes:
    """All nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._by_room: dict[int, dict[Node, None]] = {}
        self._touched: dict[Node, None] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def of(self, name: str, memory: int) -> Node:
        """Return the node of that name, a new one if it is not known yet."""
        if name not in self._nodes:
            self._nodes[name] = Node(name, memory)
        return self._nodes[name]

    def file(self, node: Node) -> None:
        """Put a node in its place after its free cores or its memory changed."""
        self._touched[node] = None
        room = node.memory.free.bit_length() if node.free else None
        if room == node._filed:
            return
        if node._filed is not None:
            del self._by_room[node._filed][node]
            if not self._by_room[node._filed]:
                del self._by_room[node._filed]
        if room is not None:
            self._by_room.setdefault(room, {})[node] = None
        node._filed = room

    def ready(self, memory: int = 0) -> Iterator[Node]:
        """Yield the nodes with a free core and about ``memory`` MiB at least, fuller ones first."""
        for room in sorted(self._by_room):
            if room >= memory.bit_length():
                yield from self._by_room[room]

    @property
    def gained(self) -> bool:
        """Whether some node has gained something."""
        return any(node.gained for node in self._touched)

    def calm_down(self) -> None:
        """Note that nothing that waits finds a place in what is free now."""
        for node in self._touched:
            node.calm_down()
        self._touched.clear()
