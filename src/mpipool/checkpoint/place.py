"""The files of a run database: whether they may be used, and how they are made."""

from __future__ import annotations

import contextlib
import os

from mpipool.checkpoint.claim import is_claimed, require_locks
from mpipool.checkpoint.results import results_folder
from mpipool.checkpoint.sharing import share_file, share_folder
from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointError


def prepare(path: str, trust: Trust) -> bool:
    """Make an empty file, or refuse what can't be a database of this user; return if it's made."""
    folder = os.path.dirname(path)
    _require_usable(path, folder)
    if trust.group:
        share_folder(folder, trust)
    require_trusted(path, trust)
    made = False
    with contextlib.suppress(FileExistsError):
        made = _make(path, folder)
    if not made:
        _require_not_emptied(path)
    if trust.group:
        _share(path, trust)
    require_locks(path)
    if not os.access(path, os.R_OK | os.W_OK):
        raise CheckpointError(path, "you may not read and write it")
    return made


def require_trusted(path: str, trust: Trust) -> None:
    """Refuse a database which somebody outside of the trusted set could have written."""
    trust.require_place(os.path.dirname(path))
    _require_all_trusted(path, trust)


def _require_usable(path: str, folder: str) -> None:
    if not os.path.isdir(folder):
        raise CheckpointError(path, f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        is_fixed = os.statvfs(folder).f_flag & os.ST_RDONLY
        why = "its file system is read-only" if is_fixed else "you may not write to it"
        raise CheckpointError(path, f"nothing can be made in the folder {folder}: {why}")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise CheckpointError(path, "it is not a file")


def _make(path: str, folder: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise
    except OSError as error:
        raise CheckpointError(path, f"it can't be made ({error.strerror})") from error
    return True


def _require_not_emptied(path: str) -> None:
    """Refuse an empty file beside results: a new database has none, so this was another one."""
    folder = results_folder(path)
    if os.path.getsize(path) == 0 and os.path.isdir(folder) and os.listdir(folder):
        raise CheckpointError(
            path,
            f"it is empty, though there are results beside it, in {folder}: restore a copy, or"
            " remove it to start anew",
        )


def _share(path: str, trust: Trust) -> None:
    """Let the group have what the run writes; the journals get the database's mode from SQLite."""
    share_file(path, trust)
    folder = results_folder(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if share_folder(folder, trust):
        for name in os.listdir(folder):  # from when it was its owner's alone
            share_file(os.path.join(folder, name), trust)


def remove_empty(path: str) -> None:
    """Remove the file which we made, if nothing was put into it."""
    # Should another run that has not claimed it yet be about to use it, that one notices at its
    # next sign of life.
    with contextlib.suppress(OSError):
        if os.path.getsize(path) == 0 and not is_claimed(path):
            os.unlink(path)


def _require_all_trusted(path: str, trust: Trust) -> None:
    """Look at the journals too: what they hold becomes the database's content."""
    folder = results_folder(path)
    for name in (path, f"{path}-wal", f"{path}-journal", f"{path}-shm", folder):
        if os.path.exists(name):
            trust.require(name)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise CheckpointError(path, f"{folder} is in the way of the folder for large results")
