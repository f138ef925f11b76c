"""What the node of this rank has to share out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIB: Final = 1 << 20


def memory_mib(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how much memory the job may use on this node, MiB; 0 if that is not known.

    That is what the machine has, or the limit of a control group around this process, such as batch
    systems set.
    """
    known = [_installed(proc), *_limits(proc, cgroups)]
    return min((size for size in known if size), default=0) // MIB


def _installed(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal")), 0)


def _limits(proc: Path, cgroups: Path) -> list[int]:
    """Read the limits of the control group (version 2) of this process and those around it."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = cgroups / own.strip("/")
    found = [_limit(group) for group in (folder, *folder.parents) if group.is_relative_to(cgroups)]
    return [limit for limit in found if limit]


def _limit(group: Path) -> int:
    try:
        text = (group / "memory.max").read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
