"""A control group for one executor, where this process may make some.

An executor makes its group and moves itself there when its first task with ``memory=`` comes, and
says how much memory may be used in it. The agent looks whether the kernel has ended something in
it, and removes it. Version 1 allows groups below one that has processes; version 2 does not, so
there it is made beside the agent's, if nothing limits that.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mpipool.cgroups import PROC, ROOT, V1, V2, Group, around

MIB: Final = 1 << 20
ABOVE: Final = 4
"""A group's limit is a quarter above the task's: it also counts what of files is in memory."""
LEAST: Final = 64
"""MiB by which it is above at least."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The control group of one executor; `group` is None where there are none."""

    group: Group | None

    @classmethod
    def below(cls, parent: str, pid: int) -> Self:
        """Return that of the process ``pid`` in a folder of groups; none if that is empty."""
        if not parent:
            return cls(None)
        folder = Path(parent, f"mpipool-{pid}")
        files = V1 if Path(parent, V1.limit).exists() else V2
        return cls(Group(folder, files))

    def enter(self) -> bool:
        """Make it, and move this process there; return whether that was possible."""
        if self.group is None:
            return True
        try:
            self.group.folder.mkdir(exist_ok=True)
            (self.group.folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self.remove()
            return False
        return True

    def limit(self, memory: int) -> None:
        """Limit what is used in it to a little more than ``memory`` MiB; 0 for no limit."""
        if self.group is None:
            return
        most = (memory + max(memory // ABOVE, LEAST)) * MIB
        text = str(most) if memory else self.group.files.nothing
        with contextlib.suppress(OSError):  # more than that is in use already
            (self.group.folder / self.group.files.limit).write_text(text)

    @property
    def kills(self) -> int:
        """How many processes the kernel has ended in it."""
        return self.group.kills if self.group else 0

    def remove(self) -> bool:
        """Remove it; False if something is still in it."""
        try:
            if self.group:
                self.group.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def place_for_leaves(proc: Path = PROC, root: Path = ROOT) -> str:
    """Return the folder in which this process may make control groups; empty if there is none."""
    for folder in _candidates(around(proc, root)):
        trial = folder / f"mpipool-{os.getpid()}"
        try:
            trial.mkdir()
            limits = any((trial / files.limit).exists() for files in (V1, V2))
            trial.rmdir()
        except OSError:
            continue
        if limits:
            return str(folder)
    return ""


def _candidates(groups: list[Group]) -> list[Path]:
    if not groups:
        return []
    own = groups[0]
    if own.files is V1:
        return [own.folder]
    beside = groups[1:2] if not own.limit else []
    return [
        group.folder
        for group in (own, *beside)
        if os.access(group.folder / "cgroup.procs", os.W_OK) and _passes_memory_on(group.folder)
    ]


def _passes_memory_on(folder: Path) -> bool:
    """Whether groups below this one can limit memory."""
    try:
        return "memory" in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
