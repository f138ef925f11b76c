"""Functions which were sent to ranks: once to each, and forgotten when they are not needed.

What tasks share can be large (arrays among the arguments of `scatterGather`), and a survey leads a
hundred thousand scatters; so a rank keeps only what is in use, and a few small ones which come up
again and again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Final

from mpipool.ids import Rank
from mpipool.messages import Define, Open
from mpipool.transport import Transport

SMALL: Final = 64 * 1024
"""Bytes. Larger functions are forgotten at the end of their scatter."""
KEPT: Final = 64
"""How many small ones a leader leaves with its members."""


class Definitions:
    """What one leader has sent to which rank.

    Parameters
    ----------
    transport : Transport
        To the members.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._ranks: dict[bytes, set[Rank]] = {}
        self._uses: dict[bytes, int] = {}
        self._unused: OrderedDict[bytes, None] = OrderedDict()

    def use(self, digest: bytes) -> None:
        """Note that a scatter with this function begins."""
        self._uses[digest] = self._uses.get(digest, 0) + 1
        self._unused.pop(digest, None)

    def send(self, rank: Rank, opening: Open | Define) -> None:
        """Send a scatter's function to a rank that does not have it."""
        ranks = self._ranks.setdefault(opening.digest, set())
        if rank not in ranks:
            ranks.add(rank)
            self._transport.send(rank, Define(digest=opening.digest, parts=opening.parts))

    def end_use(self, opening: Open | Define) -> None:
        """Note that a scatter is over; let ranks forget what is large or was not used for long."""
        digest = opening.digest
        self._uses[digest] -= 1
        if self._uses[digest]:
            return
        del self._uses[digest]
        if sum(map(len, opening.parts)) > SMALL:
            self._forget(digest)
            return
        self._unused[digest] = None
        while len(self._unused) > KEPT:
            oldest, _ = self._unused.popitem(last=False)
            self._forget(oldest)

    def _forget(self, digest: bytes) -> None:
        for rank in self._ranks.pop(digest, ()):
            self._transport.send(rank, Define(digest=digest, forget=True))


class Known:
    """What a member knows, and from whom: it forgets when no leader needs it any more."""

    def __init__(self) -> None:
        self._definitions: dict[bytes, Define] = {}
        self._leaders: dict[bytes, set[Rank]] = {}
        self._shared: dict[bytes, dict[str, Any]] = {}

    def __getitem__(self, digest: bytes) -> Define:
        return self._definitions[digest]

    def shared(self, digest: bytes) -> dict[str, Any]:
        """Return what the tasks of a function share; empty if it was forgotten."""
        if digest not in self._shared and digest in self._definitions:
            self._shared[digest] = json.loads(bytes(self._definitions[digest].parts[0]))
        return self._shared.get(digest, {})

    def lose(self, leader: Rank) -> list[Define]:
        """Forget what only a leader needed which is gone; return what was forgotten."""
        theirs = [digest for digest, leaders in self._leaders.items() if leader in leaders]
        forgotten = [Define(digest=digest, forget=True) for digest in theirs]
        return [define for define in forgotten if self.take(leader, define)]

    def take(self, leader: Rank, define: Define) -> bool:
        """Take a definition in or let one go; return whether it was forgotten."""
        leaders = self._leaders.setdefault(define.digest, set())
        if not define.forget:
            leaders.add(leader)
            self._definitions[define.digest] = define
            return False
        leaders.discard(leader)
        if leaders:
            return False
        del self._leaders[define.digest]
        self._definitions.pop(define.digest, None)
        self._shared.pop(define.digest, None)
        return True
