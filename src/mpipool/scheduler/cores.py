"""The cores of all ranks: which may be lent, and for what.

A rank's place is derived from its leases:

    idle      no lease                                  takes any task
    spare     every lease blocked, fewer than 2 stacks  takes any task
    narrow    every lease blocked, 2 stacks             takes descendants of what is blocked on top
    busy      a lease that is not blocked               takes nothing

A free rank, which is one that is not busy, stands in one *shelf*: in the common one, or, while it
is a member of a gang, in that of the gang, from which only descendants of the gang are placed. A
member keeps this *seat* until the gang's lease ends. The stacks which it had when the gang sat down
don't count against those of the gang's descendants.

A lease may be on several ranks: on its first one, whose agent says when it is blocked, and on
others as a *guest*. A gang's guests are its members; those of a task with threads are cores which
are held for it, with no process of it there. A guest that is not blocked makes its rank busy, and
one that is leaves no trace: a rank is idle with it. A member may be blocked alone too, in a scatter
of its own, if its rank says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mpipool.ids import LeaseId, Rank, ScatterId
from mpipool.scheduler.nodes import Node, Nodes
from mpipool.scheduler.places import BUSY, IDLE, NARROW, SPARE, Place

MAX_STACKS: Final = 2
"""Stacks of tasks a rank may hold (design, section 5): it bounds memory."""
NO_GANG: Final = LeaseId(0)
"""The seat of a rank which is no member of a gang."""


@dataclass(slots=True)
class Core:
    """One rank's core."""

    node: Node
    leases: set[LeaseId] = field(default_factory=set)
    """Those whose first rank this is."""
    blocked: frozenset[LeaseId] = frozenset()
    tops: tuple[ScatterId, ...] = ()
    held: frozenset[LeaseId] = frozenset()
    """Those of the blocked leases which can't resume before another one has."""
    guests: set[LeaseId] = field(default_factory=set)
    """Leases of other ranks which are here too and are not blocked."""
    seat: LeaseId = NO_GANG
    below: int = 0
    """Stacks that were here when the gang sat down."""
    gone: bool = False
    """Whether the rank is lent no more."""
    lost: bool = False
    """Whether that is since it is dead."""

    @property
    def place(self) -> Place:
        """Where the rank belongs."""
        if self.gone or not self.guests <= self.blocked:
            return BUSY
        if not (self.leases or self.guests):
            return IDLE
        if not self.leases <= self.blocked:
            return BUSY
        return SPARE if len(self.tops) < MAX_STACKS + self.below else NARROW


class Shelf:
    """Free ranks, indexed by what they may be lent for, so that no placement scans them."""

    __slots__ = ("pools", "under")

    def __init__(self) -> None:
        # They serve as ordered sets: the choice is the same in each replay.
        # Of an OrderedDict the first key is found at once, of a dict behind all that were deleted.
        self.pools: dict[Place, OrderedDict[Rank, None]] = {
            place: OrderedDict() for place in (IDLE, SPARE, NARROW)
        }
        self.under: dict[ScatterId, dict[Rank, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.pools.values()))

    def first(self, path: tuple[ScatterId, ...]) -> Rank | None:
        """Choose an idle rank; else one on whose stack the task can stand; else a spare one."""
        for rank in self.pools[IDLE]:
            return rank
        if self.under:
            for ancestor in reversed(path):
                for rank in self.under.get(ancestor, ()):
                    return rank
        for rank in self.pools[SPARE]:
            return rank
        return None

    def all(self, path: tuple[ScatterId, ...]) -> Iterator[Rank]:
        """Yield, in the same order, every rank which may take the task (some of them twice)."""
        yield from self.pools[IDLE]
        for ancestor in reversed(path):
            yield from self.under.get(ancestor, ())
        yield from self.pools[SPARE]


