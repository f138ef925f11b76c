"""What the kernel is told, in an executor, of how much memory its tasks may use.

The agent looks at the memory of its executors 20 times a second (`memory`). What happens between
two looks is the kernel's: a limit of the process's data, beyond which allocating raises
`MemoryError`; where a control group can be had, a limit of all that is in it; and which process is
ended first when the node has no memory left, one that has declared how much it uses being the last.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mpipool.executor.environment import CGROUP
from mpipool.executor.leaf import Leaf

MIB: Final = 1 << 20
TWICE: Final = 2
"""How many times its memory= a process may reserve: less is used than is reserved."""
LEAST: Final = 256
"""MiB which a process may reserve however small the limit is, for the libraries it loads."""
FIRST: Final = 1000
"""OOM score adjustment of a process which may use any amount: the kernel ends it first. Its guard
has set it."""
LATER: Final = 900
"""The same for one that keeps to what it has asked for."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_DATA_FIELD: Final = 5
"""Of /proc/PID/statm."""
_SCORE: Final = "/proc/self/oom_score_adj"

_now = 0
_began = 0
"""Bytes of data which this process had at its beginning, its guard's included."""
_soft, _hard = resource.RLIM_INFINITY, resource.RLIM_INFINITY
_leaf: Leaf | None = None
_kills = 0
"""How many processes the kernel had ended in the group when that was looked at last."""
_tell: Callable[[int], object] = bool
"""Told that number when it has changed."""


def note_beginning(tell: Callable[[int], object] = bool) -> None:
    """Note what this process begins with.

    Parameters
    ----------
    tell : callable
        Told how many processes the kernel has ended below for tasks that are over, if that changes:
        the agent, which looks from outside, can't tell when the next task has begun.
    """
    global _now, _began, _soft, _hard, _leaf, _kills, _tell
    _now, _kills, _leaf, _tell = 0, 0, None, tell
    _began = int(Path("/proc/self/statm").read_text().split()[_DATA_FIELD]) * _PAGE
    _soft, _hard = resource.getrlimit(resource.RLIMIT_DATA)


def memory_in_use() -> int:
    """Return the argument with which `hold_to` would change nothing."""
    return _now


def hold_to(memory: int) -> bool:
    """Hold what runs next to some memory.

    Parameters
    ----------
    memory : int
        MiB; 0 for no limit.

    Returns
    -------
    bool
        Whether this has changed a resource limit.
    """
    global _now
    if memory == _now:
        return False
    if not (memory and _now):
        _adjust(LATER if memory else FIRST)
    _now = memory
    _confine(memory)
    most = _began + max(TWICE * memory, LEAST) * MIB if memory else _soft
    if _soft != resource.RLIM_INFINITY:
        most = min(most, _soft)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, _hard))
    return True


def has_killed_below() -> bool:
    """Whether the kernel has ended something in this process's control group since the last call.

    What has a group of its own is below the task: so its memory was not enough.
    """
    global _kills
    kills = _leaf.kills if _leaf else 0
    if kills <= _kills:
        return False
    _kills = kills
    _tell(kills)
    return bool(_now)


def _adjust(score: int) -> None:
    """Say how early the kernel is to end this process when memory runs out."""
    with contextlib.suppress(OSError), open(_SCORE, "w") as file:
        file.write(str(score))


def _confine(memory: int) -> None:
    """Be in a control group of one's own, with this limit."""
    global _leaf
    if _leaf is None:
        _leaf = Leaf.below(os.environ.get(CGROUP, ""), os.getpid())
        if not _leaf.enter():
            _leaf = Leaf.below("", os.getpid())  # it is not to be had, and not tried again
    _leaf.limit(memory)
