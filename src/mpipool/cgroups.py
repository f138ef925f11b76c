"""The control groups which limit the memory of this process, of either version of Linux's.

Version 2 has one tree of groups for everything; version 1 has one for memory, with other names for
the same files. Some machines have both trees, and memory in the older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNLIMITED: Final = 1 << 60
"""Bytes. Version 1 writes a number beyond this where there is no limit."""
PROC: Final = Path("/proc")
ROOT: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Files:
    """How one version names what is needed of a group."""

    limit: str
    usage: str
    cached: tuple[str, ...]
    """Lines of ``memory.stat``: what the kernel takes back before it ends anything."""
    kills: str
    """The file with a line ``oom_kill N``."""
    nothing: str
    """What is written where there is to be no limit."""


V1: Final = Files(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
    "memory.oom_control",
    "-1",
)
V2: Final = Files(
    "memory.max", "memory.current", ("inactive_file", "active_file"), "memory.events", "max"
)


@dataclass(frozen=True, slots=True)
class Group:
    """One group of processes."""

    folder: Path
    files: Files

    @property
    def limit(self) -> int:
        """Bytes that it may use; 0 if it has no limit of its own."""
        text = _read(self.folder / self.files.limit).strip()
        return int(text) if text.isdigit() and int(text) < UNLIMITED else 0

    @property
    def free(self) -> int:
        """Bytes that are left of its limit; 0 if it has none."""
        limit = self.limit
        if not limit:
            return 0
        statistics = _numbers(_read(self.folder / "memory.stat"))
        cached = sum(statistics.get(name, 0) for name in self.files.cached)
        usage = _read(self.folder / self.files.usage).strip()
        return max(limit - int(usage or 0) + cached, 1)

    @property
    def counts_kills(self) -> bool:
        """Whether `kills` is known."""
        return (self.folder / self.files.kills).exists()

    @property
    def kills(self) -> int:
        """How many processes the kernel has ended in it for want of memory."""
        return _numbers(_read(self.folder / self.files.kills)).get("oom_kill", 0)


def around(proc: Path = PROC, root: Path = ROOT, process: str = "self") -> list[Group]:
    """Return the groups in which a process is: its own first, then those around it."""
    for line in _read(proc / process / "cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _upwards(root / "memory", path, V1)
        if number == "0":
            return _upwards(root, path, V2)
    return []


def _upwards(top: Path, path: str, files: Files) -> list[Group]:
    own = top / path.lstrip("/")
    if not own.is_dir():
        own = top  # seen from within a container, the way to it does not lead there
    return [Group(f, files) for f in (own, *own.parents) if f.is_relative_to(top)]


def _numbers(text: str) -> dict[str, int]:
    """Read lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
