"""What a task leaves behind in its process: processes, threads, descriptors that it has closed.

Processes are ended before the task's outcome is sent. An executor is a child subreaper, so that
daemons which its task has double-forked come up to it, and to no other process of the rank. Threads
can't be ended, and what is closed can't always be opened again: then the process is replaced, after
the outcome was sent.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mpipool.executor.descendants import adopt_orphans, children, end_children

GRACE: Final = 0.05
"""Seconds in which threads that are ending may end."""
_STANDARD: Final = (0, 1, 2)
_SAVED: Final = 64
"""Copies of the standard descriptors have numbers from here on."""
_OURS: Final = "mpipool-"
"""How the names of our own threads begin."""
_HARMLESS: Final = ("tqdm._monitor",)
"""Modules whose threads may stay: tqdm starts one with its first bar, which only redraws bars."""


class Remains:
    """What is in this process now, and what there is besides later.

    Parameters
    ----------
    channel : int
        Descriptor of the channel to the agent.
    """

    def __init__(self, channel: int) -> None:
        adopt_orphans()
        self._channel = channel
        self._identity = _identity(channel)
        self._standard = {number: _identity(number) for number in _STANDARD}
        self._saved = [_copy(number) for number in _STANDARD]
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self.take_over()

    def take_over(self) -> None:
        """Let stay what runs now."""
        self._processes = set(children()) if _has_children() else set()
        self._threads = set(threading.enumerate())
        self._count = _thread._count()

    @contextmanager
    def above(self) -> Iterator[None]:
        """Let stay what runs now until the end of the block: a task that waits has started it."""
        below = self._processes, self._threads, self._count
        self.take_over()
        try:
            yield
        finally:
            self._processes, self._threads, self._count = below

    @property
    def has_channel(self) -> bool:
        """Whether the channel's descriptor still is the channel's."""
        return _identity(self._channel) == self._identity

    def end_processes(self) -> list[str]:
        """End the processes which were started since, daemons too; return their names."""
        if not _has_children():
            return []
        kept = self._processes | _tracker()
        doomed = [pid for pid in children() if pid not in kept]
        names = [name for pid in doomed if (name := _name(pid))]
        if doomed:
            end_children(keep=kept)
        return names

    def lasting(self) -> tuple[bool, list[str]]:
        """Open again what was closed and can be.

        Returns
        -------
        opened : bool
            Whether there was something to open.
        lasting : list of str
            What lasts, in words.
        """
        closed = [number for number, was in self._standard.items() if _identity(number) != was]
        lost = [number for number in closed if not self._reopen(number)]
        words = [f"it closed descriptor {number}, and all copies of it" for number in lost]
        return bool(closed), [*self._other_threads(), *words, *self._ended_streams()]

    def _other_threads(self) -> Iterator[str]:
        deadline = time.monotonic() + GRACE
        while others := self._threads_now():
            if time.monotonic() > deadline:
                yield "it left a thread running (" + ", ".join(sorted(others)) + ")"
                return
            time.sleep(0.001)

    def _threads_now(self) -> list[str]:
        if _thread._count() <= self._count:
            return []
        alive = [one for one in threading.enumerate() if one is not threading.main_thread()]
        others = [one.name for one in alive if one not in self._threads and not _may_stay(one)]
        hidden = _thread._count() - max(self._count, len(alive))
        return others or ["without a name"] * (hidden > 0)

    def _ended_streams(self) -> Iterator[str]:
        for number, stream in enumerate(self._streams):
            if stream is None or stream.closed:
                yield f"it closed the stream of descriptor {number}"
        if not self.has_channel:
            yield "it closed the descriptor by which its process is led"

    def _reopen(self, number: int) -> bool:
        if _identity(self._saved[number]) != self._standard[number]:
            return False
        os.dup2(self._saved[number], number)
        return True


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _copy(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _SAVED)


def _name(pid: int) -> str:
    """Return the name of a process; empty if it has ended already."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] not in "ZX":
            return stat.partition("(")[2].rpartition(")")[0]
    return ""


def _tracker() -> set[int]:
    """Return the helper of `multiprocessing` which removes shared memory when this process ends.

    It only reads a pipe. If it were killed, what it is to remove would stay for ever.
    """
    loaded: Any = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(loaded, "_resource_tracker", None), "_pid", None)
    return set() if pid is None else {pid}


def _may_stay(thread: threading.Thread) -> bool:
    return thread.name.startswith(_OURS) or type(thread).__module__ in _HARMLESS
