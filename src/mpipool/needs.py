"""What the tasks of a scatter need besides a core: cores of neighbours, memory, tokens, a gang."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

STEPS: Final = 4
"""So many sizes there are from one power of two to the next: so there are few in all."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What each task of one scatter holds while it runs."""

    ranks: tuple[int, int] = (1, 1)
    """Fewest and most ranks of its gang."""
    threads: int = 1
    """Cores of its node, its rank's own among them."""
    memory: int = 0
    """MiB on its node; 0 where nothing was declared."""
    tokens: tuple[tuple[str, int], ...] = ()
    """Named tokens of the run, sorted by name."""
    in_place: bool = False
    """Whether it runs in the ranks' own processes, which have MPI: a gang, be it of one rank."""

    def packed(self) -> str:
        """Write it for a message; empty if nothing is needed."""
        if self == PLAIN:
            return ""
        return json.dumps([self.ranks, self.threads, self.memory, self.tokens, self.in_place])


PLAIN: Final = Needs()
"""One core of any rank."""


def unpack(packed: str) -> Needs:
    """Read what `Needs.packed` wrote."""
    if not packed:
        return PLAIN
    ranks, threads, memory, tokens, in_place = json.loads(packed)
    named = tuple((name, count) for name, count in tokens)
    return Needs(tuple(ranks), threads, memory, named, in_place)


def rounded(memory: int) -> int:
    """Round up to one of few sizes."""
    step = 1 << max(memory.bit_length() - STEPS // 2 - 1, 0)
    return -(-memory // step) * step
