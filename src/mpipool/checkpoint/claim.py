"""A file for each session's token, beside the database: who makes it may begin the session.

A token is one more than the last session's, so of two runs which see the same database each wants
the same file, and only one can make it, even where the locks on which SQLite relies hold within one
host only, or not at all (Lustre with ``localflock``, NFS with ``nolock``). No claim has to be taken
from anybody: behind a dead run's token comes the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final

from mpipool.checkpoint.lock import Holder, this_process
from mpipool.errors import CheckpointError

_MARK: Final = ".claim-"


def claim(path: str, token: int, lives: Callable[[Holder], bool]) -> int | Holder:
    """Claim a token, or a later one if those who have claimed it are dead.

    Parameters
    ----------
    path : str
        The database.
    token : int
        The first that may be free.
    lives : callable
        Says whether a holder lives.

    Returns
    -------
    int or Holder
        The token that is this process's now; or who has claimed one, and lives.
    """
    while True:
        if _make(path, this_process(token)):
            return token
        theirs = _read(path, token)
        if theirs is not None and lives(theirs):
            return theirs
        token += theirs is not None  # if it is gone, it may be free


def is_claimed(path: str, ours: int = 0) -> bool:
    """Whether a run that may live, other than that of our token, has claimed a database."""
    tokens = {_token(path, name) for name in _claims(path)} - {None, ours}
    for token in tokens:
        with contextlib.suppress(CheckpointError):
            holder = _read(path, token or 0)
            if holder is not None and holder.liveness() != "dead":
                return True
    return False


def beat(path: str, token: int) -> None:
    """Say that the session of a token lives."""
    with contextlib.suppress(OSError):
        os.utime(_name(path, token))


def remove_claim(path: str, token: int) -> None:
    """Let go of a token whose session is over."""
    with contextlib.suppress(OSError):
        os.unlink(_name(path, token))


def remove_claims(path: str, below: int) -> None:
    """Remove what earlier sessions have left."""
    for name in _claims(path):
        token = _token(path, name)
        if token is None or token < below:
            with contextlib.suppress(OSError):
                os.unlink(name)


def require_locks(path: str) -> None:
    """Refuse a file system on which nothing can be locked: SQLite would only say that it is busy.

    Raises
    ------
    CheckpointError
        With what it says.
    """
    # Not the database itself: closing it here would end all of this process's locks on it.
    name = _temporary(path, "locks")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return  # something else is wrong, and is said better by who comes to it
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CheckpointError(
            path,
            f"its file system has no locks ({error.strerror}), which SQLite needs: mount it with"
            " locks (Lustre: flock), or have the database somewhere else",
        ) from error
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(name)


def _make(path: str, holder: Holder) -> bool:
    """Make the file of a token, whole; False if it is there."""
    temporary = _temporary(path, str(holder.token))
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(asdict(holder), file)
            file.flush()
            os.fsync(file.fileno())  # an empty one, after a power failure, would be in the way
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise CheckpointError(path, f"no file can be made beside it ({error.strerror})") from error
    try:
        os.link(temporary, _name(path, holder.token))
    except FileExistsError:
        return False
    except OSError:  # no links here (exFAT), or somebody tidied up: the database's locks must do
        return True
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return True


def _read(path: str, token: int) -> Holder | None:
    """Read who has claimed a token; None if it was let go meanwhile."""
    name = _name(path, token)
    try:
        with open(name, encoding="utf-8") as file:
            holder = Holder(**json.load(file))
            return replace(holder, heartbeat=os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            path, f"it can't be seen who claims it: {name} can't be read ({error}); remove that"
        ) from error


def _claims(path: str) -> list[str]:
    return glob.glob(f"{glob.escape(path)}{_MARK}*")


def _token(path: str, name: str) -> int | None:
    """Return of which token a file is the claim; None if it is one that is being made."""
    number = name[len(path) + len(_MARK) :]
    return int(number) if re.fullmatch("[0-9]{1,18}", number) else None


def _name(path: str, token: int) -> str:
    return f"{path}{_MARK}{token}"


def _temporary(path: str, what: str) -> str:
    process = this_process(0)
    return f"{path}{_MARK}{what}.{process.host}.{process.pid}"
