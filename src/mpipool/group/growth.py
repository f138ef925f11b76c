"""How much memory a task may have which has failed for want of it, when it is tried again.

It gets a multiple of what it had, or of what it was seen to use if it had asked for nothing; and at
once as much as others of its function have turned out to need, which had lacked memory before.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from math import ceil
from typing import Final

from mpipool.needs import rounded

FACTOR: Final = 2.0
LEAST: Final = 64
"""MiB: what is taken to be in use by a process of which nothing was measured, or less."""
RECENT: Final = 64
"""Of how many tasks of a function it is remembered what they have used."""
QUANTILE: Final = 0.9
REMEMBERED: Final = 256
"""Of how many functions."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The policy of one scatter."""

    factor: float = FACTOR
    """1 for none."""
    cap: int = 0
    """MiB which no task may exceed; 0 where nobody knows."""

    def after(self, had: int, peak: int, typical: int = 0) -> int:
        """Return how many MiB a task may have next; 0 if it may not have more.

        Parameters
        ----------
        had : int
            MiB which it had; 0 if nothing was said.
        peak : int
            MiB which it was seen to use.
        typical : int
            MiB which others like it have needed; 0 where nothing is known.
        """
        if self.factor <= 1:
            return 0
        base = had or rounded(max(peak, LEAST))
        wanted = max(ceil(base * self.factor), rounded(typical))
        if self.cap:
            wanted = min(wanted, self.cap)
        return wanted if wanted > had else 0


class Peaks:
    """What tasks of functions have used which had lacked memory before."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, deque[int]] = OrderedDict()

    def learn(self, digest: bytes, peak: int) -> None:
        """Note how many MiB one has used in the end."""
        if peak:
            self._seen.setdefault(digest, deque(maxlen=RECENT)).append(peak)
            self._seen.move_to_end(digest)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def typical(self, digest: bytes) -> int:
        """Return how many MiB nine in ten of them have needed at most; 0 if there were none."""
        peaks = sorted(self._seen.get(digest, ()))
        return peaks[ceil(QUANTILE * len(peaks)) - 1] if peaks else 0
