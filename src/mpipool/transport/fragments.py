"""Messages of any length between ranks, cut into fragments.

A message longer than a fragment is cut; fragments of one pair of ranks arrive in order, since the
receiver matches any tag. At most a few are under way to one peer, the others wait here. In front
of the first stands how long the whole is.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from mpipool.ids import Rank
from mpipool.messages import Buffer, room_for
from mpipool.transport.wire import Wire

FRAGMENT: Final = 1 << 20
UNDER_WAY: Final = 8
"""Fragments under way to one peer."""
LAST, MORE = 1, 2
"""Tags."""
_WHOLE: Final = struct.Struct("<Q")
"""In front of a message in several fragments: its length."""


class Outgoing:
    """What is to be sent to each peer.

    Parameters
    ----------
    wire : Wire
        By which it goes.
    wake : callable
        Wakes a rank that sleeps.
    """

    def __init__(self, wire: Wire, wake: Callable[[Rank], None]) -> None:
        self._wire, self._wake = wire, wake
        self._waiting: dict[Rank, deque[tuple[int, Buffer]]] = {}
        self._under_way: dict[Rank, deque[tuple[Any, Buffer]]] = {}

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def send(self, to: Rank, buffers: Sequence[Buffer]) -> None:
        """Start sending a message, or queue it behind what is under way to this peer."""
        waiting = self._waiting.setdefault(to, deque())
        size = sum(map(len, buffers))
        if size <= FRAGMENT:
            waiting.append((LAST, b"".join(buffers)))
        else:
            waiting.extend(_fragments(size, buffers))
        self._push(to)

    def push(self) -> None:
        """Complete what can be, and begin what may."""
        for peer in list(self._under_way):
            self._push(peer)

    def _push(self, peer: Rank) -> None:
        under_way = self._under_way.setdefault(peer, deque())
        while under_way and self._wire.is_done(under_way[0][0], peer):
            under_way.popleft()
        waiting = self._waiting.get(peer)
        while waiting and len(under_way) < UNDER_WAY:
            tag, fragment = waiting.popleft()
            under_way.append((self._wire.send(fragment, peer, tag), fragment))
        if not under_way:
            del self._under_way[peer]
        else:
            self._wake(peer)

    def give_up(self, peer: Rank) -> None:
        """Let go of everything to a peer."""
        self._waiting.pop(peer, None)
        for request, fragment in self._under_way.pop(peer, ()):
            self._wire.leak(request, fragment)


class Incoming:
    """What comes from all peers.

    A fragment may be announced long before all of it is there, and never be complete if its sender
    dies. So it is received without waiting, one at a time.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._partial: dict[Rank, tuple[memoryview, int]] = {}
        """Memory for the message which has begun to come, and how much of it is there."""
        self._coming: tuple[Any, Rank, Buffer, bool] | None = None
        """A fragment which is being received: its sender, where to, and whether it is the last."""
        self._gone: set[Rank] = set()

    def __bool__(self) -> bool:
        return self._coming is not None

    def take(self) -> Iterator[tuple[Rank, Buffer]]:
        """Yield the messages which have arrived, with their senders."""
        while self._begin():
            assert self._coming
            request, sender, room, is_last = self._coming
            if not self._wire.is_done(request, sender):
                return
            self._coming = None
            whole = self._assemble(sender, room, is_last)
            if whole is not None:
                yield sender, whole

    def _begin(self) -> bool:
        """Have a fragment be received; return whether there is one."""
        if self._coming:
            return True
        arrived = self._wire.probe()
        while arrived and arrived[1] in self._gone:
            self._let_go(*arrived)
            arrived = self._wire.probe()
        if arrived is None:
            return False
        message, sender, tag, size = arrived
        begun = self._partial.get(sender)
        room: Buffer = begun[0][begun[1] : begun[1] + size] if begun else bytearray(size)
        self._coming = (self._wire.receive_probed(message, room, sender), sender, room, tag == LAST)
        return True

    def _let_go(self, message: Any, sender: Rank, _: int, size: int) -> None:
        """Take a fragment out of the way of others: nobody needs it, and it may never be whole."""
        room = bytearray(size)
        request = self._wire.receive_probed(message, room, sender)
        if not self._wire.is_done(request, sender):
            self._wire.leak(request, room)

    def _assemble(self, sender: Rank, room: Buffer, is_last: bool) -> Buffer | None:
        """Return the message to which a fragment belongs, if that is complete."""
        begun = self._partial.pop(sender, None)
        if begun:
            whole, at = begun[0], begun[1] + len(room)
        elif is_last:
            return room
        else:
            whole, at = room_for(_WHOLE.unpack_from(room)[0]), len(room) - _WHOLE.size
            whole[:at] = memoryview(room)[_WHOLE.size :]
        if is_last:
            return whole
        self._partial[sender] = whole, at
        return None

    def give_up(self, peer: Rank) -> None:
        """Let go of everything from a peer."""
        self._gone.add(peer)
        self._partial.pop(peer, None)
        if self._coming and self._coming[1] == peer:
            self._wire.leak(self._coming[0], self._coming[2])
            self._coming = None


def _fragments(size: int, buffers: Sequence[Buffer]) -> Iterator[tuple[int, Buffer]]:
    """Cut a long message, whose parts stay where they are, into fragments with their tags."""
    head, *others = buffers
    first = _WHOLE.pack(size) + bytes(head)
    parts = [memoryview(buffer) for buffer in (first, *others) if len(buffer)]
    cut = [part[at : at + FRAGMENT] for part in parts for at in range(0, len(part), FRAGMENT)]
    for number, fragment in enumerate(cut, start=1):
        yield (MORE if number < len(cut) else LAST), fragment
