"""Memory which two processes share: the one puts pieces of parcels there, the other takes them out.

It stays as it is from parcel to parcel. Fresh memory for each would cost three times as much as
what is done with it: the kernel clears every page.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import Final

from mpipool.messages import PIECE

SLOTS: Final = 8
_DATA: Final = mmap.PAGESIZE
"""Where the slots begin; in front of them is a byte for each, 1 while it is in use."""
_SIZE: Final = _DATA + SLOTS * PIECE


class Ring:
    """The memory, mapped into this process, and the bell which tells its owner of free slots.

    Parameters
    ----------
    memory, bell : int
        Descriptors; the first is closed, the second belongs to the ring from now on.
    """

    def __init__(self, memory: int, bell: int) -> None:
        self.bell = bell
        self._map = mmap.mmap(memory, _SIZE)
        os.close(memory)
        self._view = memoryview(self._map)

    @classmethod
    def make(cls) -> tuple[Ring, list[int]]:
        """Make one; return it, and what the other process needs: descriptors, closed once sent."""
        memory = os.memfd_create("mpipool-parcels", os.MFD_CLOEXEC)
        os.ftruncate(memory, _SIZE)
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        theirs = [os.dup(memory), os.dup(bell)]
        return cls(memory, bell), theirs

    def slot(self, number: int) -> memoryview:
        """Return the memory of a slot."""
        start = _DATA + number * PIECE
        return self._view[start : start + PIECE]

    # --- for the owner ---------------------------------------------------------------------------

    def take(self) -> int | None:
        """Take a free slot, None if there is none."""
        number = self._map.find(b"\0", 0, SLOTS)
        if number < 0:
            return None
        self._map[number] = 1
        return number

    def give_back(self, number: int) -> None:
        """Let a slot which was taken be free again."""
        self._map[number] = 0

    def silence(self) -> None:
        """Note that the bell was heard."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.bell)

    # --- for the other one -----------------------------------------------------------------------

    def free(self, number: int) -> None:
        """Let the owner have a slot again."""
        if self.bell >= 0:  # or the owner is gone
            self._map[number] = 0
            os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        """Let go of it; pieces which are still under way keep the memory."""
        os.close(self.bell)
        self.bell = -1
        with contextlib.suppress(BufferError):
            self._view.release()
            self._map.close()
