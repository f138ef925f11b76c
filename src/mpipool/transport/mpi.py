"""Ranks which are MPI processes. The one module that imports mpi4py.

* COMM_WORLD is duplicated, so that messages of user code never meet ours.
* Only Isend, Improbe, Mrecv and Test are used: two agents in a blocking send above the eager limit
  would deadlock.
* A message longer than a fragment is cut; fragments of one pair of ranks arrive in order, since the
  receiver matches any tag. At most a few are under way to one peer, the others wait here. In front
  of the first stands how long the whole is.
* What only passes through the receiver on its way to a process goes as a parcel (`pieces`).
"""

from __future__ import annotations

import os
import struct
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NoReturn

import mpi4py

mpi4py.rc.finalize = False  # `close` finalises
from mpi4py import MPI  # noqa: E402 - importing it initialises MPI

from mpipool.ids import Rank  # noqa: E402
from mpipool.messages import (  # noqa: E402
    PARCEL,
    Ahead,
    Buffer,
    Fetched,
    Message,
    RunTasks,
    decode,
    encode,
    mentions_last,
    parcels_in,
    room_for,
)
from mpipool.transport.doorbell import (  # noqa: E402
    Address,
    Doorbell,
    Neighbour,
    neighbour,
)
from mpipool.transport.interface import Traffic  # noqa: E402
from mpipool.transport.pieces import Pieces  # noqa: E402

FRAGMENT: Final = 1 << 20
UNDER_WAY: Final = 8
"""Fragments under way to one peer."""
LONGEST_SLEEP: Final = 0.01
"""Seconds. A message that comes while the loop sleeps waits for so long at most."""
LONGEST_SLEEP_WITH_BELLS: Final = 0.05
"""Seconds, where every other rank can ring for its messages."""
ABSENT_SECONDS: Final = 30.0
"""How often rank 0 says which ranks have not come up yet."""
LONGEST_SLEEP_WITH_PIECES: Final = 0.001
"""Seconds, while pieces of parcels are under way: who gets rid of one waits for that."""
_LAST, _MORE = 1, 2
_WHOLE: Final = struct.Struct("<Q")
"""In front of a message in several fragments: its length."""
_TAGS: Final = 32768
"""MPI promises so many tags."""


