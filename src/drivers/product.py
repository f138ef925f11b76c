"""Writes the files which a task makes, and says in words why one can't be written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpipool import output, record

_REASONS = {
    errno.ENOSPC: "no space left on the disk of {}",
    errno.EDQUOT: "the quota of the disk of {} is used up",
    errno.EROFS: "the file system of {} is read-only",
    errno.EACCES: "no permission to write to {}",
}


class ProductError(Exception):
    """A file can't be written. The message is a sentence that says where and why."""


def size_of(path: Path) -> str:
    """Return the name under which the size of a file is recorded [bytes]."""
    return f"size of {path.name}"


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a name under which to write a file that gets its own name if the task succeeds.

    Its size is recorded, so that it is noticed if it is another one later.

    Raises
    ------
    ProductError
        If it can't be written.
    """
    try:
        with output(path) as part:
            yield part
            record(**{size_of(path): part.stat().st_size})
    except OSError as error:
        raise ProductError(_reason(error, path)) from error


def _reason(error: OSError, path: Path) -> str:
    number = error.errno
    if number is None and "space on disk" in str(error):  # so says astropy
        number = errno.ENOSPC
    if number in _REASONS:
        return _REASONS[number].format(path.parent)
    return f"{path} can't be written: {error.strerror or error}"