class Cores:
    """All ranks.

    Attributes
    ----------
    nodes : Nodes
        Where the ranks are.
    common : Shelf
        The free ranks without a seat.
    free : int
        How many ranks are free, seats of blocked gangs included.
    by_node : bool
        Whether the free cores of each node are kept.
    stirred : bool
        Set where a rank takes other tasks than before in a way that shows in no node's gain.
    """

    def __init__(self) -> None:
        self.nodes = Nodes()
        self.common = Shelf()
        self.free = 0
        self.stirred = False
        self._cores: dict[Rank, Core] = {}
        """All that ever joined: leases may still be on one that is lost."""
        self._living: dict[Rank, None] = {}
        self._gangs: dict[LeaseId, Shelf] = {}
        self._guests: dict[LeaseId, tuple[Rank, ...]] = {}
        """Of each lease with several ranks, all but the first."""
        self.by_node = False

    def __len__(self) -> int:
        return len(self._living)

    def __contains__(self, rank: Rank) -> bool:
        return rank in self._living

    def __getitem__(self, rank: Rank) -> Core:
        return self._cores[rank]

    def __iter__(self) -> Iterator[Rank]:
        return iter(self._living)

    @property
    def any_free(self) -> bool:
        """Whether some rank may be lent for something."""
        return self.free > 0

    def join(self, rank: Rank, node: str = "", memory: int = 0) -> None:
        """Add a rank with nothing on it."""
        core = Core(self.nodes.of(node, memory))
        core.node.ranks.append(rank)
        self._cores[rank] = core
        self._living[rank] = None
        self._file(rank, core)

    def retire(self, rank: Rank, *, lost: bool) -> None:
        """Lend a rank no more: it is lost, or bad. Leases which are on it end as usual."""
        core = self._cores[rank]
        core.lost |= lost
        if core.gone:
            return
        self._unfile(rank, core)
        core.gone = True
        core.node.ranks.remove(rank)
        del self._living[rank]
        self.stirred = True

    def readmit(self) -> tuple[Rank, ...]:
        """Lend the ranks again which are bad, but not lost; return which."""
        back = [rank for rank, core in self._cores.items() if core.gone and not core.lost]
        for rank in back:
            core = self._cores[rank]
            core.gone = False
            core.node.ranks.append(rank)
            self._living[rank] = None
            self._file(rank, core)
        self.stirred |= bool(back)
        return tuple(back)

    def is_gone(self, rank: Rank) -> bool:
        """Whether a rank was lent and is not any more."""
        return rank in self._cores and rank not in self._living

    def is_lost(self, rank: Rank) -> bool:
        """Whether a rank that was there is dead."""
        return self._cores[rank].lost

    # --- leases ----------------------------------------------------------------------------------

    def lend(self, rank: Rank, lease: LeaseId) -> None:
        """Put a lease on a rank."""
        core = self._cores[rank]
        self._unfile(rank, core)
        core.leases.add(lease)
        self._file(rank, core)

    def lend_several(self, ranks: tuple[Rank, ...], lease: LeaseId, gang: bool) -> None:
        """Put a lease on several ranks; its first one is where it says whether it is blocked."""
        first, *others = ranks
        self._guests[lease] = tuple(others)
        if gang:
            self._gangs[lease] = Shelf()
            for rank in ranks:
                self._sit(rank, lease)
        self.lend(first, lease)
        if lease not in self._cores[first].blocked:
            self._visit(others, lease)

    def end(self, rank: Rank, lease: LeaseId) -> None:
        """Take a lease off its rank, and off the others which it is on."""
        core = self._cores[rank]
        self._unfile(rank, core)
        core.leases.remove(lease)
        self._file(rank, core)
        if lease in self._guests:
            others = self._guests.pop(lease)
            self._leave(others, lease)
            if lease in self._gangs:
                for member in (rank, *others):
                    self._sit(member, NO_GANG)
                del self._gangs[lease]

    def block(self, rank: Rank, leases: frozenset[LeaseId], tops: tuple[ScatterId, ...]) -> None:
        """Note which leases of a rank wait in a gather."""
        core = self._cores[rank]
        self.stirred = True
        self._unfile(rank, core)
        before, core.blocked, core.tops = core.blocked, leases, tops
        self._file(rank, core)
        if self._guests:
            for lease in sorted(core.leases & (leases ^ before) & self._guests.keys()):
                move = self._leave if lease in leases else self._visit
                move(self._guests[lease], lease)

    def ranks_of(self, lease: LeaseId, first: Rank) -> tuple[Rank, ...]:
        """Return all ranks which a lease is on."""
        return (first, *self._guests.get(lease, ()))

    def _visit(self, ranks: tuple[Rank, ...] | list[Rank], lease: LeaseId) -> None:
        for rank in ranks:
            core = self._cores[rank]
            self._unfile(rank, core)
            core.guests.add(lease)
            self._file(rank, core)

    def _leave(self, ranks: tuple[Rank, ...], lease: LeaseId) -> None:
        for rank in ranks:
            core = self._cores[rank]
            self._unfile(rank, core)
            core.guests.discard(lease)
            self._file(rank, core)

    def _sit(self, rank: Rank, seat: LeaseId) -> None:
        core = self._cores[rank]
        self._unfile(rank, core)
        core.seat, core.below = seat, len(core.tops) if seat else 0
        self._file(rank, core)

    # --- choosing --------------------------------------------------------------------------------

    def choose(
        self, path: tuple[ScatterId, ...], home: Rank, gang: LeaseId = NO_GANG
    ) -> Rank | None:
        """Choose a rank for a task of the scatter at the end of ``path``; None if none may take it.

        First the leader's own rank, which has its data and modules; then, below a gang, a member
        of it; then an idle one; then one on whose stack the task can stand; last one which must
        open another stack.
        """
        if home in self._living and self.takes(home, path, gang):
            return home
        if gang in self._gangs:
            rank = self._gangs[gang].first(path)
            if rank is not None:
                return rank
        return self.common.first(path)

    def candidates(
        self, path: tuple[ScatterId, ...], home: Rank, gang: LeaseId = NO_GANG
    ) -> Iterator[Rank]:
        """Yield all ranks of which `choose` returns the first one."""
        if home in self._living and self.takes(home, path, gang):
            yield home
        if gang in self._gangs:
            yield from self._gangs[gang].all(path)
        yield from self.common.all(path)

    def is_free(self, rank: Rank) -> bool:
        """Whether nothing runs on a rank, so that a pinned task may."""
        return self._cores[rank].place is not BUSY

    def takes(self, rank: Rank, path: tuple[ScatterId, ...], gang: LeaseId = NO_GANG) -> bool:
        """Whether a rank may take a task that could run elsewhere."""
        return self.has_seat(rank, gang) and self.can_stand(rank, path)

    def can_stand(self, rank: Rank, path: tuple[ScatterId, ...]) -> bool:
        """Whether nothing runs on a rank and its stacks take the task, whoever has its seat."""
        core = self._cores[rank]
        place = core.place
        if place is NARROW:
            return any(top in path for top in core.tops)
        return place is not BUSY

    def has_seat(self, rank: Rank, gang: LeaseId) -> bool:
        """Whether a rank is free for what is below a gang (or below none), apart from stacks."""
        core = self._cores[rank]
        return core.place is not BUSY and core.seat in (NO_GANG, gang)

    def members(self, gang: LeaseId) -> Iterator[Rank]:
        """Yield the free members of a gang, idle ones first."""
        if gang in self._gangs:
            for pool in self._gangs[gang].pools.values():
                yield from pool

    # --- shelves ---------------------------------------------------------------------------------

    def index_nodes(self) -> None:
        """Keep the free cores of each node from now on."""
        if self.by_node:
            return
        self.by_node = True
        for place, pool in self.common.pools.items():
            for rank in pool:
                self._cores[rank].node.pools[place][rank] = None
        for node in self.nodes:
            self.nodes.file(node)

    def _unfile(self, rank: Rank, core: Core) -> None:
        place = core.place
        if place is BUSY:
            return
        self.free -= 1
        shelf = self._gangs[core.seat] if core.seat else self.common
        del shelf.pools[place][rank]
        for top in core.tops:
            shelf.under[top].pop(rank, None)
            if not shelf.under[top]:
                del shelf.under[top]
        if self.by_node and not core.seat:
            del core.node.pools[place][rank]
            self.nodes.file(core.node)

    def _file(self, rank: Rank, core: Core) -> None:
        place = core.place
        if place is BUSY:
            return
        self.free += 1
        shelf = self._gangs[core.seat] if core.seat else self.common
        if core.seat or place is NARROW:
            self.stirred = True
        shelf.pools[place][rank] = None
        for top in core.tops:
            shelf.under.setdefault(top, {})[rank] = None
        if self.by_node and not core.seat:
            core.node.pools[place][rank] = None
            self.nodes.file(core.node)
