"""The pieces of parcels between two ranks.

They have a communicator of their own, in which the tag is the parcel's number. Pieces are sent from
where they lie, and received into rooms which whoever takes them offers: only while there is one is
a receive posted, so that a receiver which is slow holds up its sender and nobody else. Both sides
know from the size how many pieces there are; for those which do not come after all empty messages
are sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from mpipool.ids import Rank
from mpipool.messages import NUMBERS, PIECE, Buffer, Parcel, ReleasePiece, Taker

SENDS: Final = 8
"""Pieces of a parcel under way; those of a process are bounded by its ring anyhow."""
RECEIVES: Final = 4
"""Receives which are posted for one parcel: others need room too."""
_EMPTY: Final = memoryview(b"")


def _count(size: int) -> int:
    return -(-size // PIECE)


class Pieces:
    """All parcels of one rank, to and from others.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm
        Used for nothing else.
    byte : mpi4py.MPI.Datatype
        A byte.
    status : callable
        Makes an ``MPI.Status``.
    wake : callable
        Wakes a rank that sleeps.
    """

    def __init__(
        self,
        communicator: Any,
        byte: Any,
        status: Callable[[], Any],
        wake: Callable[[Rank], None],
    ) -> None:
        self._communicator, self._byte, self._status = communicator, byte, status
        self._wake = wake
        self._numbers = count()
        self._takers: dict[Parcel, ToRank] = {}
        """Of the parcels which will still be mentioned."""
        self._known: dict[tuple[Rank, int], Parcel] = {}
        self._outgoing: dict[int, ToRank] = {}
        self._incoming: dict[tuple[Rank, int], _Incoming] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._outgoing) + len(self._incoming)

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

    # --- what moves ------------------------------------------------------------------------------

    def move(self) -> None:
        """Complete what can be, and begin what may."""
        for outgoing in list(self._outgoing.values()):
            self._push(outgoing)
        for key, incoming in list(self._incoming.items()):
            self._pull(incoming)
            if incoming.over:
                del self._incoming[key]

    def drain(self) -> None:
        """Let nobody have what still comes, and send nothing that can be left out: the run ends."""
        self._draining = True
        for incoming in self._incoming.values():
            incoming.parcel.drop()
        for outgoing in self._outgoing.values():
            outgoing.cut_short()

    def close(self) -> None:
        """Free the communicator."""
        self._communicator.Free()

    def _begin(self, to: Rank, size: int) -> ToRank:
        number = next(n for each in self._numbers if (n := each % NUMBERS) not in self._outgoing)
        taker = self._outgoing[number] = ToRank(self, to, number, size)
        return taker

    def _push(self, outgoing: ToRank) -> None:
        under_way = outgoing.under_way
        while under_way and under_way[0][0].Test():
            under_way.popleft()[2]()
        begun = False
        while outgoing.waiting and len(under_way) < SENDS:
            piece, release = outgoing.waiting.popleft()
            buffer = [piece, self._byte]
            request = self._communicator.Isend(buffer, outgoing.to, outgoing.number)
            under_way.append((request, piece, release))
            begun = True
        if begun or under_way:
            self._wake(outgoing.to)
        if outgoing.over:
            self._outgoing.pop(outgoing.number, None)

    push = _push

    def _pull(self, incoming: _Incoming) -> None:
        status = self._status()
        while incoming.posted and incoming.posted[0][0].Test(status):
            _, filled, of = incoming.posted.popleft()
            of.filled(filled, status.Get_count(self._byte))
        taker = incoming.parcel.taker
        while incoming.left and taker and len(incoming.posted) < RECEIVES:
            room = taker.room()
            if room is None:
                return
            buffer = [room, self._byte]
            request = self._communicator.Irecv(buffer, incoming.sender, incoming.number)
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

    @property
    def over(self) -> bool:
        """Whether all of it has been received."""
        return not (self._left or self.waiting or self.under_way)

    def put(self, piece: memoryview, release: ReleasePiece) -> None:
        """Send a piece from where it lies."""
        self._left -= 1
        self.waiting.append((piece, release))
        self._pieces.push(self)

    def end(self) -> None:
        """Send empty pieces in place of what is missing."""
        self.waiting.extend([(_EMPTY, _nothing)] * self._left)
        self._left = 0
        self._pieces.push(self)

    def cut_short(self) -> None:
        """Send empty pieces in place of those which were not begun."""
        for _, release in self.waiting:
            release()
        self.waiting = deque([(_EMPTY, _nothing)] * len(self.waiting))

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
