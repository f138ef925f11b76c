"""What is counted and promised: the memory of nodes, the tokens of the run.

A lease holds *parts* of stores until it ends. What a lease holds is first taken from what leases
of its ancestors hold of the same store and nobody has taken from them, the nearest ancestor
first; the rest comes from the store. So a task's descendants use again what it holds itself while
it waits for them, one of them at least can always run where it does, and no store ever promises
more than it has.

A lease may end while descendants still hold parts of its part: its process died, and theirs are
being ended. Then its part lives on until the last of them is back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mpipool.ids import LeaseId


class Store:
    """So much of something, and how much of it was promised to whom.

    Attributes
    ----------
    name : str
        What it is, for sentences.
    cap : int
        How much there is.
    free : int
        How much of it is not promised.
    parts : dict
        What leases hold of it, those which took all of it from ancestors included.
    """

    __slots__ = ("cap", "free", "name", "parts")

    def __init__(self, name: str, cap: int) -> None:
        self.name, self.cap, self.free = name, cap, cap
        self.parts: dict[LeaseId, Part] = {}

    def unused(self, above: Iterable[LeaseId]) -> int:
        """Return what a descendant of these leases, the nearest first, may take from them."""
        if not self.parts:
            return 0
        return sum(self.parts[lease].unused for lease in above if lease in self.parts)

    def reach(self, above: Iterable[LeaseId]) -> int:
        """Return what a descendant of these leases may have now, from them and from the store."""
        return self.free + self.unused(above)

    def rest(self, amount: int, above: Iterable[LeaseId]) -> int:
        """Return how much of ``amount`` such a descendant would take from the store itself."""
        return max(amount - self.unused(above), 0)

    def promise(self, lease: LeaseId, amount: int, above: Iterable[LeaseId]) -> None:
        """Promise ``amount`` to a lease, from its ancestors' parts first."""
        part = Part(amount)
        for ancestor in above:
            source = self.parts.get(ancestor)
            taken = min(source.unused, amount) if source else 0
            if source and taken:
                source.lent += taken
                part.sources.append((ancestor, taken))
                amount -= taken
        part.own = amount
        self.free -= amount
        self.parts[lease] = part

    def give_back(self, lease: LeaseId) -> None:
        """Note that a lease is over."""
        self.parts[lease].over = True
        self._settle(lease)

    def _settle(self, lease: LeaseId) -> None:
        part = self.parts[lease]
        if not part.over or part.lent:
            return
        del self.parts[lease]
        self.free += part.own
        for source, amount in part.sources:
            self.parts[source].lent -= amount
            self._settle(source)


@dataclass(slots=True)
class Part:
    """What one lease holds of a store."""

    amount: int
    own: int = 0
    """So much of it comes from the store itself."""
    sources: list[tuple[LeaseId, int]] = field(default_factory=list)
    """Ancestors from whose parts the rest comes."""
    lent: int = 0
    """So much of it is in descendants' parts."""
    over: bool = False
    """Whether its lease has ended."""

    @property
    def unused(self) -> int:
        """What descendants may still take."""
        return self.amount - self.lent
