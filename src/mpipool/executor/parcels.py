"""Parcels between an agent and the processes below it, as the agent sees them.

Their pieces lie in shared memory. Each side makes a ring for what it sends when it sends its first
parcel; messages on the socket say which slot holds the next piece of which parcel. The other side
is `rooms`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final

from mpipool.executor.ring import Ring
from mpipool.ids import NO_LEASE, NO_SCATTER, ChunkId
from mpipool.messages import (
    NUMBERS,
    PIECE,
    Ahead,
    Message,
    Parcel,
    Piece,
    ReleasePiece,
    Shared,
    mentions_last,
    parcels_in,
)

PATIENCE: Final = 0.2
"""Seconds. When a process does not empty its ring for so long, the agent takes in what comes for
it from others, who wait to get rid of it: it is busy with something else."""


# --- to a process --------------------------------------------------------------------------------


class Way:
    """The way of parcels to one process.

    Parameters
    ----------
    send : callable
        Sends it a message.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.ring, self.descriptors = Ring.make()
        self.send = send
        self.closed = False
        self._full_since: float | None = None
        self._numbers = count()
        self._takers: dict[Parcel, ToProcess] = {}
        """Of the parcels which will still be mentioned."""
        self._waiting: dict[ToProcess, None] = {}

    def refer(self, parcel: Parcel) -> int:
        """Return the number of a parcel on this way."""
        if parcel not in self._takers:
            self._takers[parcel] = ToProcess(self, parcel, next(self._numbers) % NUMBERS)
        return self._takers[parcel].number

    def begin(self, message: Message) -> None:
        """Let the pieces of a message's parcels come, now that it was sent."""
        for parcel in parcels_in(message):
            taker = self._takers[parcel]
            if mentions_last(message):
                parcel.named = True
                del self._takers[parcel]
            if parcel.taker is not taker:
                parcel.goes_to(taker)

    def void(self, parcel: Parcel, taker: ToProcess) -> None:
        """Tell the process that a parcel does not come, or no more of it than it has."""
        self._takers[parcel] = taker  # its message may have been sent already
        self.send(_void(parcel))

    def slot(self) -> int | None:
        """Take a slot, None if there is none."""
        slot = self.ring.take()
        if slot is not None:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = monotonic()
        return slot

    @property
    def stalled(self) -> bool:
        """Whether the process is busy with something else."""
        return self._full_since is not None and monotonic() - self._full_since > PATIENCE

    def waits(self, taker: ToProcess, waits: bool) -> None:
        """Note whether a taker has something for which there was no slot."""
        if waits:
            self._waiting[taker] = None
        else:
            self._waiting.pop(taker, None)

    def is_free(self) -> None:
        """Go on, since the bell has rung."""
        self.ring.silence()
        for taker in list(self._waiting):
            taker.push()

    def tick(self) -> None:
        """Take in what others wait to get rid of, if the process is busy."""
        if self._waiting and self.stalled:
            for taker in list(self._waiting):
                taker.take_in()

    def close(self) -> None:
        """Note that the process is gone: its parcels go nowhere."""
        self.closed = True
        for taker in list(self._waiting):
            taker.give_up()
        self.ring.close()


