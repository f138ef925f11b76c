"""Data which stay where they were made: results that were kept, and what contexts store.

Each lies with the agent of one rank, its *home*, as the bytes that somebody pickled. Who needs it
asks its own agent, which asks the home: rank to rank, on demand, never by way of rank 0. Stored
values leave a copy on each rank that has asked for them, so that they go there once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from mpipool.ids import DataId, ExecutorId, Rank, data_id, home_of
from mpipool.messages import PARCEL, Buffer, Fetch, Fetched, Keep, Message, Release, parcels_in
from mpipool.transport import Transport

Asker = tuple[ExecutorId, int]
"""A process of this rank, and the number of its request."""


class Keeping:
    """The data which one rank keeps, and its requests for those of others.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    to_caller : callable
        Sends a message to a process of this rank.
    """

    def __init__(
        self, transport: Transport, to_caller: Callable[[ExecutorId, Message], None]
    ) -> None:
        self._transport = transport
        self._to_caller = to_caller
        self._kept: dict[DataId, Buffer] = {}
        self._copies: dict[DataId, set[Rank]] = {}
        """The ranks which have a copy of what is at home here."""
        self._asked: dict[DataId, tuple[bool, list[Asker]]] = {}
        """Whether a copy of what was asked for stays here, and who waits for it."""
        self._serial = 0

    def __len__(self) -> int:
        return len(self._kept)

    # --- from the processes of this rank ---------------------------------------------------------

    def keep(self, data: Buffer) -> DataId:
        """Keep data, and return by which id they are known everywhere."""
        self._serial += 1
        kept = data_id(self._transport.rank, self._serial)
        # A copy, or it would hold on to the message around it; a long one is nearly all of that.
        self._kept[kept] = data if len(data) >= PARCEL else bytes(data)
        return kept

    def store(self, executor: ExecutorId, keep: Keep) -> None:
        """Keep what a process wants kept, and tell it the id."""
        data = self.keep(keep.parts[0])
        self._to_caller(executor, Fetched(request=keep.request, data=data))

    def fetch(self, executor: ExecutorId, fetch: Fetch) -> None:
        """Get data for a process of this rank."""
        asker = (executor, fetch.request)
        home = home_of(fetch.data)
        if fetch.data in self._kept or home in {self._transport.rank, *self._transport.gone}:
            self._answer(fetch.data, [asker])
        elif fetch.data in self._asked:
            self._asked[fetch.data][1].append(asker)
        else:
            self._asked[fetch.data] = (fetch.copies, [asker])
            self._transport.send(home, fetch)

    def lose(self, rank: Rank) -> None:
        """Tell who waits for data of a rank which is gone that they are too."""
        for data in [data for data in self._asked if home_of(data) == rank]:
            self._answer(data, self._asked.pop(data)[1])
        for ranks in self._copies.values():
            ranks.discard(rank)

    def release(self, data: Iterable[DataId]) -> None:
        """Let data go, wherever they are."""
        homes: dict[Rank, list[DataId]] = {}
        for released in data:
            homes.setdefault(home_of(released), []).append(released)
        for home, theirs in homes.items():
            self._transport.send(home, Release(data=tuple(theirs)))

    # --- from other ranks ------------------------------------------------------------------------

    def asked(self, rank: Rank, fetch: Fetch) -> None:
        """Send what another rank needs."""
        if fetch.copies and fetch.data in self._kept:
            self._copies.setdefault(fetch.data, set()).add(rank)
        found = self._found(fetch.data, fetch.request)
        self._transport.send(rank, replace(found, copies=fetch.copies))

    def fetched(self, fetched: Fetched) -> None:
        """Pass on what has come from its home."""
        if fetched.data not in self._asked:
            return  # its home was lost meanwhile
        copies, askers = self._asked.pop(fetched.data)
        if parcels_in(fetched):  # it passes through; who asked meanwhile asks again
            (executor, request), *others = askers
            self._to_caller(executor, replace(fetched, request=request))
            for executor, request in others:
                again = Fetch(request=request, data=fetched.data, copies=copies)
                self.fetch(executor, again)
            return
        if fetched.parts:
            self._kept[fetched.data] = fetched.parts[0]
        self._answer(fetched.data, askers)
        if not copies:
            self._kept.pop(fetched.data, None)

    def released(self, release: Release) -> None:
        """Drop data, here and where there are copies of them."""
        for data in release.data:
            self._kept.pop(data, None)
            for rank in self._copies.pop(data, ()):
                self._transport.send(rank, Release(data=(data,)))

    def _answer(self, data: DataId, askers: list[Asker]) -> None:
        for executor, request in askers:
            self._to_caller(executor, self._found(data, request))

    def _found(self, data: DataId, request: int) -> Fetched:
        parts = (self._kept[data],) if data in self._kept else ()
        return Fetched(request=request, data=data, parts=parts)
