"""Results too large for a record: a file each, in the folder ``results`` beside the database.

Used by executors, so it imports next to nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Final

from mpipool.checkpoint.trust import require_trusted
from mpipool.errors import CheckpointError

FOLDER: Final = "results"
"""Name of the folder, beside the database."""


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
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # A name of its own: an executor of a run that is just dying may be writing the same attempt.
    from tempfile import mkstemp  # 1 MiB, which rank 0's agent never needs

    descriptor, temporary = mkstemp(prefix=f"{name}.", suffix=".tmp", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, os.path.join(folder, name))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)
    return f"{name}:{memoryview(data).nbytes}:{hashlib.sha256(data).hexdigest()}"


def read_result(folder: str, spec: str) -> bytes:
    """Read a result that `publish_result` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, not what the record says, or somebody else could have written it.
    """
    name, size, checksum = _parse(folder, spec)
    path = os.path.join(folder, name)
    try:
        require_trusted(folder)
        with open(path, "rb") as file:
            require_trusted(path, os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        raise CheckpointError(path, f"the result can't be read ({error.strerror})") from error
    if len(data) != size:
        raise CheckpointError(path, f"the result has {len(data)} bytes, the record says {size}")
    if hashlib.sha256(data).hexdigest() != checksum:
        raise CheckpointError(path, "the result is damaged: its checksum is not the record's")
    return data


def remove_leftovers(folder: str) -> None:
    """Remove what killed executors were writing; only for who holds the database's lock."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.endswith(".tmp"):
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


def _sync_folder(folder: str) -> None:
    """Make a rename durable: it is the folder that a rename changes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
