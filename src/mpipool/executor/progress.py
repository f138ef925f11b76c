"""A page of memory in which an executor says which task it is running.

When the executor dies, the agent reads there which task was the one, and what the process said
last about its end. Writing it costs 0.2 µs; a message would cost ten times as much, and could not
be sent by a process which has lost its channel.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

_CELL: Final = struct.Struct("<qqqdd")
_SAID: Final = struct.Struct("<?H")
_WORDS: Final = 64
"""Where the last words begin: whether the process leaves by itself, their length, and they."""
_MOST: Final = 2000
"""Bytes of them."""
_KILLS: Final = struct.Struct("<q")
_KILLS_AT: Final = 48
"""Behind the cell: written seldom, by another hand."""
_SIZE: Final = mmap.PAGESIZE
NOTHING: Final = -1


def make() -> int:
    """Make the page; return its file descriptor."""
    descriptor = os.memfd_create("mpipool-progress", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Progress:
    """The page, mapped into this process."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, _SIZE)

    def begins(self, lease: int, chunk: int, task: int, began: tuple[float, float]) -> None:
        """Note that a task begins: seconds since the epoch, and monotonic ones."""
        _CELL.pack_into(self._page, 0, lease, chunk, task, *began)

    def rests(self) -> None:
        """Note that no task is running."""
        _CELL.pack_into(self._page, 0, 0, NOTHING, NOTHING, 0.0, 0.0)

    def read(self) -> tuple[int, int, int, float]:
        """Return lease, chunk, task and begin of what runs; chunk NOTHING if nothing does."""
        lease, chunk, task, began, _ = _CELL.unpack_from(self._page, 0)
        return lease, chunk, task, began

    def since(self) -> float:
        """Return when what runs began, in monotonic seconds: the clock may be set meanwhile."""
        began: float = _CELL.unpack_from(self._page, 0)[-1]
        return began

    def excuses(self, kills: int) -> None:
        """Note that so many of the kernel's kills below this process were of tasks that ended."""
        _KILLS.pack_into(self._page, _KILLS_AT, kills)

    def excused(self) -> int:
        """Return how many: those beyond them are the running task's."""
        kills: int = _KILLS.unpack_from(self._page, _KILLS_AT)[0]
        return kills

    def says(self, words: str, leaves: bool = False) -> None:
        """Leave word for the case that the process ends now.

        Parameters
        ----------
        words : str
            What it is at, to be read behind how it ended; or why it leaves. Empty takes it back.
        leaves : bool
            Whether it ends by itself, between two tasks: no task is to blame.
        """
        encoded = words.encode(errors="replace")[:_MOST]
        at = _WORDS + _SAID.size
        self._page[at : at + len(encoded)] = encoded
        _SAID.pack_into(self._page, _WORDS, leaves, len(encoded))

    def last_words(self) -> tuple[str, bool]:
        """Return what was said last, and whether the process left by itself."""
        leaves, length = _SAID.unpack_from(self._page, _WORDS)
        at = _WORDS + _SAID.size
        return self._page[at : at + length].decode(errors="replace"), leaves

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
