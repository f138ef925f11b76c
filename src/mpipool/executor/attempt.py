"""One attempt at one task: calls the user's function, and says what came of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from time import monotonic, thread_time
from typing import Any, Final, NamedTuple

from mpipool.checkpoint.results import publish_result
from mpipool.errors import RemoteTraceback, WorldLost
from mpipool.executor.caller import end_of_task
from mpipool.executor.function import Function
from mpipool.executor.handle import resolved
from mpipool.executor.limits import has_killed_below
from mpipool.executor.pickling import Pickled, as_raised, dump_exception, dump_result, loads
from mpipool.executor.running import caches, discard, running
from mpipool.messages import RunTasks
from mpipool.task import DONE, FAILED, KEPT_IN_RECORD, STARVED, cut_key, dump_details

METERED: Final = 0.001
"""Seconds. CPU time of shorter tasks is not read but taken to be their duration."""
MEASURED: Final = 0.01
"""Seconds. Peak memory is read after tasks that took longer; it costs 30 µs."""


class Result(NamedTuple):
    """What came of an attempt, as `Batch.add` takes it."""

    state: int
    times: tuple[float, float, float, int]
    """Start (s since the epoch), wall (s), CPU (s), peak memory (KiB)."""
    details: bytes
    result: Pickled
    """Pieces must be sent before the next task begins."""


class Attempts:
    """Makes attempts, and measures them.

    Parameters
    ----------
    begins : callable
        Told the chunk, the task and the time when one begins: s since the epoch, and monotonic.
    says : callable
        Leaves word of what the process is at, in case it ends there; empty takes that back.
    """

    def __init__(
        self,
        begins: Callable[[RunTasks, int, tuple[float, float]], None],
        says: Callable[[str], None],
    ) -> None:
        self._begins, self._says = begins, says
        self._meter = _CpuMeter()

    def begin_chunk(self) -> None:
        """Begin to count CPU time for a chunk."""
        self._meter.begin()

    def make(
        self,
        chunk: RunTasks,
        task: int,
        function: Function,
        item: memoryview,
        before: Callable[[], None] | None = None,
    ) -> Result:
        """Run one task, whatever it does short of ending the process.

        Parameters
        ----------
        chunk, task, function, item
            What to run.
        before : callable, optional
            Makes its cache again. If that fails, so does the task.
        """
        key: dict[str, Any] = {}
        if function.shared["keyed"]:
            key, item = cut_key(item)
            key["attempt"] += chunk.attempt
        started, clock = time.time(), monotonic()
        self._begins(chunk, task, (started, clock))
        try:
            if before:
                before()
            attempt = key.get("attempt", chunk.attempt)
            running.begin(function.shared["token"], attempt, chunk.scope, task)
            folder = function.shared["results"] if key else ""
            result: Pickled = dump_result(_call(function, item), in_band=bool(folder))
            if has_killed_below():
                raise MemoryError("a process which it had started was ended for want of memory")
            if folder and len(result) > KEPT_IN_RECORD:
                key["result_file"] = _keep_result(folder, key, bytes(result))
            state, details = DONE, key
        except WorldLost:
            raise
        except BaseException as raised:
            error = as_raised(raised) if function.shared.get("as_raised") else raised
            state = STARVED if has_killed_below() or _lacks_memory(error) else FAILED
            explained = _explain(error)
            result, details = self._dump_exception(error, explained), key | explained
        wall = monotonic() - clock
        peak = _peak_memory() if wall > MEASURED or state != DONE else 0
        times = (started, wall, self._meter.used(wall), peak)
        details = _with_what_it_said(state, details)
        return Result(state, times, dump_details(details) if details else b"", result)

    def _dump_exception(self, error: BaseException, explained: dict[str, Any]) -> bytes:
        """Pickle an exception, and load it on trial: code of the user's."""
        raised = f"{explained['error']}: {explained['message']}"
        self._says(f"while the exception that it had raised was pickled ({raised})")
        pickled = dump_exception(error)
        self._says("")
        return pickled


def rebuild(chunk: RunTasks, task: int, function: Function, item: memoryview) -> None:
    """Run an earlier call of a task again for its cache alone: what it puts out is dropped.

    Raises
    ------
    Exception
        What the function raised.
    """
    if function.shared["keyed"]:
        _, item = cut_key(item)
    running.begin(function.shared["token"], chunk.attempt, chunk.scope, task)
    try:
        _call(function, item)
    except BaseException:
        caches.get(chunk.scope, {}).pop(task, None)  # it is not whole
        raise
    finally:
        discard(running.outputs)


def _call(function: Function, item: memoryview) -> Any:
    call, arguments, keywords = function.load()
    try:
        # In a context of its own, which ends with it: decimal's and NumPy's settings are in there.
        context = copy_context()
        result = context.run(call, resolved(loads(item)), *arguments, **keywords)
    except BaseException:
        end_of_task(returned=False)
        raise
    end_of_task(returned=True)
    return result


def _with_what_it_said(state: int, details: dict[str, Any]) -> dict[str, Any]:
    """Add what the task recorded and wants published, which is dropped if it failed."""
    if running.metrics:
        details = details | {"metrics": running.metrics}
    if state == DONE and running.outputs:
        details = details | {"outputs": running.outputs}
    elif running.outputs:
        discard(running.outputs)
    return details


def _keep_result(folder: str, key: dict[str, Any], result: bytes) -> str:
    return publish_result(folder, f"{key['digest']}.{key['attempt']}", result)


def _lacks_memory(error: BaseException) -> bool:
    """Whether it was this task that lacked memory, and not one which it had scattered."""
    return isinstance(error, MemoryError) and not isinstance(error.__cause__, RemoteTraceback)


def _explain(error: BaseException) -> dict[str, Any]:
    """Describe an exception for the record."""
    frames = error.__traceback__
    for _ in range(2):  # ours
        frames = frames.tb_next if frames else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    try:
        message = str(error)
    except Exception as unprintable:
        message = f"(its message can't be shown: {unprintable!r})"
    return {"error": type(error).__name__, "message": message, "traceback": text}


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
