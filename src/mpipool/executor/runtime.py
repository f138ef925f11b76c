"""The executor: takes chunks of tasks from its agent, runs them, sends the outcomes back."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import signal
import socket
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final

from mpipool.checkpoint.results import publish_result
from mpipool.errors import WorldLost
from mpipool.executor import caller
from mpipool.executor.channel import BlockingChannel
from mpipool.executor.pickling import dump_exception, dump_result
from mpipool.executor.progress import Progress
from mpipool.executor.running import discard, running
from mpipool.messages import Define, Message, RunTasks, TasksDone
from mpipool.task import DONE, ENTRY, FAILED, KEPT_IN_RECORD, cut_key, dump_details

FLUSH: Final = 0.01
"""Seconds after which outcomes are sent although the chunk goes on."""
_HANDLED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals whose handlers a task may have changed."""
LONG: Final = 0.05
"""Seconds. After so long a task the rest of the chunk goes back: others may be free for it."""
METERED: Final = 0.001
"""Seconds. CPU time of shorter tasks is not read but taken to be their duration."""
MEASURED: Final = 0.01
"""Seconds. Peak memory is read after tasks that took longer; it costs 30 µs."""


class Function:
    """A function, and what all tasks of its scatter share."""

    def __init__(self, shared: memoryview, pickled: memoryview) -> None:
        self.shared: dict[str, Any] = json.loads(bytes(shared))
        self._pickled = pickled
        self._loaded: tuple[Callable[..., Any], Sequence[Any], dict[str, Any]] | None = None

    def load(self) -> tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]:
        """Return the function and its further arguments, unpickled once."""
        if self._loaded is None:
            for folder in self.shared["sys_path"]:
                if folder not in sys.path:
                    sys.path.append(folder)
            self._loaded = pickle.loads(self._pickled)
            self._pickled = memoryview(b"")
        assert self._loaded is not None
        return self._loaded


