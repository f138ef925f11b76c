"""Parcels between an agent and a process below it, as that process sees them: see `parcels`."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mpipool.errors import WorldLost
from mpipool.executor.ring import Ring
from mpipool.messages import (
    NUMBERS,
    Ahead,
    Buffer,
    Fetched,
    Message,
    Piece,
    Shared,
    mentions_last,
    room_for,
)

# --- from the agent ------------------------------------------------------------------------------


class Room:
    """Memory for one parcel.

    Attributes
    ----------
    memory : memoryview
        All of it.
    is_void : bool
        Whether what is missing does not come.
    """

    is_void = False

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

    def __len__(self) -> int:
        """How many have begun to come, or are still to be mentioned."""
        return len(self._rooms)

    def find(self, number: int, size: int) -> Room:
        """Return the memory for the parcel with a number."""
        if number not in self._rooms:
            self._rooms[number] = Room(size)
        return self._rooms[number]

    def take(self, message: Message, descriptors: list[int]) -> bool:
        """Take what is about parcels alone; return whether it was."""
        if not self._rooms and not isinstance(message, Shared):
            return False  # the usual case
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
            if mentions_last(message):
                self._finish(message)
            return isinstance(message, Ahead)
        return True

    def _finish(self, message: Message) -> None:
        for room in rooms_in(message):
            number = next(n for n, known in self._rooms.items() if known is room)
            if room.full or isinstance(message, Ahead):
                room.is_void = not room.full
                self._named.discard(number)
                del self._rooms[number]
            else:
                self._named.add(number)


def rooms_in(message: Any) -> list[Room]:
    """Return the rooms among the parts of a message."""
    return [part for part in message.parts if isinstance(part, Room)]


def are_there(message: Any) -> bool:
    """Whether all that comes of the parcels of a message is there."""
    return all(room.full or room.is_void for room in rooms_in(message))


def with_memory(message: Any) -> Message | None:
    """Return the message with memory in place of rooms.

    If they are void, the rank which has sent it is dead: the data are gone, and other messages,
    about its tasks, mean nothing any more.
    """
    rooms = rooms_in(message)
    if not rooms:
        return message  # type: ignore[no-any-return]
    if any(room.is_void for room in rooms):
        return replace(message, parts=()) if isinstance(message, Fetched) else None
    parts = (part.memory if isinstance(part, Room) else part for part in message.parts)
    return replace(message, parts=tuple(parts))  # type: ignore[no-any-return]


# --- to the agent --------------------------------------------------------------------------------


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
