"""On what kind of file system a path lies."""

from __future__ import annotations

import os
import re
from typing import Final

LOCAL: Final = frozenset({
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs",
    "tmpfs", "ramfs", "overlay", "overlayfs", "aufs",
})  # fmt: skip
"""File systems whose pages only this machine changes; every other one may be shared."""

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def file_system(path: str, mounts: str | None = None) -> str:
    """Return the type of the file system on which ``path`` lies, or ``""`` if that is unknown.

    Parameters
    ----------
    path : str
        The path; symbolic links are followed.
    mounts : str, optional
        Text in the form of ``/proc/self/mounts``, which is read by default.
    """
    if mounts is None:
        try:
            with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return ""
    where, best, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        _, point, found = line.split(" ")[:3]
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), point)
        # Of two mounts on one point the later one is seen.
        if len(point) >= len(best) and _contains(point, where):
            best, kind = point, found
    return kind


def shared_memory_works(path: str, mounts: str | None = None) -> bool:
    """Say whether SQLite's write-ahead log may be used, which needs memory shared by its users.

    Network file systems are the danger; as nobody knows all their names, the local ones are
    listed instead, and an unknown one is taken for a network's.
    """
    return file_system(path, mounts) in LOCAL


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