class ToProcess:
    """Takes the pieces of one parcel for a process."""

    def __init__(self, way: Way, parcel: Parcel, number: int) -> None:
        self.number = number
        self._way, self._parcel = way, parcel
        self._queue: deque[tuple[memoryview, ReleasePiece]] = deque()
        self._offered: deque[int | None] = deque()
        """Slots of the rooms which are not filled yet; None for one outside of the ring."""
        self._missing = len(parcel)
        self._dropped = False

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        """Take a piece when there is a slot for it."""
        self._queue.append((piece, release))
        self.push()

    def push(self) -> None:
        """Put what waits into slots."""
        if self._is_over:
            self.give_up()
        while self._queue and (slot := self._way.slot()) is not None:
            piece, release = self._queue.popleft()
            self._way.ring.slot(slot)[: len(piece)] = piece
            release()
            self._say(slot, len(piece))
        self._way.waits(self, bool(self._queue))

    def take_in(self) -> None:
        """Take what waits into memory of our own."""
        for at, (piece, release) in enumerate(self._queue):
            if release is not _kept:
                self._queue[at] = (memoryview(bytearray(piece)), _kept)
                release()

    def room(self) -> memoryview | None:
        """Offer a slot; or memory of our own, if the process is busy and the sender waits."""
        slot = None
        if not self._is_over:
            slot = None if self._queue else self._way.slot()
            if slot is None and not (self._parcel.live and self._way.stalled):
                return None
        self._offered.append(slot)
        return memoryview(bytearray(PIECE)) if slot is None else self._way.ring.slot(slot)

    def filled(self, room: memoryview, size: int) -> None:
        """Tell the process of a piece which was received into a slot."""
        slot = self._offered.popleft()
        if size and slot is not None and not self._queue and not self._is_over:
            self._say(slot, size)
            return
        if size:  # behind what waits; it must not wait in a slot
            self.put(room[:size] if slot is None else memoryview(bytearray(room[:size])), _kept)
        if slot is not None and not self._way.closed:
            self._way.ring.give_back(slot)

    def end(self) -> None:
        """Nothing more comes: a message says so."""

    def drop(self) -> None:
        """Tell the process that nothing comes of it."""
        if self._is_over:
            return
        if self._missing or not self._parcel.named:
            self._way.void(self._parcel, self)
        self._dropped = True
        self.give_up()

    def give_up(self) -> None:
        """Let go of what waits."""
        while self._queue:
            self._queue.popleft()[1]()
        self._way.waits(self, False)

    @property
    def _is_over(self) -> bool:
        return self._dropped or self._way.closed

    def _say(self, slot: int, size: int) -> None:
        self._missing -= size
        self._way.send(Piece(parcel=self.number, slot=slot, size=size))


def _kept() -> None:
    """Nobody waits for a piece which was taken in."""


def _void(parcel: Any) -> Ahead:
    return Ahead(lease=NO_LEASE, chunk=ChunkId(0), scatter=NO_SCATTER, void=True, parts=(parcel,))


# --- from a process ------------------------------------------------------------------------------


class Inbox:
    """The parcels which come from one process."""

    def __init__(self) -> None:
        self._ring: Ring | None = None
        self._parcels: dict[int, Parcel] = {}
        self._announced: dict[int, Ahead] = {}

    def find(self, number: int, size: int) -> Parcel:
        """Return the parcel with a number."""
        if number not in self._parcels:
            self._parcels[number] = Parcel(size, live=True)
        return self._parcels[number]

    def take(self, message: Message, descriptors: list[int]) -> bool:
        """Take what is about parcels alone; return whether it was."""
        if not self._parcels and not isinstance(message, Shared):
            return False  # the usual case
        if isinstance(message, Shared):
            self._ring = Ring(*descriptors[:2])
            del descriptors[:2]
        elif isinstance(message, Piece):
            assert self._ring
            piece = self._ring.slot(message.slot)[: message.size]
            self._parcels[message.parcel].put(piece, partial(self._ring.free, message.slot))
        else:
            self._note(message)
            return False
        return True

    def _note(self, message: Message) -> None:
        for parcel in parcels_in(message):
            number = next(n for n, known in self._parcels.items() if known is parcel)
            if isinstance(message, Ahead):
                self._announced[number] = message
            else:
                del self._announced[number], self._parcels[number]

    def lose(self) -> Iterator[Message]:
        """End what was not sent in whole: the process is gone; yield what is to be said of it."""
        for number, ahead in self._announced.items():
            self._parcels.pop(number).end()
            yield replace(ahead, void=True)
        self._announced = {}

    def close(self) -> None:
        """Let go of the memory."""
        if self._ring:
            self._ring.close()
