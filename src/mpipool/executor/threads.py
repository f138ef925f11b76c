"""How many threads libraries may use in this process, and on which CPUs.

A chunk of tasks with ``threads=n`` finds the environment variables set, the libraries that are
loaded already (which have read those long ago) told, and all CPUs free which it was given. For the
next chunk everything is as it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from typing import Final

from mpipool.executor.cores import parse
from mpipool.executor.environment import CPUS, NODE_CPUS, for_threads

ONE: Final = (1, frozenset[int]())
"""What a process begins with."""

_now: tuple[int, frozenset[int]] = ONE
_own: frozenset[int] = frozenset()
_node: frozenset[int] = frozenset()
"""Both are what the process began with, if it is not pinned."""


def begin() -> None:
    """Pin this process to the CPUs which its agent has chosen for it, if it has."""
    global _own, _node, _now
    _now = ONE
    _own, _node = (
        parse(os.environ.get(name, "")) or frozenset(os.sched_getaffinity(0))
        for name in (CPUS, NODE_CPUS)
    )
    _pin(_own)


def threads_in_use() -> tuple[int, frozenset[int]]:
    """Return the arguments with which `use_threads` would change nothing."""
    return _now


def use_threads(threads: int, cpus: Collection[int] = ()) -> bool:
    """Let what runs next use so many threads.

    Parameters
    ----------
    threads : int
        How many.
    cpus : collection of int
        On which CPUs. If that is not known, one thread has the CPU of this process, and more have
        all those of the ranks of the node.

    Returns
    -------
    bool
        Whether this has changed the environment or the affinity.
    """
    global _now
    before, wanted = _now, (threads, frozenset(cpus))
    if wanted == before:
        return False
    _now = wanted
    if threads != before[0]:
        os.environ.update(for_threads(threads))
        _tell_libraries(threads)
    _pin(wanted[1] or (_own if threads == 1 else _node))
    return True


def _tell_libraries(threads: int) -> None:
    from threadpoolctl import threadpool_limits  # 10 ms, which few processes need

    threadpool_limits(threads)


def _pin(cpus: Collection[int]) -> None:
    """Let all threads of this process, those of libraries too, run on these CPUs only."""
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):  # it has ended, or these CPUs are not there any more
            os.sched_setaffinity(thread, cpus)
