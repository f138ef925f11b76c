"""User code in the rank's own process: the tasks of gangs, which need its MPI.

Theory of operation. The agent's loop finds that a gang enters, and steps aside into a thread of its
own; `Inline.run` has the main thread until the task has ended. To the agent it is one more
executor, at the other end of a socketpair within the process; to the task it is what any executor
is, with a communicator besides. There is nothing to see of it before the first gang.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mpipool.errors import WorldLost
from mpipool.executor.channel import BlockingChannel, Channel, socketpair
from mpipool.executor.process import Listener
from mpipool.executor.watch import Watch
from mpipool.ids import HERE, GangId
from mpipool.messages import Message, RunTasks

if TYPE_CHECKING:
    from mpipool.executor.seated import Seated  # it imports what user code needs

NEEDS_THREADS: Final = (
    "tasks with ranks= need an MPI with MPI_THREAD_MULTIPLE, since mpipool goes on beside them; "
    "this one does not offer it"
)

Communicators = Callable[[Sequence[int], int], Any]
"""Makes a communicator of some ranks, each of which calls it, given a number of the occasion."""


class Inline:
    """The rank's own process as a place for tasks; see the module's docstring.

    Parameters
    ----------
    watch : Watch
        The descriptors of the agent's loop.
    listener : Listener
        Who hears what the task says.
    communicators : callable
        Makes communicators.
    allowed : bool
        Whether MPI may be used by two threads.
    environment : mapping
        The variables which user code is to see.

    Attributes
    ----------
    refusal : str
        Why there can't be gangs here; empty if there can.
    due : bool
        Whether a task waits for the main thread, or has it.
    joined : bool
        Whether it has got its communicator, or learnt that it will not.
    """

    def __init__(
        self,
        watch: Watch,
        listener: Listener,
        communicators: Communicators,
        allowed: bool,
        environment: Mapping[str, str],
    ) -> None:
        self.refusal = "" if allowed else NEEDS_THREADS
        self.due = self.joined = False
        self._watch = watch
        self._listener = listener
        self._communicators = communicators
        self._environment = environment
        self._occasion: tuple[Sequence[int], GangId] = ((), GangId(0))
        self._channel: Channel | None = None
        self._closed = False
        self._seated: Seated | None = None

    # --- for the agent, in whichever thread its loop is ------------------------------------------

    def send(self, message: Message) -> None:
        """Send a message to the task, or to what is between tasks."""
        if not self._closed:
            self._watch.send(self._open(), message)

    def enter(self, gang: GangId, ranks: Sequence[int], chunk: RunTasks) -> None:
        """Have the main thread run a chunk of one task.

        Parameters
        ----------
        gang : GangId
            Names the occasion.
        ranks : sequence of int
            The members of the communicator.
        chunk : RunTasks
            The task; its function was sent before.
        """
        self._occasion, self.joined = (ranks, gang), False
        self.send(chunk)
        self.due = True

    def close(self) -> None:
        """Close the channel: a task that waits for something learns that nothing will come."""
        self._closed = True
        if self._channel:
            self._watch.drop(self._channel.fileno())
            self._channel.close()

    def _open(self) -> Channel:
        if self._channel is None:
            ours, theirs = socketpair()
            self._channel = Channel(ours)
            self._theirs = theirs
            self._watch.add(ours.fileno(), self._read)
        return self._channel

    def _read(self) -> None:
        assert self._channel
        messages, alive = self._channel.read()
        if not alive:
            self._watch.drop(self._channel.fileno())
        for message in messages:
            self._listener.heard(HERE, message)

    # --- for the main thread ---------------------------------------------------------------------

    def run(self) -> None:
        """Run the task that is due."""
        if self._seated is None:
            self._seated = self._sit_down()
        with contextlib.suppress(WorldLost):  # the run ends
            self._seated.run(self._join)
        self.due = False

    def _join(self) -> Any:
        try:
            return self._communicators(*self._occasion)
        finally:
            self.joined = True

    def _sit_down(self) -> Seated:
        """Make the process fit for user code, as a guard does it for those which it forks."""
        for name in set(os.environ) - set(self._environment):
            del os.environ[name]
        os.environ.update(self._environment)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)
        from mpipool.executor.seated import Seated

        return Seated(BlockingChannel(self._theirs))
