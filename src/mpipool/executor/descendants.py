"""Finding and ending processes below this one. Linux facts, and nothing else.

A *child subreaper* adopts the orphans among its descendants, those in sessions of their own
included. So whoever is one can end everything below it by killing its children until there are
none: each round, the children of the killed come up.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

_SET_PDEATHSIG: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
_PPID_FIELD: Final = 1
"""Of /proc/PID/stat, counted behind the command's closing parenthesis."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def adopt_orphans() -> None:
    """Make this process a child subreaper."""
    _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; end now if it has ended already.

    The kernel sends the signal when the *thread* which forked ends: parents fork in their main
    thread.
    """
    _prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Take `die_with_parent` back."""
    _prctl(_SET_PDEATHSIG, 0, 0, 0, 0)


def children() -> list[int]:
    """Return the pids of this process's children, adopted ones included."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _children_by_search()  # a kernel without CONFIG_PROC_CHILDREN
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):  # each has its own
        with contextlib.suppress(OSError):  # it has ended
            listed = Path(f"/proc/self/task/{thread}/children").read_text()
            found += map(int, listed.split())
    return found


def _children_by_search() -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[_PPID_FIELD]) == os.getpid():
                    found.append(int(entry.name))
    return found


def end_children(keep: Collection[int] = (), seconds: float = 2.0) -> None:
    """Kill all children except those in ``keep``, and what comes up below them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        doomed = [pid for pid in children() if pid not in keep]
        if not doomed:
            return
        for pid in doomed:
            kill(pid)
        for pid in doomed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


def kill(pid: int) -> None:
    """Kill a process, and its process group if it leads one."""
    end_group(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def end_group(leader: int) -> None:
    """Kill what is left of a process group. Its id is not given away while it has members."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
