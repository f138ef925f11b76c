"""One communicator, whose calls survive the death of a rank.

Nothing here waits. What can't be done as a rank is dead is never done: the rank is noted, and
whoever is told of it gives up what it had to do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mpipool.ids import Rank

Arrived = tuple[Any, Rank, int, int]
"""A matched message, its sender, its tag and its size."""
NEVER: Final = None
"""The request of what could not be begun."""


class Wire:
    """A communicator; see the module's docstring.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm
        Used for nothing else.
    mpi : module
        ``mpi4py.MPI``.
    on_death : callable
        Told what MPI has raised, and which rank it was about, or None; it raises what it can't
        take for a death.
    """

    def __init__(
        self, communicator: Any, mpi: Any, on_death: Callable[[Exception, Rank | None], None]
    ) -> None:
        self.communicator = communicator
        self._byte, self._any = mpi.BYTE, (mpi.ANY_SOURCE, mpi.ANY_TAG)
        self._status = mpi.Status()
        self._error: type[Exception] = mpi.Exception
        self._on_death = on_death
        self._dead: set[Rank] = set()
        """What fails once may seem to be complete when it is asked for again."""
        self._leaked: list[tuple[Any, Any]] = []
        """MPI may look at the memory of what was never completed."""

    def send(self, piece: Any, to: Rank, tag: int) -> Any:
        """Begin to send bytes, which stay where they are; return the request."""
        try:
            return self.communicator.Isend([piece, self._byte], to, tag)
        except self._error as error:
            return self._fail(error, to)

    def receive(self, room: Any, sender: Rank, tag: int) -> Any:
        """Begin to receive bytes from a rank; return the request."""
        try:
            return self.communicator.Irecv([room, self._byte], sender, tag)
        except self._error as error:
            return self._fail(error, sender)

    def probe(self) -> Arrived | None:
        """Match the next message from anybody."""
        status = self._status
        try:
            message = self.communicator.Improbe(*self._any, status)
        except self._error as error:
            self._on_death(error, None)
            return None
        if message is None:
            return None
        size = status.Get_count(self._byte)
        return message, Rank(status.Get_source()), status.Get_tag(), size

    def receive_probed(self, message: Any, room: Any, sender: Rank) -> Any:
        """Begin to receive what `probe` has matched; return the request."""
        try:
            return message.Irecv([room, self._byte])
        except self._error as error:
            return self._fail(error, sender)

    def is_quiet(self) -> bool:
        """Whether nothing is there to be matched."""
        try:
            return not self.communicator.Iprobe(*self._any)
        except self._error as error:
            self._on_death(error, None)
            return False

    def is_done(self, request: Any, peer: Rank) -> bool:
        """Whether a request is complete."""
        try:
            return request is not NEVER and peer not in self._dead and request.Test()
        except self._error as error:
            self._fail(error, peer)
            return False

    def received(self, request: Any, peer: Rank) -> int | None:
        """Return how many bytes a complete request has received; None if it is not complete."""
        if request is NEVER or peer in self._dead:
            return None
        try:
            there = request.Test(self._status)
        except self._error as error:
            self._fail(error, peer)
            return None
        return int(self._status.Get_count(self._byte)) if there else None

    def cancel(self, request: Any) -> bool:
        """Try to take a receive back; return whether nothing comes of it any more."""
        if request is NEVER:
            return True
        try:
            request.Cancel()
            return bool(request.Test())
        except self._error:
            return True  # it has failed: its sender is dead

    def _fail(self, error: Exception, peer: Rank) -> None:
        self._on_death(error, peer)
        self._dead.add(peer)
        return NEVER

    def leak(self, request: Any, memory: Any) -> None:
        """Keep for ever what is never completed: MPI may look at it at any time."""
        self._leaked.append((request, memory))