class MpiTransport:
    """One rank of MPI's world; see `Transport`.

    Parameters
    ----------
    finalizes : bool
        Whether `close` finalises MPI; not where the user's program has initialised it.
    """

    def __init__(self, finalizes: bool = True) -> None:
        self._finalizes = finalizes
        _wait_for_all()
        self._world = MPI.COMM_WORLD.Dup()
        self._world.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank = Rank(self._world.Get_rank())
        self.size = self._world.Get_size()
        self.traffic = Traffic()
        self._to_self: deque[Message] = deque()
        self._waiting: dict[Rank, deque[tuple[int, Buffer]]] = {}
        self._under_way: dict[Rank, deque[tuple[Any, Buffer]]] = {}
        self._partial: dict[Rank, tuple[memoryview, int]] = {}
        """Memory for the message which has begun to come, and how much of it is there."""
        self._doorbell = Doorbell()
        self.doorbell: int | None = self._doorbell.descriptor
        self._neighbours = self._meet_neighbours()
        self._all_ring = len(self._neighbours) == self.size - 1
        self._pieces = Pieces(self._world.Dup(), MPI.BYTE, MPI.Status, self._wake)

    @property
    def rings(self) -> bool:
        """Whether everything which comes while the loop sleeps wakes it."""
        return self._all_ring and not len(self._pieces)

    @property
    def longest_sleep(self) -> float:
        """Seconds for which the loop may sleep without asking for messages."""
        if len(self._pieces):
            return LONGEST_SLEEP_WITH_PIECES
        return LONGEST_SLEEP_WITH_BELLS if self._all_ring else LONGEST_SLEEP

    def _meet_neighbours(self) -> dict[Rank, Neighbour]:
        own = self._doorbell.address
        integers = array("q", bytes(8 * len(own) * self.size))
        self._world.Allgather(array("q", own), integers)
        found = {}
        for rank in range(self.size):
            address = Address(*integers[len(own) * rank : len(own) * (rank + 1)])
            bell = neighbour(own, address) if rank != self.rank else None
            if bell:
                found[Rank(rank)] = bell
        return found

    def send(self, to: Rank, message: Message) -> None:
        """Start sending, or queue behind what is under way to this peer."""
        if to == self.rank:
            self._to_self.append(message)
            return
        message = self._with_parcels(to, message)
        parcels = parcels_in(message)
        refer = partial(self._pieces.refer, to) if parcels else None
        buffers = encode(message, refer=refer)
        size = sum(map(len, buffers))
        if not isinstance(message, Ahead):
            self.traffic.count_sent(message, size + sum(map(len, parcels)))
        if mentions_last(message):
            for parcel in parcels:
                self._pieces.mentioned(parcel)
        waiting = self._waiting.setdefault(to, deque())
        if size <= FRAGMENT:
            waiting.append((_LAST, b"".join(buffers)))
        else:
            waiting.extend(_fragments(size, buffers))
        self._push(to)

    def _with_parcels(self, to: Rank, message: Message) -> Message:
        """Let large parts which only pass through the receiver go as parcels."""
        if not _passes_through(message) or not any(len(part) >= PARCEL for part in message.parts):
            return message
        parts: list[Any] = [
            self._pieces.parcel_of(to, part) if len(part) >= PARCEL else part
            for part in message.parts
        ]
        return replace(message, parts=tuple(parts))

    def receive(self) -> Iterator[tuple[Rank, Message]]:
        """Yield what has arrived, and push on what is still to be sent."""
        for peer in list(self._under_way):
            self._push(peer)
        while self._to_self:
            yield self.rank, self._to_self.popleft()
        status = MPI.Status()
        while (arrived := self._world.Improbe(MPI.ANY_SOURCE, MPI.ANY_TAG, status)) is not None:
            sender = Rank(status.Get_source())
            size, is_last = status.Get_count(MPI.BYTE), status.Get_tag() == _LAST
            whole = self._assemble(sender, arrived, size, is_last)
            if whole is not None:
                yield sender, self._decode(sender, whole)
        if len(self._pieces):
            self._pieces.move()

    def _decode(self, sender: Rank, frame: Buffer) -> Message:
        is_ahead = frame[0] == Ahead.code
        message = decode(frame, partial(self._pieces.find, sender, is_ahead))
        parcels = parcels_in(message)
        if mentions_last(message):
            for parcel in parcels:
                self._pieces.found_last(sender, parcel)
        if not is_ahead:
            self.traffic.count_received(message, len(frame) + sum(map(len, parcels)))
        return message

    def may_sleep(self) -> bool:
        """Ask the others to ring from now on, unless something has arrived already."""
        self._doorbell.sleeps()
        return not self._to_self and not self._world.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)

    def wakes(self) -> None:
        """Tell the others that ringing is needless."""
        self._doorbell.wakes()

    @property
    def unsent(self) -> bool:
        """Whether sends are under way."""
        return bool(self._under_way) or bool(self._to_self)

    @property
    def streams(self) -> bool:
        """Whether pieces of parcels are still to be sent."""
        return self._pieces.sending

    def drain(self) -> None:
        """Drop the parcels which come, and cut those short which go: the run ends."""
        self._pieces.drain()

    def close(self) -> None:
        """Complete the sends, and finalise MPI unless that is the user's."""
        while self._under_way:
            for peer in list(self._under_way):
                self._push(peer)
        self._pieces.close()
        self._world.Free()
        if self._finalizes:
            MPI.Finalize()

    def abort(self, exit_code: int) -> NoReturn:
        """End all ranks of the world at once."""
        # MPICH says who called it, behind the sentence which says why.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        MPI.COMM_WORLD.Abort(exit_code)
        os._exit(exit_code)

    @property
    def allows_gangs(self) -> bool:
        """Whether another thread may use MPI while the loop does."""
        return MPI.Query_thread() >= MPI.THREAD_MULTIPLE

    def communicator(self, ranks: Sequence[int], serial: int) -> MPI.Intracomm:
        """Make a communicator of some ranks; each of them calls this, and no other.

        Not by Create_from_group: under Open MPI 5 each such call takes longer than the one before
        (after 250 of them 50 ms), as its launcher keeps a record of all. Create_group needs 20 µs
        in both, but fails after a rank has died, where only the other one works.

        Parameters
        ----------
        ranks : sequence of int
            The members, in their order.
        serial : int
            A number which distinguishes it from others of the same members.

        Raises
        ------
        MPI.Exception
            If it can't be made.
        """
        everybody = MPI.COMM_WORLD.Get_group()
        members = everybody.Incl(list(ranks))
        try:
            made = MPI.COMM_WORLD.Create_group(members, serial % _TAGS)
        except MPI.Exception:
            made = MPI.Intracomm.Create_from_group(members, f"mpipool-{serial}")
        finally:
            members.Free()
            everybody.Free()
        made.Set_errhandler(MPI.ERRORS_RETURN)
        return _Communicator(made)

    def _push(self, peer: Rank) -> None:
        under_way = self._under_way.setdefault(peer, deque())
        while under_way and under_way[0][0].Test():
            under_way.popleft()
        waiting = self._waiting.get(peer)
        while waiting and len(under_way) < UNDER_WAY:
            tag, fragment = waiting.popleft()
            under_way.append((self._world.Isend([fragment, MPI.BYTE], peer, tag), fragment))
        if not under_way:
            del self._under_way[peer]
        else:
            self._wake(peer)

    def _wake(self, peer: Rank) -> None:
        if peer in self._neighbours:
            self._neighbours[peer].wake()

    def _assemble(
        self, sender: Rank, arrived: MPI.Message, size: int, is_last: bool
    ) -> Buffer | None:
        """Receive a message, or a fragment of one to where it belongs."""
        begun = self._partial.pop(sender, None)
        if begun is None:
            frame = bytearray(size)
            arrived.Recv([frame, MPI.BYTE])
            if is_last:
                return frame
            room, at = room_for(_WHOLE.unpack_from(frame)[0]), size - _WHOLE.size
            room[:at] = memoryview(frame)[_WHOLE.size :]
        else:
            room, at = begun
            arrived.Recv([room[at : at + size], MPI.BYTE])
            at += size
        if is_last:
            return room
        self._partial[sender] = room, at
        return None


