"""How much memory the executors of a rank use, and which of them must be ended for it.

What counts is the resident memory of a process and of all that it has started. It is looked at 20
times a second, from a file that is kept open (2 µs a process); descendants are looked for twice a
second, and shared pages told apart only when the sum is too large: that takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from mpipool.executor.leaf import Leaf
from mpipool.executor.scarcity import Scarcity
from mpipool.ids import ExecutorId

SELDOM: Final = 0.5
"""Seconds between two looks for descendants, and at the node."""
MIB: Final = 1 << 20
_BEYOND: Final = "it used more than its memory= of {} MiB"
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Excess(NamedTuple):
    """One process that must be ended."""

    executor: ExecutorId
    reason: str


@dataclass(slots=True)
class Gauge:
    """One executor's memory."""

    pid: int
    statm: int
    """Descriptor; -1 if the process is gone."""
    leaf: Leaf
    excused: Callable[[], int]
    """Tells how many of the kernel's kills in its group were of tasks that are over."""
    task: object = None
    """What was running when it was looked at last."""
    peak: int = 0
    """Bytes which that was seen to use."""
    below: dict[int, int] = field(default_factory=dict)
    """Bytes by the pids of descendants."""

    def read(self) -> tuple[int, int]:
        """Return the bytes of the process, and with those of its descendants, as last seen."""
        try:
            resident = int(os.pread(self.statm, 128, 0).split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0, 0
        return resident, resident + sum(self.below.values())

    def look_below(self) -> None:
        """Look for descendants."""
        self.below = {pid: _resident(pid) for pid in _descendants(self.pid)}

    def has_kills(self) -> bool:
        """Whether the kernel has ended something in its group for the task that runs.

        A task may have begun and been the cause of that before it was looked at: so what the
        process itself says counts, not what was there at the first look.
        """
        kills = self.leaf.kills  # read first: the other number follows it
        return kills > self.excused()

    def exact(self) -> int:
        """Return the bytes of all of them, each page counted once."""
        return sum(map(_proportional, (self.pid, *self.below)))


class Memory:
    """The memory of the executors of a rank; see the module's docstring.

    Parameters
    ----------
    group : str
        The folder in which executors make control groups; empty if there is none.
    scarcity : Scarcity, optional
        Tells whether the node has any memory left.
    """

    def __init__(self, group: str = "", scarcity: Scarcity | None = None) -> None:
        self._group = group
        self._scarcity = scarcity or Scarcity()
        self._gauges: dict[ExecutorId, Gauge] = {}
        self._limits: dict[ExecutorId, int] = {}
        self._left: list[Leaf] = []
        """Groups which could not be removed yet."""
        self._seldom = -inf

    def begin(self, executor: ExecutorId, pid: int, excused: Callable[[], int] = int) -> None:
        """Note the process of an executor; see `Gauge.excused`."""
        statm = -1
        with contextlib.suppress(OSError):
            statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._gauges[executor] = Gauge(pid, statm, Leaf.below(self._group, pid), excused)

    def hold(self, executor: ExecutorId, limit: int) -> None:
        """Let an executor use so many MiB; 0 for any amount."""
        self._limits[executor] = limit

    def limit(self, executor: ExecutorId) -> int:
        """Return how many MiB an executor may use; 0 for any amount."""
        return self._limits.get(executor, 0)

    def look(
        self,
        busy: Iterable[ExecutorId],
        running: Callable[[ExecutorId], object],
        now: float,
    ) -> Iterator[Excess]:
        """Look at the executors with work; yield those that must be ended.

        Parameters
        ----------
        busy : iterable of ExecutorId
            Those with work.
        running : callable
            Tells tasks of an executor apart: the peak is each one's own.
        now : float
            Monotonic seconds.
        """
        seldom = now - self._seldom > SELDOM
        if seldom:
            self._seldom = now
            self._left = [leaf for leaf in self._left if not leaf.remove()]
        gauges = {executor: self._gauges[executor] for executor in busy if executor in self._gauges}
        for executor, gauge in gauges.items():
            if seldom:
                gauge.look_below()
            reason = self._judge(gauge, running(executor), self.limit(executor), seldom)
            if reason:
                yield Excess(executor, reason)
        if seldom and gauges:
            yield from self._relieve(gauges)

    def _judge(self, gauge: Gauge, task: object, limit: int, seldom: bool) -> str:
        if task != gauge.task:
            gauge.task, gauge.peak = task, 0
        own, used = gauge.read()
        if limit and own <= limit * MIB < used:
            # Pages that it shares with what it has forked count once.
            used = gauge.exact() if seldom else own
        gauge.peak = max(gauge.peak, used)
        if limit and used > limit * MIB:
            return _BEYOND.format(limit)
        if limit and seldom and gauge.has_kills():
            return _BEYOND.format(limit)
        return ""

    def _relieve(self, gauges: dict[ExecutorId, Gauge]) -> Iterator[Excess]:
        """Yield the executor which uses most on this node, if it is one of these, and it must."""
        short = self._scarcity.look()
        if not short:
            return
        heaviest = self._scarcity.heaviest(short.group)
        for executor, gauge in gauges.items():
            if heaviest == gauge.pid or heaviest in gauge.below:
                yield Excess(executor, short.reason)

    def end(self, executor: ExecutorId) -> tuple[int, str]:
        """Forget an executor which has ended.

        Returns
        -------
        peak : int
            KiB which its last task was seen to use.
        reason : str
            Why the kernel may have ended it: it has ended processes for want of memory since the
            last look. Empty if it has not.
        """
        limit = self._limits.pop(executor, 0)
        gauge = self._gauges.pop(executor, None)
        if gauge is None:
            return 0, ""
        reason = ""
        below = gauge.has_kills()
        if below and limit:
            reason = _BEYOND.format(limit)
        elif below or self._scarcity.has_killed():
            reason = "the kernel ended it, as memory was used up"
        if gauge.statm >= 0:
            os.close(gauge.statm)
        if not gauge.leaf.remove():
            self._left.append(gauge.leaf)
        return gauge.peak // 1024, reason

    def close(self) -> None:
        """Remove the control groups; all processes are gone."""
        for executor in list(self._gauges):
            self.end(executor)
        for leaf in self._left:
            leaf.remove()


def _descendants(pid: int) -> list[int]:
    """Return the pids of all that a process has started and that is still below it."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            for child in map(int, text.split()):
                found += (child, *_descendants(child))
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _proportional(pid: int) -> int:
    """Return the bytes of a process, of those it shares with others its part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
