"""Ranks which are MPI processes. The one module that imports mpi4py.

* COMM_WORLD is duplicated, so that messages of user code never meet ours.
* Only Isend, Improbe, Imrecv and Test are used (`wire`): two agents in a blocking send above the
  eager limit would deadlock, and a blocking receive from a rank that dies would last for ever.
* Long messages go as `fragments`. What only passes through the receiver on its way to a process
  goes as a parcel (`pieces`).
* That a rank is dead is known from the kernel (`deaths`) on its own node, and from the errors of
  MPI where it has MPI_ERR_PROC_FAILED.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
)
from mpipool.transport.communicators import Communicators  # noqa: E402
from mpipool.transport.deaths import OVER, Deaths, survives, tell_launcher  # noqa: E402
from mpipool.transport.doorbell import Doorbell, Neighbour, neighbour  # noqa: E402
from mpipool.transport.fragments import Incoming, Outgoing  # noqa: E402
from mpipool.transport.gangs import Gangs  # noqa: E402
from mpipool.transport.interface import Traffic  # noqa: E402
from mpipool.transport.meeting import addresses, wait_for_all  # noqa: E402
from mpipool.transport.pieces import Pieces  # noqa: E402
from mpipool.transport.wire import Wire  # noqa: E402

LONGEST_SLEEP: Final = 0.01
"""Seconds. A message that comes while the loop sleeps waits for so long at most."""
LONGEST_SLEEP_WITH_BELLS: Final = 0.05
"""Seconds, where every other rank can ring for its messages."""
LONGEST_SLEEP_WITH_PIECES: Final = 0.001
"""Seconds, while pieces of parcels are under way: who gets rid of one waits for that."""
_TAGS: Final = 32768
"""MPI promises so many tags."""
_ULFM: Final = MPI.ERR_PROC_FAILED != MPI.ERR_UNKNOWN
"""Whether this MPI can say that a rank is dead."""
_DEATHS: Final = {MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED}


class MpiTransport:
    """One rank of MPI's world; see `Transport`.

    Parameters
    ----------
    finalizes : bool
        Whether `close` finalises MPI; not where the user's program has initialised it.
    """

    def __init__(self, finalizes: bool = True) -> None:
        self._finalizes = finalizes
        wait_for_all(MPI)
        self._world = MPI.COMM_WORLD.Dup()
        self._world.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank = Rank(self._world.Get_rank())
        self.size = self._world.Get_size()
        self.traffic = Traffic()
        self.survives = survives(os.environ)
        self.lost: set[Rank] = set()
        self.gone: set[Rank] = set()
        self._to_self: deque[Message] = deque()
        self._held: dict[Rank, deque[Message]] = {}
        """Messages of whose parcels pieces are still to come."""
        self._doorbell = Doorbell()
        self._deaths = Deaths(self._doorbell.descriptor)
        self.doorbell: int | None = self._deaths.descriptor
        self._neighbours = self._meet_neighbours()
        self._all_ring = len(self._neighbours) == self.size - 1
        wire = Wire(self._world, MPI, self._take_in)
        self._outgoing, self._incoming = Outgoing(wire, self._wake), Incoming(wire)
        self._wire = wire
        self._pieces = Pieces(Wire(self._world.Dup(), MPI, self._take_in), self._wake)
        self._gangs = Gangs()
        self._communicators = Communicators(MPI, self._gangs)

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
        own, found = self._doorbell.address, {}
        for number, address in enumerate(addresses(self._world, own)):
            rank = Rank(number)
            bell = neighbour(own, address) if rank != self.rank else None
            if bell:
                found[rank] = bell
                self._deaths.watch(rank, address.pid)
        return found

    def send(self, to: Rank, message: Message) -> None:
        """Start sending, or queue behind what is under way to this peer."""
        if to == self.rank:
            self._to_self.append(message)
            return
        if to in self.gone:
            self._pieces.unsent(message, mentions_last(message))
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
        self._outgoing.send(to, buffers)

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
        self._outgoing.push()
        while self._to_self:
            yield self.rank, self._to_self.popleft()
        if self._held:
            yield from self._complete()
        for sender, whole in self._incoming.take():
            message = self._decode(sender, whole)
            if self.survives and self._must_wait(sender, message):
                self._held.setdefault(sender, deque()).append(message)
            else:
                yield sender, message
        if len(self._pieces):
            self._pieces.move()

    def _must_wait(self, sender: Rank, message: Message) -> bool:
        """Whether a message, or one before it, says that something is done which may get lost.

        Who is told that a task is done can't be told later that its result has not come after all.
        """
        return sender in self._held or self._is_early(sender, message)

    def _is_early(self, sender: Rank, message: Message) -> bool:
        # What is ahead of a result must not wait for it: it says who takes the pieces.
        return mentions_last(message) and self._pieces.is_coming(sender, message)

    def _complete(self) -> Iterator[tuple[Rank, Message]]:
        """Yield the messages which need not wait any more."""
        for sender in list(self._held):
            held = self._held[sender]
            while held and not self._is_early(sender, held[0]):
                yield sender, held.popleft()
            if not held:
                self._held.pop(sender, None)

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
        return not (self._to_self or self._incoming) and self._wire.is_quiet()

    def wakes(self) -> None:
        """Tell the others that ringing is needless, and look who of them has died."""
        self._doorbell.wakes()
        died = self._deaths.noticed()
        if len(died) == 1:  # or nobody could say for which one the others were killed
            tell_launcher(f"rank {died[0]} died")
        for rank in died:
            self._note(rank)

    def _note(self, rank: Rank) -> None:
        if rank not in self.gone:
            self.lost.add(rank)

    def _take_in(self, error: Exception, peer: Rank | None) -> None:
        """Note who is dead, as MPI says; raise what says something else."""
        assert isinstance(error, MPI.Exception)
        if _ULFM and error.Get_error_class() in _DEATHS:
            for rank in self._failed():
                self._note(rank)
        elif not self.survives or peer is None:
            raise error
        if peer is not None:
            self._note(peer)

    def _failed(self) -> list[Rank]:
        """Return all ranks which have died so far, and let MPI receive from any other one."""
        failed, everybody = self._world.Get_failed(), self._world.Get_group()
        size = failed.Get_size()
        ranks = failed.Translate_ranks(list(range(size)), everybody) if size else []
        self._world.Ack_failed(size)
        failed.Free()
        everybody.Free()
        return [Rank(rank) for rank in ranks]

    def give_up(self, rank: Rank) -> None:
        """Have nothing to do any more with a rank that is dead, or counts as dead."""
        assert rank != self.rank, "a rank does not give itself up"
        self.lost.discard(rank)
        if rank in self.gone:
            return
        self.gone.add(rank)
        self._deaths.kill(rank)
        self._held.pop(rank, None)
        self._outgoing.give_up(rank)
        self._incoming.give_up(rank)
        self._pieces.give_up(rank)
        self._neighbours.pop(rank, None)
        if self.interrupts:
            self._gangs.give_up(rank)

    @property
    def interrupts(self) -> bool:
        """Whether members of a gang who wait in MPI for a dead one come out with an error."""
        return _ULFM and self.survives

    @property
    def unsent(self) -> bool:
        """Whether sends are under way."""
        return bool(self._outgoing) or bool(self._to_self)

    @property
    def streams(self) -> bool:
        """Whether pieces of parcels are still to be sent."""
        return self._pieces.sending

    def drain(self) -> None:
        """Drop the parcels which come, and cut those short which go: the run ends."""
        self._pieces.drain()

    def close(self) -> None:
        """Complete the sends, and finalise MPI unless that is the user's.

        After a death MPI is just left: Finalize would wait for the dead.
        """
        while self._outgoing:
            self.wakes()
            for rank in list(self.lost):
                self.give_up(rank)
            self._outgoing.push()
        if self.gone:
            return
        with suppress(*[MPI.Exception] * self.survives):  # somebody may die just now
            self._pieces.close()
            self._world.Free()
            if self._finalizes:
                MPI.Finalize()

    def abort(self, exit_code: int) -> NoReturn:
        """End all ranks of the world at once."""
        tell_launcher(OVER)
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

        By Create_group, which needs 20 µs; where ranks may die as in `gangs`.

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
            if self.interrupts:
                tag = f"mpipool-{serial}"
                make = partial(MPI.Intracomm.Create_from_group, members, tag)
                made = self._gangs.base(ranks, make).Dup()
            else:
                made = MPI.COMM_WORLD.Create_group(members, serial % _TAGS)
        finally:
            members.Free()
            everybody.Free()
        made.Set_errhandler(MPI.ERRORS_RETURN)
        adopted: MPI.Intracomm = self._communicators.adopt(made)
        return adopted

    def _wake(self, peer: Rank) -> None:
        if peer in self._neighbours:
            self._neighbours[peer].wake()


def _passes_through(message: Message) -> bool:
    """Whether the receiver passes on what comes to a process, and does not need it itself."""
    if isinstance(message, RunTasks):
        return not message.cores  # each member of a gang needs the item
    return isinstance(message, Fetched) and not message.copies
