"""The task that is running now in this process, and what it says about itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mpipool.errors import UsageError
from mpipool.executor.product import final_path, make_folder, part_name


@dataclass(slots=True)
class Running:
    """What a task records, and what it wants published."""

    in_task: bool = False
    """Whether there is a task: what it puts out waits until its leader has accepted it."""
    token: int = 0
    """Fencing token of the run's session; part of the names of unpublished files."""
    attempt: int = 1
    scope: int = 0
    """The scatter which began its cache."""
    task: int = 0
    """Index in the scatter."""
    touched: bool = False
    """Whether it has asked for its cache."""
    metrics: dict[str, Any] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)

    def begin(self, token: int, attempt: int, scope: int, task: int) -> None:
        """Forget the previous task."""
        self.in_task, self.token, self.attempt = True, token, attempt
        self.scope, self.task, self.touched = scope, task, False
        if self.metrics:
            self.metrics = {}
        if self.outputs:
            self.outputs = []

    def put_aside(self) -> Running:
        """Return what the task has said so far; another one is about to say its own."""
        aside = copy(self)
        self.metrics, self.outputs = {}, []
        return aside

    def become(self, other: Running) -> None:
        """Be again what was put aside before another task ran."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def cache(self) -> SimpleNamespace:
        """Return the task's cache, which it may fill for a later call with the same item."""
        self.touched = True
        return caches.setdefault(self.scope, {}).setdefault(self.task, SimpleNamespace())


running = Running()
"""There is one task at a time in a process."""

keepers: list[Callable[[], None]] = []
"""Called by what a task does for later ones too: what it has changed in the process is to stay."""

caches: dict[int, dict[int, SimpleNamespace]] = {}
"""By the scatter which began them and the index of the task, until the leader lets them go."""


def record(**metrics: Any) -> None:
    """Put numbers and words about the running task into its record.

    They stand in the column ``metrics`` of the run's database once the task has succeeded, and
    are committed together with it. Outside of a task they go nowhere.

    Parameters
    ----------
    **metrics
        Anything that JSON can hold; NumPy scalars count as numbers. A name given again replaces
        its value.

    Raises
    ------
    UsageError
        If a value can't be JSON, with the name of the metric.

    Examples
    --------
    >>> record(seeing=0.62, stars=171)
    """
    for name, value in metrics.items():
        running.metrics[name] = _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()  # a NumPy scalar
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metric {name}={value!r} can't be recorded: {error}") from None
    return value


@contextlib.contextmanager
def output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file which appears under its name only if this attempt of the task counts.

    The file is written under a temporary name in the same folder (which is made if need be),
    synced, and renamed by the leader of the task's scatter after it has accepted the outcome. So
    a file under its own name is always whole, and a task that died leaves none. A run which is
    resumed does a task again if an output of it is gone. Outside of a task the file is renamed at
    the end of the block.

    Parameters
    ----------
    path : path-like
        The final name. It may not have ``..`` in it, control characters or line breaks, nor more
        than about 230 bytes: names are often made of what stands in headers of files.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    UsageError
        If no file can have this name.
    OSError
        If the file can't be put on disk: it is full, for example.

    Examples
    --------
    >>> with output(folder / "calexp-001.fits") as temporary:
    ...     hdus.writeto(temporary)
    """
    final = final_path(path, running.token, running.attempt)
    make_folder(final.parent)
    part = final.with_name(part_name(final.name, running.token, running.attempt))
    _remove_stale(part, final.name)
    try:
        yield part
        _sync(part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if running.in_task:
        running.outputs.append((str(part), str(final)))
    else:
        publish(part, final)


def _sync(part: Path) -> None:
    """Have a file on disk; what goes wrong, as a full disk that says so only now, names it."""
    try:
        with open(part, "rb") as written:
            os.fsync(written.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(part)) from error


def _remove_stale(part: Path, name: str) -> None:
    """Remove what earlier attempts of the same task, and earlier sessions, left unpublished."""
    pattern = re.compile(re.escape(f".{name}.") + r"(\d+)-(\d+)\.part")
    for other in part.parent.glob(f".{_literal(name)}.*.part"):
        match = pattern.fullmatch(other.name)
        if match and (int(match[1]), int(match[2])) < (running.token, running.attempt):
            other.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def discard(outputs: list[tuple[str, str]]) -> None:
    """Remove what a task had written before it failed."""
    for part, _ in outputs:
        with contextlib.suppress(OSError):
            os.unlink(part)


def publish(part: str | os.PathLike[str], final: str | os.PathLike[str]) -> None:
    """Give a written file its name.

    Raises
    ------
    OSError
        If it can't have it; the file is removed then.
    """
    try:
        os.replace(part, final)
    except OSError:
        discard([(os.fspath(part), "")])
        raise
