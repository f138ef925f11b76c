"""Results too large for a record: a file each, in the folder ``results`` beside the database.

Used by executors, so it imports next to nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from typing import Final

from mpipool.checkpoint.trust import ALONE, Trust
from mpipool.errors import CheckpointError

FOLDER: Final = "results"
"""Name of the folder, beside the database."""
_NAME: Final = re.compile("([0-9a-f]{2,})[.]([0-9]+)")
_AGAIN: Final = "remove the file, and the next start runs its task again"


def results_folder(database: str | os.PathLike[str]) -> str:
    """Return the folder of results that belongs to a run database."""
    return os.path.join(os.path.dirname(os.path.abspath(database)), FOLDER)


def result_name(digest: bytes, attempt: int) -> str:
    """Return the name of the file for the result of one attempt."""
    return f"{digest.hex()}.{attempt}"


def publish_result(folder: str, name: str, data: bytes | bytearray | memoryview) -> str:
    """Write a result so that it is on disk, whole, under its name, or not at all.

    Parameters
    ----------
    folder : str
        The folder of results; made where it is missing.
    name : str
        From `result_name`. A file of this name is replaced.
    data : bytes-like
        The pickled result.

    Returns
    -------
    str
        ``name:size:sha256``, for the record.

    Raises
    ------
    CheckpointError
        If it can't be written.
    """
    try:
        _write(folder, name, data)
    except OSError as error:
        raise CheckpointError(
            os.path.join(folder, name),
            f"the task's result can't be put on disk ({error.strerror}); make that possible and"
            " start the run again",
        ) from error
    return f"{name}:{memoryview(data).nbytes}:{hashlib.sha256(data).hexdigest()}"


def _write(folder: str, name: str, data: bytes | bytearray | memoryview) -> None:
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        sync_folder(os.path.dirname(folder))
    # A name of its own: an executor of a run that is just dying may be writing the same attempt.
    from tempfile import mkstemp  # 1 MiB, which rank 0's agent never needs

    descriptor, there = mkstemp(prefix=f"{name}.", suffix=".tmp", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            if os.stat(folder).st_mode & stat.S_IWGRP:  # a group shares the run
                os.fchmod(descriptor, 0o660)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(there, os.path.join(folder, name))
        there = os.path.join(folder, name)
        sync_folder(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(there)
        raise


def read_result(folder: str, spec: str, trust: Trust = ALONE) -> bytes:
    """Read a result that `publish_result` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, not what the record says, or somebody else could have written it.
    """
    name, size, checksum = _parse(folder, spec)
    path = os.path.join(folder, name)
    try:
        trust.require(folder)
        with open(path, "rb") as file:
            trust.require(path, os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        raise CheckpointError(path, f"the result can't be read ({error.strerror})") from error
    if len(data) != size:
        raise CheckpointError(
            path, f"the result has {len(data)} bytes, the record says {size}; {_AGAIN}"
        )
    if hashlib.sha256(data).hexdigest() != checksum:
        raise CheckpointError(
            path, f"the result is damaged: its checksum is not the record's; {_AGAIN}"
        )
    return data


def remove_leftovers(folder: str, is_over: Callable[[bytes, int], bool]) -> None:
    """Remove what nobody will read; only for who holds the database's lock, while no task runs.

    That is what killed executors were writing, and results of tasks which were lost after that.

    Parameters
    ----------
    folder : str
        The folder of results.
    is_over : callable
        Says of a key and an attempt whether that is known to have left no result.
    """
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            found = _NAME.fullmatch(name)
            lost = found and is_over(bytes.fromhex(found[1]), int(found[2]))
            if lost or name.endswith(".tmp"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))


def _parse(folder: str, spec: str) -> tuple[str, int, str]:
    try:
        name, size, checksum = spec.split(":")
        if os.path.basename(name) != name or name in {"", ".", ".."}:
            raise ValueError(name)
        return name, int(size), checksum
    except ValueError:
        raise CheckpointError(folder, f"{spec!r} does not name a result") from None


def sync_folder(folder: str) -> None:
    """Make a rename durable: it is the folder that a rename changes.

    Raises
    ------
    OSError
        If that can't be done, with the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # so says a file system which can't sync folders
            raise OSError(error.errno, error.strerror, folder) from error
    finally:
        os.close(descriptor)
