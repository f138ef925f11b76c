"""Takes files into a repository, some thousands at a time: scanned, brought, entered.

The headers are read by the pool. Then the frames of these files are entered into the registry by
this process in one transaction, and let go: so memory does not grow with the number of files, and
what a killed ingest has entered stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from drivers.command import first_line

if TYPE_CHECKING:
    import sqlite3

    from drivers.header_scan import Scan
    from drivers.instruments import Cameras, Instrument
    from drivers.placing import Placement
    from drivers.registry import RawFrame
    from drivers.repository import Repository

Mode = Literal["skip", "link", "copy", "move"]
Progress = Callable[[int, int, int], None]

CHUNK = 2000
"""Files which are scanned before their frames are entered."""


@dataclass(slots=True)
class Outcome:
    """What became of the files.

    Attributes
    ----------
    files : int
        How many were looked at.
    new, changed, unchanged : int
        Images which the registry had not, had otherwise, and had as they are.
    companions : int
        Files that belong to an image.
    problems : list of (str, str)
        File and reason.
    """

    files: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    companions: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Intake:
    """An ingest.

    Attributes
    ----------
    repository : Repository
        Where the frames go; it is made when there is one.
    mode : str
        ``skip`` leaves files where they are; see `drivers.placing` for the others.
    pool
        Who reads headers and copies files.
    described : Mapping of Path to Instrument
        Cameras which a user has described, and where: the files are copied to the repository.
    outcome : Outcome
        What became of the files so far.
    """

    repository: Repository
    mode: Mode
    pool: Any
    described: Mapping[Path, Instrument] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    _cameras: Cameras = field(init=False)

    def __post_init__(self) -> None:
        from drivers.instruments import cameras_in

        self._cameras = cameras_in(self.repository.instruments) | self.described.values()

    def take(self, files: Sequence[str], progress: Progress, chunk: int = CHUNK) -> None:
        """Take files in.

        Parameters
        ----------
        files : sequence of str
            Absolute paths.
        progress : callable
            Called with how many were read, could not be read, and are there in all.
        chunk : int
            How many are taken at once.
        """
        from drivers.header_scan import scan_file

        scan = partial(scan_file, cameras=self._cameras) if self._cameras else scan_file
        for begin in range(0, len(files), chunk):
            some = files[begin : begin + chunk]
            shown = _shifted(progress, begin, len(files))
            scans = self.pool.map(scan, some, errors="return", progress=shown)
            frames = [
                frame for pair in zip(some, scans, strict=True) for frame in self._read(*pair)
            ]
            if frames:
                self._enter(frames)
            self.outcome.files += len(some)

    def _read(self, path: str, scan: Scan | BaseException) -> tuple[RawFrame, ...]:
        """Note what a scan says, and return its frames."""
        if isinstance(scan, BaseException):
            self._complain(path, f"could not be read: {first_line(scan)}")
            return ()
        self.outcome.companions += scan.companion
        for problem in scan.problems:
            self._complain(path, problem)
        return scan.frames

    def _complain(self, path: str, reason: str) -> None:
        self.outcome.problems.append((path, reason))

    def _enter(self, frames: list[RawFrame]) -> None:
        """Bring the files of frames to their places, and enter them into the registry."""
        from drivers.registry import add_frames, open_registry

        registry = self.repository.registry
        registry.parent.mkdir(exist_ok=True)
        self._keep_descriptions()
        with open_registry(registry, create=True) as connection:
            brought: list[Placement] = []
            if self.mode != "skip":
                frames, brought = self._bring(connection, frames)
            added = add_frames(connection, frames)
        self.outcome.new += added.new
        self.outcome.changed += added.changed
        self.outcome.unchanged += added.unchanged
        for frame, reason in added.refused.items():
            self._complain(frame.source or frame.path, reason)
        if self.mode == "move":
            # Only now: whenever this is killed, each file is where the registry says.
            self._let_go(brought)

    def _keep_descriptions(self) -> None:
        """Copy descriptions of cameras to where the drivers look for them, before any frame."""
        folder = self.repository.instruments
        for file, camera in self.described.items():
            folder.mkdir(exist_ok=True)
            kept = folder / f"{camera.name}.toml"
            if not kept.is_file() or kept.read_bytes() != file.read_bytes():
                part = kept.with_suffix(".part")
                shutil.copyfile(file, part)
                part.replace(kept)

    def _bring(
        self, connection: sqlite3.Connection, frames: list[RawFrame]
    ) -> tuple[list[RawFrame], list[Placement]]:
        """Bring files to their places; return their frames as they are there, and how they came."""
        from drivers.placing import place_file
        from drivers.registry import refusals

        moved = [self._moved(frame) for frame in frames]
        refused = refusals(connection, moved)
        placements = {
            frame.source: self._placement(connection, frame)
            for frame in moved
            if frame.source and frame not in refused
        }
        order = list(placements.values())
        results = self.pool.map(place_file, order, errors="return", progress=_unseen)
        failed = {
            placement.source: first_line(result)
            for placement, result in zip(order, results, strict=True)
            if isinstance(result, BaseException)
        }
        for source, reason in failed.items():
            self._complain(source, reason)
        kept = [frame for frame in moved if frame.source not in failed]
        return kept, [placement for placement in order if placement.source not in failed]

    def _moved(self, frame: RawFrame) -> RawFrame:
        """Return a frame as it is when its file is at its place in the repository."""
        target = str(self.repository.raw(frame.visit, Path(frame.path).name))
        if target == frame.path:
            return frame
        return replace(frame, path=target, source=frame.path)

    def _placement(self, connection: sqlite3.Connection, frame: RawFrame) -> Placement:
        from drivers.placing import Placement

        assert self.mode != "skip"
        row = connection.execute(
            "SELECT 1 FROM raw WHERE path = ? AND source = ?", (frame.path, frame.source)
        ).fetchone()
        beside = [
            (str(path), bool(companion.image_part))
            for companion in self._cameras.named(frame.instrument).companions
            if (path := companion.beside(Path(frame.source))) is not None and path.is_file()
        ]
        return Placement(frame.source, frame.path, self.mode, row is not None, tuple(beside))

    def _let_go(self, brought: Sequence[Placement]) -> None:
        from drivers.placing import let_go

        for placement in brought:
            try:
                let_go(placement)
            except OSError as error:
                self._complain(placement.source, f"can't be removed: {error.strerror}")


def known_files(registry: Path) -> frozenset[str]:
    """Return the files which are in the registry: where they are, and where they came from."""
    from drivers.registry import open_registry

    if not registry.is_file():
        return frozenset()
    with open_registry(registry) as connection:
        rows = connection.execute("SELECT path FROM raw UNION SELECT source FROM raw")
        return frozenset(os.path.abspath(path) for (path,) in rows if path)


def _shifted(progress: Progress, begin: int, total: int) -> Progress:
    """Return a function which shows the progress of a part as that of the whole."""

    def show(done: int, failed: int, _: int) -> None:
        progress(begin + done, failed, total)

    return show


def _unseen(done: int, failed: int, total: int) -> None:
    """Files are brought while nobody looks: it is short beside reading them."""
