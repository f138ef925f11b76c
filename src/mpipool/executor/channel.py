"""Messages over a socketpair: without blocking for agents, with blocking for everyone else."""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from mpipool.errors import WorldLost
from mpipool.executor.parcels import Inbox, Way
from mpipool.executor.rooms import Outbox, Rooms, are_there, with_memory
from mpipool.messages import (
    Ahead,
    Buffer,
    Message,
    Parcel,
    Shared,
    decode,
    encode,
    parcels_in,
    room_for,
)

_LENGTH: Final = struct.Struct("<Q")
_DESCRIPTOR: Final = array.array("i").itemsize
_READ: Final = 1 << 16
"""Bytes read at once, into memory that is kept: to get 256 KiB anew takes 14 µs of page faults."""
_VECTOR: Final = 64
"""Buffers handed to one sendmsg; the kernel takes 1024 at most."""
BUFFER: Final = 1 << 20
"""Size asked for the socket's buffers: a chunk passes without a switch to the other process."""
_COPIED: Final = 1 << 16
"""Bytes. Shorter buffers are put together before they are sent: that is cheaper than a call."""


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a channel."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return pair


def _frame(
    message: Message,
    payload: Sequence[Buffer] | None = None,
    refer: Callable[[Parcel], int] | None = None,
) -> list[Buffer]:
    buffers = encode(message, payload, refer)
    buffers[0] = b"".join((_LENGTH.pack(sum(map(len, buffers))), buffers[0]))
    return buffers


def _gathered(buffers: list[Buffer]) -> Iterator[Buffer]:
    """Put runs of short buffers together; long ones stay where they are."""
    short: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < _COPIED:
            short.append(buffer)
            continue
        if short:
            yield b"".join(short)
        yield buffer
        short = []
    if short:
        yield b"".join(short)


class _Assembly:
    """Cuts the byte stream into messages."""

    def __init__(self, find: Callable[[int, int], Any]) -> None:
        self._find = find
        self._pending = b""
        self._large: memoryview | None = None
        self._filled = 0

    def room(self) -> memoryview | None:
        """Return where the rest of a large message belongs, so that it is not copied again."""
        return None if self._large is None else self._large[self._filled :]

    def filled(self, size: int) -> Iterator[Message]:
        """Note that ``size`` bytes were read into the room."""
        self._filled += size
        if self._large is not None and self._filled == len(self._large):
            whole, self._large = self._large, None
            yield decode(whole, self._find)

    def feed(self, data: memoryview) -> Iterator[Message]:
        """Take in bytes; yield the messages which they complete."""
        stream = memoryview(self._pending + data) if self._pending else data
        at = 0
        while len(stream) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(stream, at)
            start = at + _LENGTH.size
            if len(stream) - start < size:
                if size > _READ:
                    self._begin_large(size, stream[start:])
                    at = len(stream)
                break
            # Arrays are used where they lie in it, and must be writeable: no bytes.
            yield decode(bytearray(stream[start : start + size]), self._find)
            at = start + size
        self._pending = bytes(stream[at:])

    def _begin_large(self, size: int, begun: memoryview) -> None:
        self._large = room_for(size)
        self._filled = len(begun)
        self._large[: self._filled] = begun


class Channel:
    """An agent's end: never blocks. The loop calls `read` and `flush` when the socket is ready.

    Attributes
    ----------
    post : callable
        Sends a message on this channel; the loop puts one in place which sees to the rest.
    way : Way or None
        By which parcels go to the process, once there was one.
    """

    descriptors_at_once = 2

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self.post: Callable[[Message], None] = self.send
        self.way: Way | None = None
        self.descriptors: list[int] = []
        self._inbox = Inbox()
        self._assembly = _Assembly(self._inbox.find)
        self._buffer = bytearray(_READ)
        self._unsent: deque[memoryview] = deque()
        self._rights: tuple[bytes, list[int]] | None = None
        """A frame, and the descriptors which go along with it."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.end.fileno()

    def send(self, message: Message) -> None:
        """Send what the socket takes now and keep the rest."""
        if not parcels_in(message):
            self._send(_frame(message))
            return
        if self.way is None:
            self._make_way()
        assert self.way
        self._send(_frame(message, refer=self.way.refer))
        self.way.begin(message)

    def _send(self, frame: list[Buffer]) -> None:
        self._unsent.extend(memoryview(buffer) for buffer in frame if len(buffer))
        self.flush()

    def _make_way(self) -> None:
        self.way = Way(lambda message: self.post(message))
        frame = b"".join(_frame(Shared()))
        self._rights = (frame, self.way.descriptors)
        self._send([frame])

    @property
    def unsent(self) -> bool:
        """Whether the loop must wait until the socket takes more."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what the socket takes. A peer that is gone shows when reading."""
        while self._unsent:
            try:
                sent = self._send_some()
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()
                return
            while sent:
                head = self._unsent.popleft()
                if sent < len(head):
                    self._unsent.appendleft(head[sent:])
                    break
                sent -= len(head)

    def _send_some(self) -> int:
        if self._rights is None:
            return self.end.sendmsg(list(islice(self._unsent, _VECTOR)))
        frame, descriptors = self._rights
        at = next(at for at, buffer in enumerate(self._unsent) if buffer.obj is frame)
        if at:
            return self.end.sendmsg(list(islice(self._unsent, min(at, _VECTOR))))
        sent = socket.send_fds(self.end, [frame], descriptors)
        self._drop_rights()
        return sent

    def _drop_rights(self) -> None:
        for descriptor in self._rights[1] if self._rights else ():
            os.close(descriptor)
        self._rights = None

    def read(self) -> tuple[list[Message], bool]:
        """Read what is there; also tell whether the other end is still open."""
        read: list[Message] = []
        alive = self._read(read)
        messages = [each for each in read if not self._inbox.take(each, self.descriptors)]
        return (messages, True) if alive else ([*messages, *self._inbox.lose()], False)

    def _read(self, messages: list[Message]) -> bool:
        while True:
            try:
                room = self._assembly.room()
                if room is None:
                    data, descriptors = _take(self.end, self._buffer, self.descriptors_at_once)
                    size = len(data)
                    self.descriptors += descriptors
                    messages += self._assembly.feed(data)
                else:
                    size = self.end.recv_into(room)
                    messages += self._assembly.filled(size)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not size:
                return False
            if room is None and size < _READ:
                return True

    def close(self) -> None:
        """Close the socket."""
        self.end.close()
        self._drop_rights()
        self._inbox.close()
        if self.way:
            self.way.close()


