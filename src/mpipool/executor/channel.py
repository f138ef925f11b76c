"""Messages over a socketpair: without blocking for agents, with blocking for everyone else."""

from __future__ import annotations

import array
import contextlib
import mmap
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from mpipool.errors import WorldLost
from mpipool.messages import Buffer, Message, decode, encode

_LENGTH: Final = struct.Struct("<Q")
_READ: Final = 1 << 18
_VECTOR: Final = 64
"""Buffers handed to one sendmsg; the kernel takes 1024 at most."""
BUFFER: Final = 1 << 20
"""Size asked for the socket's buffers: a chunk passes without a switch to the other process."""
_HUGE: Final = 1 << 22
"""Bytes. Longer messages are read into huge pages: to get fresh small ones takes three times as
long as to copy the data."""
_COPIED: Final = 1 << 16
"""Bytes. Shorter buffers are put together before they are sent: that is cheaper than a call."""


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a channel."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return pair


def _frame(message: Message, payload: Sequence[Buffer] | None = None) -> list[Buffer]:
    buffers = encode(message, payload)
    buffers[0] = _LENGTH.pack(sum(map(len, buffers))) + bytes(buffers[0])
    return buffers


def _gathered(buffers: list[Buffer]) -> Iterator[Buffer]:
    """Put runs of short buffers together; long ones stay where they are."""
    short: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < _COPIED:
            short.append(buffer)
            continue
        yield b"".join(short)
        yield buffer
        short = []
    yield b"".join(short)


def _room(size: int) -> memoryview:
    """Get memory for a message."""
    if size < _HUGE:
        return memoryview(bytearray(size))
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        room.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(room)


class _Assembly:
    """Cuts the byte stream into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()
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
            yield decode(whole)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take in bytes; yield the messages which they complete."""
        self._pending += data
        at = 0
        while len(self._pending) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._pending, at)
            start = at + _LENGTH.size
            if len(self._pending) - start < size:
                if size > _READ:
                    self._begin_large(size, start)
                    return
                break
            # Arrays are used where they lie in it, and must be writeable: no bytes.
            yield decode(bytearray(memoryview(self._pending)[start : start + size]))
            at = start + size
        del self._pending[:at]

    def _begin_large(self, size: int, start: int) -> None:
        self._large = _room(size)
        self._filled = len(self._pending) - start
        self._large[: self._filled] = memoryview(self._pending)[start:]
        self._pending = bytearray()


class Channel:
    """An agent's end: never blocks. The loop calls `read` and `flush` when the socket is ready."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self._assembly = _Assembly()
        self._unsent: deque[memoryview] = deque()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.end.fileno()

    def send(self, message: Message) -> None:
        """Send what the socket takes now and keep the rest."""
        self._unsent.extend(memoryview(buffer) for buffer in _frame(message) if len(buffer))
        self.flush()

    @property
    def unsent(self) -> bool:
        """Whether the loop must wait until the socket takes more."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what the socket takes. A peer that is gone shows when reading."""
        while self._unsent:
            try:
                sent = self.end.sendmsg(list(islice(self._unsent, _VECTOR)))
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

    def receive(self, size: int) -> bytes:
        """Take bytes from the socket."""
        return self.end.recv(size)

    def read(self) -> tuple[list[Message], bool]:
        """Read what is there; also tell whether the other end is still open."""
        messages: list[Message] = []
        while True:
            try:
                room = self._assembly.room()
                if room is None:
                    data = self.receive(_READ)
                    size = len(data)
                    messages += self._assembly.feed(data)
                else:
                    size = self.end.recv_into(room)
                    messages += self._assembly.filled(size)
            except BlockingIOError:
                return messages, True
            except OSError:
                return messages, False
            if not size:
                return messages, False
            if room is None and size < _READ:
                return messages, True

    def close(self) -> None:
        """Close the socket."""
        self.end.close()


class BlockingChannel:
    """The end of an executor, a guard or the script. One thread reads; any may send."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._sending = threading.Lock()
        self.end = end
        self._assembly = _Assembly()
        self._ready: deque[Message] = deque()

    def send(self, message: Message, payload: Sequence[Buffer] | None = None) -> None:
        """Send a message, with a further part in pieces if one is given.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        try:
            with self._sending:
                for buffer in _gathered(_frame(message, payload)):
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
        while not self._ready:
            self._read()
        return self._ready.popleft()

    @property
    def pending(self) -> bool:
        """Whether a message was read that nobody has received."""
        return bool(self._ready)

    def receive_ready(self) -> Iterator[Message]:
        """Yield the messages which are there; if there are none, read once.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        if not self._ready:
            self._read()
        while self._ready:
            yield self._ready.popleft()

    def _read(self) -> None:
        room = self._assembly.room()
        try:
            if room is None:
                data = self.end.recv(_READ)
                size = len(data)
                self._ready.extend(self._assembly.feed(data))
            else:
                size = self.end.recv_into(room)
                self._ready.extend(self._assembly.filled(size))
        except OSError:
            size = 0
        if not size:
            raise WorldLost("the agent is gone: the run was stopped or killed")


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