class Batch:
    """Outcomes which were not sent yet."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.begin(first)

    def begin(self, first: int) -> None:
        """Begin anew at task ``first``."""
        self.first, self.count, self.failures, self.busy = first, 0, 0, 0.0
        self.table, self.details, self.results = bytearray(), bytearray(), bytearray()

    def add(
        self, state: int, times: tuple[float, float, float, int], texts: bytes, result: bytes
    ) -> None:
        """Add one outcome; ``times`` are start, wall, CPU and peak memory."""
        self.table += ENTRY.pack(state, len(texts), *times, len(result))
        self.details += texts
        self.results += result
        self.count += 1
        self.failures += state != DONE
        self.busy += times[1]


class Executor:
    """Runs tasks in this process."""

    def __init__(self, channel: BlockingChannel, progress: Progress) -> None:
        self._channel = channel
        self._progress = progress
        self._functions: dict[bytes, Function] = {}
        self._home = _Surroundings()
        self._chunk: RunTasks | None = None
        self._batch = Batch(0)
        self._cpu = _CpuMeter()
        self._end = 0
        """Where the running chunk ends; moved forward when its rest is given back."""

    def serve(self) -> None:
        """Take messages until the agent is gone."""
        while True:
            message = self._channel.receive()
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
            case RunTasks():
                # It was sent before the agent knew that this process waits in a scatter.
                self._send(message, Batch(message.first), back=message.count)

    def before_waiting(self) -> None:
        """Send what is done, and give back what the running task would hold up."""
        chunk = self._chunk
        if chunk is None:
            return
        running_task = self._batch.first + self._batch.count
        back = self._end - running_task - 1
        if back or self._batch.count:
            self._send(chunk, self._batch, back)
            self._batch.begin(running_task)
        self._end = running_task + 1

    def _run_chunk(self, chunk: RunTasks) -> None:
        function = self._functions[chunk.digest]
        caller.inherit(function.shared, chunk.path)
        sizes, items = array("Q", bytes(chunk.parts[0])), memoryview(chunk.parts[1])
        self._chunk, self._end = chunk, chunk.first + chunk.count
        batch = self._batch
        batch.begin(chunk.first)
        self._cpu.begin()
        at, task = 0, chunk.first
        while task < self._end:
            size = sizes[task - chunk.first]
            wall = self._run(chunk, task, function, items[at : at + size])
            self._home.restore()
            at += size
            task += 1
            if batch.busy > FLUSH and task < self._end:
                back = self._end - task if wall > LONG else 0
                self._send(chunk, batch, back)
                self._end -= back
                batch.begin(task)
        self._chunk = None
        self._home.restore_the_rest()
        if batch.count:
            self._send(chunk, batch, back=0)

    def _run(self, chunk: RunTasks, task: int, function: Function, item: memoryview) -> float:
        """Run one task, add its outcome, and return how long it took in seconds."""
        key: dict[str, Any] = {}
        if function.shared["keyed"]:
            key, item = cut_key(item)
            key["attempt"] += chunk.attempt
        running.begin(function.shared["token"], key.get("attempt", chunk.attempt))
        started = time.time()
        self._progress.begins(chunk.chunk, task, started)
        clock = perf_counter()
        try:
            call, arguments, keywords = function.load()
            result = dump_result(call(pickle.loads(item), *arguments, **keywords))
            if key and len(result) > KEPT_IN_RECORD and function.shared["results"]:
                key["result_file"] = _keep_result(function.shared["results"], key, result)
            state, details = DONE, key
        except WorldLost:
            raise
        except BaseException as error:
            state, result, details = FAILED, dump_exception(error), key | _explain(error)
        wall = perf_counter() - clock
        self._progress.rests()
        peak = _peak_memory() if wall > MEASURED else 0
        times = (started, wall, self._cpu.used(wall), peak)
        if running.metrics:
            details = details | {"metrics": running.metrics}
        if state == DONE and running.outputs:
            details = details | {"outputs": running.outputs}
        elif running.outputs:
            discard(running.outputs)
        self._batch.add(state, times, dump_details(details) if details else b"", result)
        return wall

    def _send(self, chunk: RunTasks, batch: Batch, back: int) -> None:
        self._channel.send(
            TasksDone(
                lease=chunk.lease,
                chunk=chunk.chunk,
                scatter=chunk.scatter,
                first=batch.first,
                count=batch.count,
                back=back,
                failures=batch.failures,
                busy=batch.busy,
                leave=False,
                parts=(bytes(batch.table), bytes(batch.details), bytes(batch.results)),
            )
        )


class _CpuMeter:
    """CPU time of tasks. Reading it costs more than a no-op task, so short ones count as busy."""

    def __init__(self) -> None:
        self._accounted = 0.0

    def begin(self) -> None:
        """Begin to count."""
        self._accounted = thread_time()

    def used(self, wall: float) -> float:
        """Return the CPU seconds of a task which took ``wall`` seconds and has just ended."""
        if wall < METERED:
            self._accounted += wall
            return wall
        now = thread_time()
        used = max(now - self._accounted, 0.0)
        self._accounted = now
        return used


class _Surroundings:
    """What a task may change and the next one must find as it was."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._environment = dict(os.environ)
        # Behind the mapping, which decodes each name: 0.2 µs per task instead of 60.
        self._variables = os.environ._data  # type: ignore[attr-defined]
        self._initial = self._variables.copy()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._handlers = {number: signal.getsignal(number) for number in _HANDLED}

    def restore(self) -> None:
        """Undo changes of the working folder and the environment; 3 µs if there are none."""
        if self._variables != self._initial:
            os.environ.clear()
            os.environ.update(self._environment)
        try:
            moved = os.getcwd() != self._folder
        except FileNotFoundError:
            moved = True
        if moved:
            os.chdir(self._folder)

    def restore_the_rest(self) -> None:
        """Undo what is dearer to look at: umask, signal handlers, the state of random numbers."""
        os.umask(self._umask)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
        _reseed()


def _keep_result(folder: str, key: dict[str, Any], result: bytes) -> str:
    return publish_result(folder, f"{key['digest']}.{key['attempt']}", result)


def _explain(error: BaseException) -> dict[str, Any]:
    """Describe an exception for the record."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    try:
        message = str(error)
    except Exception as unprintable:
        message = f"(its message can't be shown: {unprintable!r})"
    return {"error": type(error).__name__, "message": message, "traceback": text}


def _peak_memory() -> int:
    """Return the peak resident memory (KiB) since the last call."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")  # begin anew for the next task
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0
    )


def _reseed() -> None:
    """Draw new random numbers: not those of the guard's other executors, nor of the last task."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def serve(end: socket.socket, page: int) -> None:
    """Be an executor on this socket until the agent is gone.

    Parameters
    ----------
    end : socket.socket
        This side of the channel.
    page : int
        Descriptor of the page of progress.
    """
    _reseed()
    channel = BlockingChannel(end)
    executor = Executor(channel, Progress(page))
    caller.install(caller.Caller(channel, executor))
    with contextlib.suppress(WorldLost):
        executor.serve()
    sys.stdout.flush()
