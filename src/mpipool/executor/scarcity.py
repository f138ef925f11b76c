"""Whether the node has any memory left, and which executor on it should be ended first.

Each agent looks by itself, and all come to the same answer: the executor to be ended is the one
that the kernel would choose next, a moment later and with less to say about it. Its own agent ends
it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from mpipool.cgroups import PROC, ROOT, Group, around
from mpipool.executor.limits import FIRST, LATER

LATELY: Final = 1.0
"""Seconds. So long the end of a large process may take to be noticed."""
SHARE: Final = 0.03
"""Of the memory. When less is left, one executor must go."""


class Shortage(NamedTuple):
    """Memory is short."""

    reason: str
    """Why an executor must go."""
    group: Group | None = None
    """In which it must be, if it is not the node that is short."""


class Scarcity:
    """Looks at the memory of the node and of the job's control groups.

    Parameters
    ----------
    proc, root : pathlib.Path
        Where the kernel tells.
    """

    def __init__(self, proc: Path = PROC, root: Path = ROOT) -> None:
        self._proc, self._root = proc, root
        groups = around(proc, root)
        self._own = next((group for group in groups[:1] if group.counts_kills), None)
        self._groups = [group for group in groups if group.limit]
        self._kills = self._count_kills()
        self._killed = -inf
        """When the kernel was seen to have ended something."""

    def look(self) -> Shortage | None:
        """Return whether an executor must go."""
        self.has_killed()
        for group in self._groups:
            if group.free < SHARE * group.limit:
                reason = f"the memory limit of the job here, {group.limit >> 20} MiB, was used up"
                return Shortage(reason, group)
        memory = _lines(self._proc / "meminfo")
        if memory.get("MemAvailable:", 1) < SHARE * memory.get("MemTotal:", 0):
            return Shortage("the memory of its node was used up")
        return None

    def has_killed(self) -> bool:
        """Whether the kernel has just ended a process for want of memory."""
        before, self._kills = self._kills, self._count_kills()
        now = time.monotonic()
        if self._kills > before:
            self._killed = now
        return now - self._killed < LATELY

    def heaviest(self, group: Group | None) -> int:
        """Return the pid of the executor which should go first; 0 if there is none.

        Those which have not declared what they use go before the others, and then the largest.

        Parameters
        ----------
        group : Group or None
            In which it must be; else it may be anywhere on this node.
        """
        for _, _, pid in sorted(self._executors(), reverse=True):
            if group is None or group in around(self._proc, self._root, str(pid)):
                return pid
        return 0

    def _executors(self) -> Iterator[tuple[int, int, int]]:
        """Yield of each executor of this user its score, its memory and its pid."""
        for entry in os.scandir(self._proc):
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    folder = Path(entry.path)
                    score = int((folder / "oom_score_adj").read_text())
                    if score in {FIRST, LATER} and folder.stat().st_uid == os.getuid():
                        resident = int((folder / "statm").read_text().split()[1])
                        yield score, resident, int(entry.name)

    def _count_kills(self) -> int:
        """Count those of this process's group, if that is known, or of the whole machine."""
        if self._own:
            return self._own.kills
        return _lines(self._proc / "vmstat").get("oom_kill", 0)


def _lines(path: Path) -> dict[str, int]:
    """Read lines of a name and a number; empty if there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(number) for name, number, *_ in map(str.split, lines)}
