"""Parcels between an agent and the processes below it: their pieces lie in shared memory.

Each side makes a ring for what it sends when it sends its first parcel. The messages on the socket
say which slot holds the next piece of which parcel.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, Final

from mpipool.errors import WorldLost
from mpipool.executor.ring import Ring
from mpipool.ids import NO_LEASE, NO_SCATTER, ChunkId
from mpipool.messages import (
    NUMBERS,
    PIECE,
    Ahead,
    Buffer,
    Message,
    Parcel,
    Piece,
    ReleasePiece,
    Shared,
    Taker,
    parcels_in,
    room_for,
)

PATIENCE: Final = 0.2
"""Seconds. When a process does not empty its ring for so long, the agent takes in what comes for
it from others, who wait to get rid of it: it is busy with something else."""


def is_last(message: Message) -> bool:
    """Whether nothing will mention the message's parcels on this link any more."""
    return not isinstance(message, Ahead) or message.void


# --- the agent's side: to a process --------------------------------------------------------------


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
            if is_last(message):
                parcel.named = True
                del self._takers[parcel]
            if parcel.taker is not taker:
                parcel.goes_to(taker)

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
        if not self._parcel.named:
            self._way.send(_void(self._parcel))
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
        self._way.send(Piece(parcel=self.number, slot=slot, size=size))


def _kept() -> None:
    """Nobody waits for a piece which was taken in."""


def _void(parcel: Any) -> Ahead:
    return Ahead(lease=NO_LEASE, chunk=ChunkId(0), scatter=NO_SCATTER, void=True, parts=(parcel,))


# --- the agent's side: from a process ------------------------------------------------------------


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


# --- the process's side: from the agent ----------------------------------------------------------


class Room:
    """Memory for one parcel.

    Attributes
    ----------
    memory : memoryview
        All of it.
    """

    def __init__(self, size: int) -> None:
        self.memory = room_for(size)
        self._filled = 0

    @property
    def full(self) -> bool:
        """Whether all of the parcel is there."""
        return self._filled == len(self.memory)

    def add(self, piece: memoryview) -> None:
        """Copy the next piece."""
        self.memory[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)


class Rooms:
    """The parcels which come from the agent."""

    def __init__(self) -> None:
        self._ring: Ring | None = None
        self._rooms: dict[int, Room] = {}
        self._named: set[int] = set()

    def find(self, number: int, size: int) -> Room:
        """Return the memory for the parcel with a number."""
        if number not in self._rooms:
            self._rooms[number] = Room(size)
        return self._rooms[number]

    def take(self, message: Message, descriptors: list[int]) -> bool:
        """Take what is about parcels alone; return whether it was."""
        if isinstance(message, Shared):
            self._ring = Ring(*descriptors[:2])
            del descriptors[:2]
        elif isinstance(message, Piece):
            assert self._ring
            self._rooms[message.parcel].add(self._ring.slot(message.slot)[: message.size])
            self._ring.free(message.slot)
            if message.parcel in self._named and self._rooms[message.parcel].full:
                self._named.discard(message.parcel)
                del self._rooms[message.parcel]
        else:
            if is_last(message):
                self._finish(message)
            return isinstance(message, Ahead)
        return True

    def _finish(self, message: Message) -> None:
        for room in rooms_in(message):
            number = next(n for n, known in self._rooms.items() if known is room)
            if room.full or isinstance(message, Ahead):
                del self._rooms[number]
            else:
                self._named.add(number)


def rooms_in(message: Any) -> list[Room]:
    """Return the rooms among the parts of a message."""
    return [part for part in message.parts if isinstance(part, Room)]


def with_memory(message: Any) -> Message:
    """Return the message with memory in place of rooms."""
    if not rooms_in(message):
        return message  # type: ignore[no-any-return]
    parts = (part.memory if isinstance(part, Room) else part for part in message.parts)
    return replace(message, parts=tuple(parts))  # type: ignore[no-any-return]


# --- the process's side: to the agent ------------------------------------------------------------


class Outbox:
    """Puts parcels into the ring which the agent empties.

    Parameters
    ----------
    end : socket.socket
        To the agent; it shows when that is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        self.ring, self.descriptors = Ring.make()
        self.number = 0
        self._ready = select.poll()
        self._ready.register(self.ring.bell, select.POLLIN)
        self._ready.register(end, 0)  # a hang-up is always reported

    def sent(self) -> None:
        """Close the descriptors which the agent has got."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def pieces(self, buffers: Iterable[Buffer]) -> Iterator[Piece]:
        """Put the bytes of some buffers into slots one after the other; yield which.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        left = deque(memoryview(buffer) for buffer in buffers if len(buffer))
        while left:
            slot = self._wait_for_slot()
            yield Piece(parcel=self.number, slot=slot, size=_fill(self.ring.slot(slot), left))
        self.number = (self.number + 1) % NUMBERS

    def _wait_for_slot(self) -> int:
        while (slot := self.ring.take()) is None:
            for descriptor, _ in self._ready.poll():
                if descriptor != self.ring.bell:
                    raise WorldLost("the agent is gone: the run was stopped or killed")
            self.ring.silence()
        return slot


def _fill(slot: memoryview, left: deque[memoryview]) -> int:
    at = 0
    while left and at < len(slot):
        head = left.popleft()
        size = min(len(head), len(slot) - at)
        slot[at : at + size] = head[:size]
        at += size
        if size < len(head):
            left.appendleft(head[size:])
    return at


_: type[Taker] = ToProcess
