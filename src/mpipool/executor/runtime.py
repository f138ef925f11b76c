"""The executor: takes chunks of tasks from its agent, runs them, sends the outcomes back.

While the running task waits for a scatter, other chunks are sent back, for another process of the
rank; but those whose caches are in this process run at once, on top of the task that waits.

What a task has changed is undone, and what it has started is ended. Where that can't be done, the
process leaves as soon as no task needs it: it is replaced.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from array import array
from collections.abc import Iterator
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
from mpipool.executor.limits import hold_to, memory_in_use, note_beginning
from mpipool.executor.pickling import Pieces
from mpipool.executor.post import Post
from mpipool.executor.progress import Progress
from mpipool.executor.remains import Remains
from mpipool.executor.running import caches, keepers, running
from mpipool.executor.surroundings import NOTICEABLE
from mpipool.executor.threads import begin, threads_in_use, use_threads
from mpipool.executor.tidying import Tidying
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
    began: tuple[float, float] = (0.0, 0.0)
    """When the running task began: seconds since the epoch, and monotonic ones."""
    seen: int = 0
    """The settings were looked at after all tasks in front of this one."""
    changed: bool = False
    """Whether a task has changed one."""
    wary: bool = False
    """Whether to look after each."""


class Leaving(Exception):
    """This process is not fit for further tasks."""


class Executor:
    """Runs tasks in this process.

    Parameters
    ----------
    channel : BlockingChannel
        To the agent.
    progress : Progress
        Where it says what it runs.
    remains : Remains, optional
        What tasks leave behind; None if the process is not only theirs.
    """

    streams = True
    """Whether large results go on to other processes piece by piece."""

    def __init__(
        self, channel: BlockingChannel, progress: Progress, remains: Remains | None = None
    ) -> None:
        self._channel = channel
        self._progress = progress
        self._functions: dict[bytes, Function] = {}
        self._tidying = Tidying(remains)
        keepers[:] = [self._tidying.keep]
        self._current: Current | None = None
        self._attempts = Attempts(self._begins, progress.says)
        self._held: int | None = None
        """MiB which the tasks below the running one may use, if there are some."""

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
                self._functions[digest] = Function(
                    memoryview(shared), memoryview(function), self._tidying.keep
                )
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
        if self._provide(function.shared.get("threads", 1), chunk):
            self._tidying.keep_settings()
        current = Current(chunk, chunk.first + chunk.count, Batch(chunk.first), chunk.first)
        current.wary = function.wary
        self._current = current
        self._attempts.begin_chunk()
        items = list(_items(chunk, 0))
        while current.task < current.end:
            wall = self._run(current, function, items[current.task - chunk.first])
            self._tidying.after_task(function, wall)
            if self._may_go_on(current, wall) or not self._repeats(current, wall):
                current.task += 1
        if current.batch.count:
            self._send(current, back=0)
        self._current = None
        changed = self._tidying.look()  # while the outcome is on its way
        function.wary = changed or current.changed
        self._leave_if_spoiled(function)

    def _may_go_on(self, current: Current, wall: float) -> bool:
        """Whether the next task may begin at once: nothing is due after this one."""
        batch = current.batch
        return (
            wall <= NOTICEABLE
            and batch.busy <= FLUSH
            and not (batch.failures or batch.large or current.wary or self._tidying.spoiled)
            and current.task + 1 < current.end
        )

    def _repeats(self, current: Current, wall: float) -> bool:
        """Do what is due after a task; go back if short ones may have seen a changed setting.

        Tasks that take some time are looked at one by one. Short ones are looked at together,
        before they are reported: if one of them has changed a setting, all are run again, and this
        time it is undone after each.
        """
        batch, following = current.batch, current.task + 1
        unseen = following - max(batch.first, current.seen)
        if following < current.end or unseen > 1:  # the last one is looked at after it was sent
            changed = self._tidying.look()
            current.seen = following
            current.changed |= changed
            alone = unseen == 1 or wall > LONG
            if changed and not (alone or batch.cached or self._tidying.spoiled):
                current.task = current.seen = batch.first
                current.wary = True
                batch.begin(batch.first)
                return True
        self._send_some(current, wall)
        return False

    def _provide(self, threads: int, chunk: RunTasks) -> bool:
        """Set what the tasks of a chunk may use; return whether this has changed anything."""
        memory = chunk.memory
        if self._held is not None:
            memory = memory and self._held and memory + self._held
        return use_threads(threads, parse(chunk.cpus)) | hold_to(memory)

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
        """Send outcomes once there is some work in them, if the chunk goes on.

        A failure goes at once, so that what the process has said last belongs to it.
        """
        batch, spoiled, following = current.batch, self._tidying.spoiled, current.task + 1
        due = batch.busy > FLUSH or batch.large or batch.failures or spoiled
        if due and following < current.end:
            back = current.end - following if wall > LONG or spoiled else 0
            self._send(current, back)
            current.end -= back
            batch.begin(following)

    # --- how this process ends -------------------------------------------------------------------

    def _leave_if_spoiled(self, function: Function) -> None:
        if spoiled := self._tidying.leaves:
            self._progress.says(f"{function.name}: {spoiled}", leaves=True)
            raise Leaving

    def lose_channel(self) -> None:
        """Take in that nothing comes any more, be it that a task has closed the channel."""
        if not self._tidying.has_channel:
            self.blame("after it had closed the descriptor by which it is led")

    def blame(self, what: str) -> None:
        """Say that the task which ran last has made the process end.

        If others have no outcome yet, it may have been one of them: all are run again.
        """
        current = self._current
        if current and current.batch.first >= min(current.task, current.end - 1):
            self._begins(current.chunk, current.batch.first, current.began)
            self._progress.says(what)
        else:
            self._progress.rests()

    # --- tasks on top of one that waits ----------------------------------------------------------

    def _run_on_top(self, chunk: RunTasks) -> None:
        """Run a chunk while the task below it waits for a scatter."""
        below, said = self._current, running.put_aside()
        threads, memory, held = threads_in_use(), memory_in_use(), self._held
        self._held = memory
        shared = self._functions[chunk.digest].shared
        with self._tidying.above():
            within = caller.inherit(shared, chunk.lease, chunk.scatter)
            self._run_chunk(chunk)
            self._held = held
            if use_threads(*threads) | hold_to(memory):
                self._tidying.keep_settings()
        self._current = below
        running.become(said)
        caller.go_back(within)
        if below:
            self._begins(below.chunk, below.task, below.began)

    def _begins(self, chunk: RunTasks, task: int, now: tuple[float, float]) -> None:
        if self._current:
            self._current.began = now
        self._progress.begins(chunk.lease, chunk.chunk, task, now)

    def _send(self, current: Current, back: int) -> None:
        large, chunk = current.batch.large, current.chunk
        report = current.batch.report(chunk, back)
        if not self._tidying.has_channel:
            raise WorldLost("the task has closed the channel")  # its number may be another's now
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
    begin()
    progress = Progress(page)
    note_beginning(progress.excuses)
    channel = BlockingChannel(end)
    executor = Executor(channel, progress, Remains(end.fileno()))
    calling = caller.Caller(channel, executor)
    caller.install(calling)
    try:
        executor.serve(calling.post)
    except Leaving:
        pass
    except WorldLost:
        executor.lose_channel()
    except BaseException as error:
        executor.blame(f"which could not go on as the task has left it ({error!r})")
        raise
    with contextlib.suppress(OSError, ValueError):  # they may be closed
        sys.stdout.flush()
