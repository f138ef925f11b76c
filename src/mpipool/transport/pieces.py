"""The pieces of parcels between two ranks.

They have a communicator of their own, in which the tag is the parcel's number. Pieces are sent from
where they lie, and received into rooms which whoever takes them offers: only while there is one is
a receive posted, so that a receiver which is slow holds up its sender and nobody else. Both sides
know from the size how many pieces there are; for those which do not come after all empty messages
are sent. What does not come since its sender is dead is void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, Final

from mpipool.ids import Rank
from mpipool.messages import (
    NUMBERS,
    PIECE,
    Buffer,
    Message,
    Parcel,
    ReleasePiece,
    Taker,
    parcels_in,
)
from mpipool.transport.wire import Wire

SENDS: Final = 8
"""Pieces of a parcel under way; those of a process are bounded by its ring anyhow."""
RECEIVES: Final = 4
"""Receives which are posted for one parcel: others need room too."""
PATIENCE: Final = 2.0
"""Seconds for which a receive which can't be taken back keeps its room: MPI may be about to write
there what a rank had sent before it died."""
_EMPTY: Final = memoryview(b"")


def _count(size: int) -> int:
    return -(-size // PIECE)


class Pieces:
    """All parcels of one rank, to and from others.

    Parameters
    ----------
    wire : Wire
        Used for nothing else.
    wake : callable
        Wakes a rank that sleeps.
    """

    def __init__(self, wire: Wire, wake: Callable[[Rank], None]) -> None:
        self._wire, self._wake = wire, wake
        self._numbers = count()
        self._takers: dict[Parcel, ToRank] = {}
        """Of the parcels which will still be mentioned."""
        self._known: dict[tuple[Rank, int], Parcel] = {}
        self._outgoing: dict[int, ToRank] = {}
        self._incoming: dict[tuple[Rank, int], _Incoming] = {}
        self._void: list[tuple[float, _Incoming]] = []
        """What does not come, and until when it keeps its rooms at most."""
        self._draining = False

    def __len__(self) -> int:
        return len(self._outgoing) + len(self._incoming) + len(self._void)

    @property
    def sending(self) -> bool:
        """Whether pieces are still to be sent."""
        return bool(self._outgoing)

    # --- what messages say -----------------------------------------------------------------------

    def refer(self, to: Rank, parcel: Parcel) -> int:
        """Return the number of a parcel; if it is new, its pieces go to a rank from now on."""
        if parcel not in self._takers:
            taker = self._begin(to, len(parcel))
            self._takers[parcel] = taker
            parcel.goes_to(taker)
        return self._takers[parcel].number

    def mentioned(self, parcel: Parcel) -> None:
        """Note that no message to another rank will mention a parcel any more."""
        parcel.named = True
        del self._takers[parcel]

    def parcel_of(self, to: Rank, part: Buffer) -> Parcel:
        """Make a parcel of a part of a message, and begin to send it."""
        parcel = Parcel(len(part))
        taker = self._takers[parcel] = self._begin(to, len(part))
        parcel.goes_to(taker)
        view = memoryview(part)
        for at in range(0, len(part), PIECE):
            taker.put(view[at : at + PIECE], _nothing)
        return parcel

    def find(self, sender: Rank, live: bool, number: int, size: int) -> Parcel:
        """Return a parcel that a message mentions; if it is new, it is received from now on."""
        key = (sender, number)
        if key not in self._known:
            parcel = self._known[key] = Parcel(size, live)
            self._incoming[key] = _Incoming(sender, number, parcel)
            if self._draining:
                parcel.drop()
        return self._known[key]

    def found_last(self, sender: Rank, parcel: Parcel) -> None:
        """Note that no message will mention a parcel any more."""
        number = next(n for (rank, n), known in self._known.items() if known is parcel)
        del self._known[sender, number]

    def is_coming(self, sender: Rank, message: Message) -> bool:
        """Whether pieces are still to come of results in a message, which were sent before it."""
        coming = {each.parcel for each in self._incoming.values() if each.sender == sender}
        return any(parcel.live and parcel in coming for parcel in parcels_in(message))

    def unsent(self, message: Message, last: bool) -> None:
        """Let go of the parcels of a message which was not sent, as its receiver is dead."""
        for parcel in parcels_in(message):
            if last:
                self._takers.pop(parcel, None)
            if parcel.taker is None:
                parcel.drop()

    # --- what moves ------------------------------------------------------------------------------

    def move(self) -> None:
        """Complete what can be, and begin what may."""
        for outgoing in list(self._outgoing.values()):
            self._push(outgoing)
        for key, incoming in list(self._incoming.items()):
            self._pull(incoming)
            if incoming.over:
                del self._incoming[key]
        self._void = [each for each in self._void if not self._is_free(*each)]

    def give_up(self, rank: Rank) -> None:
        """Let go of what goes to a rank; what comes from it is void."""
        for outgoing in [each for each in self._outgoing.values() if each.to == rank]:
            for request, piece in outgoing.give_up():
                self._wire.leak(request, piece)
            del self._outgoing[outgoing.number]
        for sender, number in [key for key in self._known if key[0] == rank]:
            del self._known[sender, number]
        for key in [key for key in self._incoming if key[0] == rank]:
            incoming = self._incoming.pop(key)
            incoming.parcel.drop()
            incoming.left = 0
            self._void.append((monotonic() + PATIENCE, incoming))

    def _is_free(self, deadline: float, void: _Incoming) -> bool:
        """Let those rooms go which MPI does not write to any more; return whether all are."""
        while void.posted:
            request, room, of = void.posted[0]
            if not self._wire.cancel(request):
                if monotonic() < deadline:
                    return False
                self._wire.leak(request, room)
            void.posted.popleft()
            of.filled(room, 0)
        return True

    def drain(self) -> None:
        """Let nobody have what still comes, and send nothing that can be left out: the run ends."""
        self._draining = True
        for incoming in self._incoming.values():
            incoming.parcel.drop()
        for outgoing in self._outgoing.values():
            outgoing.cut_short()

    def close(self) -> None:
        """Free the communicator."""
        self._wire.communicator.Free()

    def _begin(self, to: Rank, size: int) -> ToRank:
        number = next(n for each in self._numbers if (n := each % NUMBERS) not in self._outgoing)
        taker = self._outgoing[number] = ToRank(self, to, number, size)
        return taker

    def _push(self, outgoing: ToRank) -> None:
        under_way = outgoing.under_way
        while under_way and self._wire.is_done(under_way[0][0], outgoing.to):
            under_way.popleft()[2]()
        begun = False
        while outgoing.waiting and len(under_way) < SENDS:
            piece, release = outgoing.waiting.popleft()
            request = self._wire.send(piece, outgoing.to, outgoing.number)
            under_way.append((request, piece, release))
            begun = True
        if begun or under_way:
            self._wake(outgoing.to)
        if outgoing.over:
            self._outgoing.pop(outgoing.number, None)

    push = _push

    def _pull(self, incoming: _Incoming) -> None:
        while incoming.posted:
            request, filled, of = incoming.posted[0]
            size = self._wire.received(request, incoming.sender)
            if size is None:
                break
            incoming.posted.popleft()
            of.filled(filled, size)
        taker = incoming.parcel.taker
        while incoming.left and taker and len(incoming.posted) < RECEIVES:
            room = taker.room()
            if room is None:
                return
            request = self._wire.receive(room, incoming.sender, incoming.number)
            incoming.posted.append((request, room, taker))
            incoming.left -= 1


class ToRank:
    """Takes the pieces of one parcel for another rank."""

    def __init__(self, pieces: Pieces, to: Rank, number: int, size: int) -> None:
        self.to, self.number = to, number
        self.waiting: deque[tuple[memoryview, ReleasePiece]] = deque()
        self.under_way: deque[tuple[Any, memoryview, ReleasePiece]] = deque()
        self._left = _count(size)
        self._pieces = pieces
        self._is_dead = False

    @property
    def over(self) -> bool:
        """Whether all of it has been received."""
        return not (self._left or self.waiting or self.under_way)

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        """Send a piece from where it lies."""
        if self._is_dead:
            release()
            return
        self._left -= 1
        self.waiting.append((piece, release))
        self._pieces.push(self)

    def end(self) -> None:
        """Send empty pieces in place of what is missing."""
        if self._is_dead:
            return
        self.waiting.extend([(_EMPTY, _nothing)] * self._left)
        self._left = 0
        self._pieces.push(self)

    def cut_short(self) -> None:
        """Send empty pieces in place of those which were not begun."""
        for _, release in self.waiting:
            release()
        self.waiting = deque([(_EMPTY, _nothing)] * len(self.waiting))

    def give_up(self) -> list[tuple[Any, memoryview]]:
        """Let go of the pieces, as the rank is dead; return what is under way."""
        self._is_dead = True
        under_way = list(self.under_way)
        releases = [release for _, release in self.waiting]
        self.waiting.clear()
        self.under_way.clear()
        for release in [*releases, *(release for _, _, release in under_way)]:
            release()
        return [(request, piece) for request, piece, _ in under_way]

    def room(self) -> memoryview | None:
        """Not offered: agents pass on what comes from below, not what comes from ranks."""
        raise AssertionError("a parcel from one rank can't go to another")

    def filled(self, room: memoryview, size: int) -> None:
        """Not used, as `room`."""
        raise AssertionError("a parcel from one rank can't go to another")

    def drop(self) -> None:
        """Nothing: the other rank drops it."""


class _Incoming:
    """A parcel that comes from another rank."""

    def __init__(self, sender: Rank, number: int, parcel: Parcel) -> None:
        self.sender, self.number, self.parcel = sender, number, parcel
        self.left = _count(len(parcel))
        self.posted: deque[tuple[Any, memoryview, Taker]] = deque()

    @property
    def over(self) -> bool:
        """Whether all pieces have come."""
        return not (self.left or self.posted)


def _nothing() -> None:
    """Nobody waits for the memory of the piece."""
