"""The executor: takes chunks of tasks from its agent, runs them, sends the outcomes back.

While the running task waits for a scatter, other chunks are sent back, for another process of the
rank; but those whose caches are in this process run at once, on top of the task that waits.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from array import array
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Final

from mpipool.errors import WorldLost
from mpipool.executor import caller
from mpipool.executor.attempt import Attempts, rebuild
from mpipool.executor.batch import Batch
from mpipool.executor.channel import BlockingChannel
from mpipool.executor.cores import parse
from mpipool.executor.function import Function
from mpipool.executor.pickling import Pieces
from mpipool.executor.post import Post
from mpipool.executor.progress import Progress
from mpipool.executor.running import caches, running
from mpipool.executor.surroundings import Surroundings, reseed
from mpipool.executor.threads import begin, threads_in_use, use_threads
from mpipool.ids import ANY_EXECUTOR
from mpipool.messages import PARCEL, Ahead, Define, Forget, Message, RunTasks
from mpipool.task import DIGEST

FLUSH: Final = 0.01
"""Seconds after which outcomes are sent although the chunk goes on."""
LONG: Final = 0.05
"""Seconds. After so long a task the rest of the chunk goes back: others may be free for it."""


@dataclass(slots=True)
class Current:
    """The chunk that is being run."""

    chunk: RunTasks
    end: int
    """Where it ends; moved forward when its rest is given back."""
    batch: Batch
    task: int
    began: float = 0.0
    """When the running task began, seconds since the epoch."""


class Executor:
    """Runs tasks in this process."""

    streams = True
    """Whether large results go on to other processes piece by piece."""

    def __init__(self, channel: BlockingChannel, progress: Progress) -> None:
        self._channel = channel
        self._progress = progress
        self._functions: dict[bytes, Function] = {}
        self._home = Surroundings()
        self._current: Current | None = None
        self._attempts = Attempts(self._begins)

    def serve(self, post: Post) -> None:
        """Take messages until the agent is gone."""
        while True:
            message = post.next_for_executor()
            match message:
                case RunTasks():
                    self._run_chunk(message)
                case _:
                    self.take(message)

    def take(self, message: Message) -> None:
        """Take a message which may come at any time, also while a task waits for results."""
        match message:
            case Define(digest=digest, forget=True):
                self._functions.pop(digest, None)
            case Define(digest=digest, parts=(shared, function)):
                self._functions[digest] = Function(memoryview(shared), memoryview(function))
            case Forget(scope=scope):
                caches.pop(scope, None)
            case RunTasks(executor=executor) if executor != ANY_EXECUTOR:
                self._run_on_top(message)
            case RunTasks():
                # It was sent before the agent knew that this process waits in a scatter.
                self._channel.send(Batch(message.first).report(message, back=message.count))

    def before_waiting(self) -> None:
        """Send what is done, and give back what the running task would hold up."""
        current = self._current
        if current is None:
            return
        back = current.end - current.task - 1
        if back or current.batch.count:
            self._send(current, back)
            current.batch.begin(current.task)
        current.end = current.task + 1

    # --- chunks ----------------------------------------------------------------------------------

    def _run_chunk(self, chunk: RunTasks) -> None:
        function = self._functions[chunk.digest]
        caller.inherit(function.shared, chunk.lease, chunk.scatter)
        if use_threads(function.shared.get("threads", 1), parse(chunk.cpus)):
            self._home.take_over()
        current = Current(chunk, chunk.first + chunk.count, Batch(chunk.first), chunk.first)
        self._current = current
        self._attempts.begin_chunk()
        items = _items(chunk, 0)
        for task in range(chunk.first, current.end):
            if task >= current.end:
                break  # it was given back
            current.task = task
            wall = self._run(current, function, next(items))
            self._home.restore()
            self._send_some(current, wall)
        self._current = None
        if current.batch.count:
            self._send(current, back=0)
        self._home.restore_the_rest()  # while the outcome is on its way

    def _run(self, current: Current, function: Function, item: memoryview) -> float:
        """Run one task, add its outcome, and return how long it took in seconds."""
        chunk, task = current.chunk, current.task
        before = partial(self._rebuild, chunk, task) if chunk.lineage else None
        result = self._attempts.make(chunk, task, function, item, before)
        self._progress.rests()
        if isinstance(result.result, Pieces) and current.batch.count:
            self._send(current, back=0)
            current.batch.begin(task)
        current.batch.add(*result)
        made = chunk.lineage and task in caches.get(chunk.scope, ())
        if running.touched or made:
            current.batch.cached.append(task)
        return result.times[1]

    def _rebuild(self, chunk: RunTasks, task: int) -> None:
        """Make the cache of a task again by running its earlier calls."""
        for level in range(len(chunk.lineage) // DIGEST):
            digest = chunk.lineage[level * DIGEST : (level + 1) * DIGEST]
            item = list(_items(chunk, level + 1))[task - chunk.first]
            if len(item):  # or this call has left nothing
                rebuild(chunk, task, self._functions[digest], item)

    def _send_some(self, current: Current, wall: float) -> None:
        """Send outcomes once there is some work in them, if the chunk goes on."""
        following = current.task + 1
        due = current.batch.busy > FLUSH or current.batch.large
        if due and following < current.end:
            back = current.end - following if wall > LONG else 0
            self._send(current, back)
            current.end -= back
            current.batch.begin(following)

    def _run_on_top(self, chunk: RunTasks) -> None:
        """Run a chunk while the task below it waits for a scatter."""
        below, said, threads = self._current, copy(running), threads_in_use()
        here = Surroundings()
        self._home.restore()
        shared = self._functions[chunk.digest].shared
        within = caller.inherit(shared, chunk.lease, chunk.scatter)
        self._run_chunk(chunk)
        if use_threads(*threads):
            self._home.take_over()
        here.restore()
        here.restore_the_rest()
        self._current = below
        running.become(said)
        caller.go_back(within)
        if below:
            self._begins(below.chunk, below.task, below.began)

    def _begins(self, chunk: RunTasks, task: int, now: float) -> None:
        if self._current:
            self._current.began = now
        self._progress.begins(chunk.lease, chunk.chunk, task, now)

    def _send(self, current: Current, back: int) -> None:
        large, chunk = current.batch.large, current.chunk
        report = current.batch.report(chunk, back)
        if large is None:
            self._channel.send(report)
        elif len(large) < PARCEL or not self.streams or self._keeps(chunk):
            self._channel.send(report, large.buffers)
        else:
            ahead = Ahead(lease=chunk.lease, chunk=chunk.chunk, scatter=chunk.scatter)
            self._channel.send_parcel(ahead, report, large.buffers)

    def _keeps(self, chunk: RunTasks) -> bool:
        """Whether the results of a chunk stay with the agent."""
        return bool(self._functions[chunk.digest].shared.get("keep"))


def _items(chunk: RunTasks, level: int) -> Iterator[memoryview]:
    """Yield the items of a chunk (level 0), or of an earlier call of its tasks."""
    sizes, items = chunk.parts[2 * level : 2 * level + 2]
    packed, at = memoryview(items), 0
    for size in array("Q", bytes(sizes)):
        yield packed[at : at + size]
        at += size


def serve(end: socket.socket, page: int) -> None:
    """Be an executor on this socket until the agent is gone.

    Parameters
    ----------
    end : socket.socket
        This side of the channel.
    page : int
        Descriptor of the page of progress.
    """
    reseed()
    begin()
    channel = BlockingChannel(end)
    executor = Executor(channel, Progress(page))
    calling = caller.Caller(channel, executor)
    caller.install(calling)
    with contextlib.suppress(WorldLost):
        executor.serve(calling.post)
    sys.stdout.flush()
