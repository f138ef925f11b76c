"""Parts of messages which are too long to travel in them.

A *parcel* stands in place of such a part. Its bytes pass piece by piece, beside the messages, and
nowhere on the way are more than a few pieces of it at a time. On each link, the message which
mentions a parcel first says its number and size; `Ahead` does nothing else, so that the pieces can
go before the message which they belong to. An agent holds a `Parcel`; only the process at the end
has the bytes, in memory of its own.

A piece comes in one of two ways, and goes in one of two: it lies in memory which must be given back
(`Parcel.put`), or is to be received into a room which its taker offers (`Taker.room`).
"""

from __future__ import annotations

import contextlib
import mmap
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

PIECE: Final = 1 << 20
"""Bytes. All pieces of a parcel but the last are so long."""
PARCEL: Final = 1 << 22
"""Bytes. Shorter parts travel in their message."""
NUMBERS: Final = 1 << 15
"""Numbers of parcels on a link are below; MPI promises as many tags."""
_HUGE: Final = 1 << 22
"""Bytes. Longer rooms are made of huge pages: to get fresh small ones takes three times as long as
to copy the data."""

ReleasePiece = Callable[[], None]
"""Gives the memory of a piece back."""


class Taker(Protocol):
    """Where the pieces of a parcel go."""

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        """Take a piece; ``release`` is called once it is not needed any more."""

    def room(self) -> memoryview | None:
        """Return memory for the next piece, None if there is none just now."""

    def filled(self, room: memoryview, size: int) -> None:
        """Note that a piece was received into a room; rooms are filled in their order.

        A piece of no length stands for one that does not come.
        """

    def end(self) -> None:
        """Note that what is missing does not come any more."""

    def drop(self) -> None:
        """Note that nobody needs the parcel."""


class _Nowhere:
    """Takes what nobody needs, so that its sender gets rid of it."""

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        release()

    def room(self) -> memoryview | None:
        return memoryview(bytearray(PIECE))

    def filled(self, room: memoryview, size: int) -> None:
        pass

    def end(self) -> None:
        pass

    def drop(self) -> None:
        pass


class Parcel:
    """A part of a message which passes through this process.

    Parameters
    ----------
    size : int
        Bytes in all.
    live : bool
        Whether a process waits until it has got rid of it.

    Attributes
    ----------
    taker : Taker or None
        Where the pieces go, once that is known.
    named : bool
        Whether the message to which it belongs has been sent on, or certainly will be.
    """

    def __init__(self, size: int, live: bool = False) -> None:
        self.live = live
        self.taker: Taker | None = None
        self.named = False
        self._size = size
        self._early: deque[tuple[memoryview, ReleasePiece]] = deque()
        self._ended = False

    def __len__(self) -> int:
        return self._size

    def goes_to(self, taker: Taker) -> None:
        """Say where the pieces go."""
        self.taker = taker
        while self._early:
            taker.put(*self._early.popleft())
        if self._ended:
            taker.end()

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        """Take the next piece; ``release`` is called once it is not needed any more."""
        if self.taker is None:
            self._early.append((piece, release))
        else:
            self.taker.put(piece, release)

    def end(self) -> None:
        """Note that what is missing does not come any more."""
        self._ended = True
        if self.taker:
            self.taker.end()

    def drop(self) -> None:
        """Let nobody have it."""
        if self.taker:
            self.taker.drop()
        self.goes_to(_Nowhere())


def parcels_in(message: Any) -> list[Parcel]:
    """Return the parcels among the parts of a message."""
    return [part for part in message.parts if isinstance(part, Parcel)]


def room_for(size: int) -> memoryview:
    """Get memory for a message, or a part of one."""
    if size < _HUGE:
        return memoryview(bytearray(size))
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(room)