class BlockingChannel:
    """The end of an executor, a guard or the script. One thread reads; any may send."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._sending = threading.Lock()
        self.end = end
        self._rooms = Rooms()
        self._outbox: Outbox | None = None
        self._assembly = _Assembly(self._rooms.find)
        self._buffer = bytearray(_READ)
        self._descriptors: list[int] = []
        self._ready: deque[Message] = deque()
        self._held: list[Buffer] = []
        """Messages which go with the next one."""

    def send(
        self, message: Message, payload: Sequence[Buffer] | None = None, more: bool = False
    ) -> None:
        """Send a message, with a further part in pieces if one is given.

        Parameters
        ----------
        message, payload
            What to send.
        more : bool
            Whether another message follows at once, together with which this one may go.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        with self._sending:
            self._held += _frame(message, payload)
            if not more:
                self._send([])

    def send_parcel(self, ahead: Ahead, message: Message, payload: Sequence[Buffer]) -> None:
        """Send a message with a further part as a parcel, which may go on to others at once.

        Returns when all of it is in memory that the agent shares.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        parcel: Any = Parcel(sum(map(len, payload)))
        with self._sending:
            if self._outbox is None:
                outbox = self._outbox = Outbox(self.end)
                send_with_descriptors(self.end, Shared(), outbox.descriptors)
                outbox.sent()
            number = self._outbox.number
            self._send(_frame(replace(ahead, parts=(parcel,)), refer=lambda _: number))
            for piece in self._outbox.pieces(payload):
                self._send(_frame(piece))
            whole = replace(message, parts=(*message.parts, parcel))
            self._send(_frame(whole, refer=lambda _: number))

    def _send(self, frame: list[Buffer]) -> None:
        held, self._held = self._held, []
        try:
            for buffer in _gathered(held + frame):
                self.end.sendall(buffer)
        except OSError as error:
            raise WorldLost(f"the agent is gone ({error.strerror})") from None

    def receive(self) -> Message:
        """Wait for the next message.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        while True:
            for message in self.receive_ready():
                return message

    @property
    def pending(self) -> bool:
        """Whether a message was read that nobody has received, and all that belongs to it."""
        return bool(self._ready) and (not self._rooms or are_there(self._ready[0]))

    def receive_ready(self) -> Iterator[Message]:
        """Yield the messages which are there; if there are none, read once.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        if not self.pending:
            self._read()
        while self.pending:
            message = with_memory(self._ready.popleft())
            if message is not None:
                yield message

    def _read(self) -> None:
        room = self._assembly.room()
        try:
            if room is None:
                data, descriptors = _take(self.end, self._buffer, 2)
                size = len(data)
                self._descriptors += descriptors
                self._sort(self._assembly.feed(data))
            else:
                size = self.end.recv_into(room)
                self._sort(self._assembly.filled(size))
        except OSError:
            size = 0
        if not size:
            raise WorldLost("the agent is gone: the run was stopped or killed")

    def _sort(self, messages: Iterator[Message]) -> None:
        for message in messages:
            if not self._rooms.take(message, self._descriptors):
                self._ready.append(message)


def send_with_descriptors(end: socket.socket, message: Message, descriptors: list[int]) -> None:
    """Send one message on a blocking socket along with open file descriptors.

    Raises
    ------
    WorldLost
        If the agent is gone.
    """
    frame = b"".join(_frame(message))
    rights = array.array("i", descriptors)
    try:
        sent = end.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        end.sendall(memoryview(frame)[sent:])
    except OSError as error:
        raise WorldLost(f"the agent is gone ({error.strerror})") from None


def _take(end: socket.socket, buffer: bytearray, most: int) -> tuple[memoryview, list[int]]:
    """Read bytes and up to ``most`` descriptors with them; `socket.recv_fds` takes 10 µs more."""
    space = socket.CMSG_SPACE(most * _DESCRIPTOR)
    size, ancillary, _, _ = end.recvmsg_into([buffer], space)
    return memoryview(buffer)[:size], _descriptors_in(ancillary) if ancillary else []


def _descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, carried in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(carried[: len(carried) - len(carried) % _DESCRIPTOR])
    return descriptors.tolist()
