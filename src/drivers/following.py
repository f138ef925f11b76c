"""Takes files as they arrive in folders during the night, each when it is complete.

On a local disk the kernel tells of files which were closed or renamed (inotify); on a shared file
system nobody tells of what other hosts write, so the folders are looked through now and then. They
are on a local disk too, only less often: events can be lost.
"""

from __future__ import annotations

import math
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from drivers.arrivals import Arrivals, Look
from drivers.fits_layout import read_layout
from drivers.frame_error import FrameError

LOCAL: Final = frozenset({
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs",
    "tmpfs", "xfs", "zfs",
})  # fmt: skip
"""File systems of which all writers are on this host. Any other may be shared."""

POLLED_EVERY = 5.0
"""Seconds between two looks through a folder on a shared file system."""

CHECKED_EVERY = 60.0
"""The same where the kernel tells what happens."""

SETTLED = 10.0
"""Seconds for which a file which nobody saw being closed may not have changed."""


class Following:
    """Follows folders and what is below them; a context manager.

    Parameters
    ----------
    folders : sequence of Path
        They must exist.
    poll : bool
        Look through them now and then, whatever their file system is.
    every, settled : float
        Seconds between two looks, if not the usual ones, and until a file counts as written.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        poll: bool = False,
        every: float | None = None,
        settled: float = SETTLED,
    ) -> None:
        self._folders = [folder.absolute() for folder in folders]
        told = [] if poll else [each for each in self._folders if file_system(each) in LOCAL]
        self._told: Sequence[Path] = told
        self._polled = len(told) < len(self._folders)
        self._every = every or (POLLED_EVERY if self._polled else CHECKED_EVERY)
        self._arrivals = Arrivals(settled)
        self._events: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self._observer: Any = None
        self._next_look = 0.0

    def __enter__(self) -> Following:
        if self._told:
            self._observer = _observer(self._told, self._events.put)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    @property
    def how(self) -> str:
        """What is done to notice files, in words."""
        looks = f"looked through every {self._every:g} s"
        return looks if self._polled else f"watched, and {looks}"

    def arrived(self, timeout: float) -> list[str]:
        """Return the files that have become complete, absolute, as soon as there are any.

        Parameters
        ----------
        timeout : float
            Seconds after which nothing is returned.
        """
        end = time.monotonic() + timeout
        while True:
            self._look()
            if complete := list(self._complete(time.monotonic())):
                return complete
            left = end - time.monotonic()
            if left <= 0:
                return []
            self._wait(min(left, self._every, 1.0))

    def rest(self) -> list[str]:
        """Return, at the end, the files which are complete though they have not settled."""
        self._next_look = 0.0
        self._look()
        return list(self._complete(math.inf))

    def unfinished(self) -> list[tuple[str, str]]:
        """Return the files which came and are not complete, and why."""
        return self._arrivals.unfinished()

    def _wait(self, seconds: float) -> None:
        """Wait for an event, and take in all there are."""
        with suppress(queue.Empty):
            self._note(*self._events.get(timeout=seconds))
            while True:
                self._note(*self._events.get_nowait())

    def _note(self, path: str, closed: bool) -> None:
        if self._is_hidden(path):
            return
        if os.path.isdir(path):
            self._next_look = 0.0  # files may have come with it, of which nobody tells
        elif look := look_at(path):
            age = time.time() - look.changed / 1e9
            self._arrivals.seen(path, look, time.monotonic(), closed=closed, age=age)

    def _is_hidden(self, path: str) -> bool:
        """Whether a folder on the way to a file is hidden, below the one that is followed."""
        below = (Path(path).relative_to(f) for f in self._folders if Path(path).is_relative_to(f))
        return any(part.startswith(".") for way in below for part in way.parts)

    def _look(self) -> None:
        """Look through all folders, if it is time."""
        if time.monotonic() < self._next_look:
            return
        for folder in self._folders:
            for path in files_below(folder):
                self._note(path, False)
        self._next_look = time.monotonic() + self._every

    def _complete(self, now: float) -> Iterator[str]:
        for path in self._arrivals.due(now):
            # What it was like before it is read: what changes then is noticed.
            look = look_at(path)
            if look is None:
                self._arrivals.gone(path)
            elif self._arrivals.checked(path, look, why_incomplete(path)):
                yield path


def why_incomplete(path: str) -> str:
    """Return why a file is no whole FITS file; empty if it is one."""
    try:
        read_layout(Path(path))
    except FrameError as error:
        return str(error)
    return ""


def look_at(path: str) -> Look | None:
    """Return size and time of change of a file; None if it is not there, or can't be a frame."""
    if not Arrivals.wants(path):
        return None
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return Look(stat.st_size, stat.st_mtime_ns)


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder and its subfolders; hidden ones are left out."""
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (os.path.join(place, name) for name in sorted(files))


def file_system(folder: Path) -> str:
    """Return the type of the file system on which a folder is; empty if nobody knows."""
    place = os.path.realpath(folder)
    best, found = "", ""
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, _, behind = line.partition(" - ")
            mount = before.split()[4].replace("\\040", " ")
            inside = place == mount or place.startswith(mount.rstrip("/") + "/")
            # Of two on one place the later one is what is seen.
            if inside and len(mount) >= len(best):
                best, found = mount, behind.split()[0]
    return found


def _observer(folders: Sequence[Path], tell: Callable[[tuple[str, bool]], None]) -> Any:
    """Have the kernel tell of files in folders: path, and whether it was closed or renamed."""
    from watchdog.events import FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_created(self, event: Any) -> None:
            tell((os.fsdecode(event.src_path), False))

        def on_closed(self, event: Any) -> None:
            tell((os.fsdecode(event.src_path), True))

        def on_moved(self, event: Any) -> None:
            tell((os.fsdecode(event.dest_path), True))

    observer = Observer()
    for folder in folders:
        observer.schedule(Handler(), str(folder), recursive=True)
    observer.start()
    return observer
