"""The executor within a rank's own process: runs one task of a gang at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpipool.executor import caller, progress
from mpipool.executor.channel import BlockingChannel
from mpipool.executor.cores import parse
from mpipool.executor.environment import CPUS
from mpipool.executor.function import Function, Loaded
from mpipool.executor.progress import Progress
from mpipool.executor.running import caches
from mpipool.executor.runtime import Executor
from mpipool.messages import RunTasks

Join = Callable[[], Any]
"""Makes the gang's communicator."""


class Seated(Executor):
    """Runs tasks in the main thread of a rank.

    Parameters
    ----------
    channel : BlockingChannel
        To the agent of the same process.
    """

    streams = False  # what a gang returns its first member's agent has to join

    def __init__(self, channel: BlockingChannel) -> None:
        self._cpus = parse(os.environ.get(CPUS, "")) or os.sched_getaffinity(0)
        with self._pinned():
            super().__init__(channel, Progress(progress.make()))
        self._caller = caller.Caller(channel, self)
        caller.install(self._caller)

    def run(self, join: Join) -> None:
        """Take messages until a task has come and has ended.

        Raises
        ------
        WorldLost
            If the run ends meanwhile.
        """
        while not isinstance(message := self._caller.post.next_for_executor(), RunTasks):
            self.take(message)
        function = self._functions[message.digest]
        part = _Part(function, join, self._caller)
        self._functions[message.digest] = part
        try:
            with self._pinned():
                self._run_chunk(message)
        finally:
            self._functions[message.digest] = function
            caches.clear()  # they would stay for ever: nobody can be sent to them again
            part.leave()

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        """Keep this thread, and those which it starts meanwhile, to the CPUs of the rank."""
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cpus)
        try:
            yield
        finally:
            os.sched_setaffinity(0, everywhere)


class _Part(Function):
    """A member's part in a call: the function, with a communicator.

    That is made before anything which may fail in one member alone: the others would wait for it
    where nothing can interrupt them.
    """

    def __init__(self, function: Function, join: Join, calling: caller.Caller) -> None:
        self.shared, self.wary = function.shared, False
        self._function = function
        self._join = join
        self._caller = calling

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._function.name

    def load(self) -> Loaded:
        """Join the gang, then load the function; only the first member's result counts."""
        communicator = self._caller.comm = self._join()
        call, arguments, keywords = self._function.load()
        if communicator.Get_rank():
            return _Silent(call), arguments, keywords
        return call, arguments, keywords

    def leave(self) -> None:
        """Free the communicator; MPICH can have no more than 2046 at a time."""
        communicator, self._caller.comm = self._caller.comm, None
        if communicator:  # neither None nor freed already
            communicator.Free()


class _Silent:
    """Calls a function and drops what it returns."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any, **keywords: Any) -> None:
        self._call(*arguments, **keywords)