def _fragments(size: int, buffers: list[Buffer]) -> Iterator[tuple[int, Buffer]]:
    """Cut a long message, whose parts stay where they are, into fragments with their tags."""
    head, *others = buffers
    first = _WHOLE.pack(size) + bytes(head)
    parts = [memoryview(buffer) for buffer in (first, *others) if len(buffer)]
    cut = [part[at : at + FRAGMENT] for part in parts for at in range(0, len(part), FRAGMENT)]
    for number, fragment in enumerate(cut, start=1):
        yield (_MORE if number < len(cut) else _LAST), fragment


def _passes_through(message: Message) -> bool:
    """Whether the receiver passes on what comes to a process, and does not need it itself."""
    if isinstance(message, RunTasks):
        return not message.cores  # each member of a gang needs the item
    return isinstance(message, Fetched) and not message.copies


class _Communicator(MPI.Intracomm):
    """A communicator whose members may have messages of their ranks to serve while they meet.

    The first reduction of Python objects duplicates the communicator inside mpi4py, which holds
    the GIL in `MPI_Comm_dup` until all members have come. A rank which waits there serves nobody;
    if another member comes only after a scatter to whose tasks that rank belongs, both wait for
    ever. So they meet in a barrier before, which lets other threads go on.
    """

    _met = False

    def _meet(self) -> None:
        if not self._met:
            self.Barrier()
            self._met = True

    def reduce(self, *args: Any, **kwargs: Any) -> Any:
        self._meet()
        return super().reduce(*args, **kwargs)

    def allreduce(self, *args: Any, **kwargs: Any) -> Any:
        self._meet()
        return super().allreduce(*args, **kwargs)

    def scan(self, *args: Any, **kwargs: Any) -> Any:
        self._meet()
        return super().scan(*args, **kwargs)

    def exscan(self, *args: Any, **kwargs: Any) -> Any:
        self._meet()
        return super().exscan(*args, **kwargs)

    def Split(self, *args: Any, **kwargs: Any) -> MPI.Intracomm:  # noqa: N802 - mpi4py's name
        """Split; mpi4py would return a plain one, though `Dup` does not."""
        return _Communicator(super().Split(*args, **kwargs))


def _wait_for_all() -> None:
    """Let every rank report to rank 0, which names those that are late: Dup would just hang."""
    world = MPI.COMM_WORLD
    if world.Get_rank():
        world.Send([b"", MPI.BYTE], 0, _LAST)
        return
    absent = set(range(1, world.Get_size()))
    began, said = time.monotonic(), 0.0
    status = MPI.Status()
    while absent:
        if world.Iprobe(MPI.ANY_SOURCE, _LAST, status):
            world.Recv([bytearray(0), MPI.BYTE], status.Get_source(), _LAST)
            absent.discard(status.Get_source())
            continue
        time.sleep(1e-3)
        waited = time.monotonic() - began
        if waited - said > ABSENT_SECONDS:
            said = waited
            names = ", ".join(map(str, sorted(absent)[:10])) + (" …" if len(absent) > 10 else "")
            sentence = f"mpipool: waiting for ranks {names} for {waited:.0f} s"
            print(sentence, file=sys.stderr, flush=True)
