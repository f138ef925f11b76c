"""A scatter which this rank leads: its items, its machine, and who waits for it."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from mpipool.caching import Scope
from mpipool.group import Entry, Scatter
from mpipool.ids import ExecutorId, LeaseId, ScatterId
from mpipool.messages import Buffer, Open
from mpipool.needs import unpack
from mpipool.task import Outcome


class Block:
    """Consecutive items, as they came in one message."""

    def __init__(self, first: int, sizes: Buffer, items: Buffer) -> None:
        self.first = first
        self._sizes = array("Q", bytes(sizes))
        self._count = len(self._sizes)
        self.wanted = self._count
        """How many of its items may still be needed."""
        self._items = memoryview(items)
        self._starts = array("Q", [0])
        total = 0
        for size in self._sizes:
            total += size
            self._starts.append(total)

    def __len__(self) -> int:
        return self._count

    def cut(self, first: int, count: int) -> tuple[bytes, memoryview]:
        """Return sizes and bytes of some of the items."""
        start, end = first - self.first, first - self.first + count
        items = self._items[self._starts[start] : self._starts[end]]
        return self._sizes[start:end].tobytes(), items

    def empty(self) -> None:
        """Let the items go."""
        self._items = memoryview(b"")
        self._sizes = self._starts = array("Q")


class Backlog:
    """All items of a scatter, as far as they may still be needed."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._firsts: list[int] = []
        self.count = 0

    def add(self, sizes: Buffer, items: Buffer) -> int:
        """Add a block of items; return how many it holds."""
        block = Block(self.count, sizes, items)
        self._blocks.append(block)
        self._firsts.append(self.count)
        self.count += len(block)
        return len(block)

    def cut(self, first: int, count: int) -> tuple[bytes, Buffer]:
        """Return sizes and bytes of consecutive items."""
        at = bisect_right(self._firsts, first) - 1
        sizes, items = b"", []
        while count:
            block = self._blocks[at]
            taken = min(count, block.first + len(block) - first)
            some, part = block.cut(first, taken)
            sizes += some
            items.append(part)
            first, count, at = first + taken, count - taken, at + 1
        return sizes, items[0] if len(items) == 1 else b"".join(items)

    def release(self, first: int, count: int) -> None:
        """Note that consecutive items are needed no more; blocks of such are let go."""
        at = bisect_right(self._firsts, first) - 1
        while count:
            block = self._blocks[at]
            taken = min(count, block.first + len(block) - first)
            block.wanted -= taken
            if not block.wanted:
                block.empty()
            first, count, at = first + taken, count - taken, at + 1


Owner = tuple[ExecutorId, ScatterId, int]
"""A task which leads scatters: its process, its scatter, and its index there."""


@dataclass(slots=True, eq=False)
class Led:
    """One scatter, at its leader."""

    scatter: ScatterId
    path: tuple[ScatterId, ...]
    owner: ExecutorId
    """The executor whose task opened it."""
    entry: Entry | None
    """The entry of that task; None for the script's."""
    opening: Open
    machine: Scatter
    backlog: Backlog = field(default_factory=Backlog)
    waited_for: bool = False
    """Whether the owner's task is blocked until something comes of it."""
    scope: Scope | None = None
    """The caches of its tasks, once there are some."""
    cores: dict[LeaseId, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """By lease, the ranks of a gang, or those whose cores its threads may use, and their CPUs."""

    needs: str = ""
    """What its tasks need; if nothing is said here, what the opening says."""
    origin: Led | None = None
    """The scatter from which this is a branch: there its tasks are counted, and delivered."""
    branches: dict[int, Led] = field(default_factory=dict)
    """Where its tasks are tried with more memory, by MiB."""
    setbacks: dict[int, Outcome] = field(default_factory=dict)
    """How those which are in branches have failed last."""
    refusals: dict[int, str] = field(default_factory=dict)
    """Why tasks can't have so many MiB."""
    memory: int = field(init=False)
    """MiB which each of its tasks may use; 0 if nothing was said."""

    def __post_init__(self) -> None:
        self.needs = self.needs or self.opening.needs
        self.memory = unpack(self.needs).memory

    @property
    def root(self) -> Led:
        """The scatter to which its tasks belong: itself, if it is no branch."""
        return self.origin or self

    def is_refused(self, memory: int) -> bool:
        """Whether tasks can't have so many MiB."""
        return any(memory >= refused for refused in self.refusals)

    @property
    def shared(self) -> dict[str, Any]:
        """What its tasks share."""
        shared: dict[str, Any] = json.loads(bytes(self.opening.parts[0]))
        return shared

    @property
    def task(self) -> Owner:
        """The task which opened it."""
        return self.owner, self.opening.within, self.opening.task
