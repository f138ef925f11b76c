"""Opening a run database for writing: what is looked at, in which order, before it is ours.

First everything is read, by a connection that can't write, so that a refusal leaves the file as it
was. Then the lock is taken in one transaction, in which the same is checked again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from mpipool.checkpoint import configuration
from mpipool.checkpoint.connection import (
    SCHEMA_VERSION,
    connect_to_read,
    connect_to_write,
    create_schema,
    file_at,
    is_new,
    read_meta,
    require_format,
    sentences,
    start_log,
    sync_commits,
)
from mpipool.checkpoint.index import KeyIndex
from mpipool.checkpoint.lock import (
    Holder,
    last_heard,
    read_holder,
    this_process,
    write_holder,
)
from mpipool.checkpoint.results import remove_leftovers, results_folder
from mpipool.checkpoint.trust import require_trusted
from mpipool.errors import CheckpointError, CheckpointLocked, CheckpointMismatch

LOG: Final = logging.getLogger("mpipool.checkpoint")
_POLL: Final = 0.1  # s between looks at a lock whose holder may be dying


class Request(NamedTuple):
    """What a run says of itself when it opens its database."""

    config: str
    """Canonical JSON; ``null`` if the run has no configuration, and takes the database's."""
    command: str
    ranks: int
    take_over: bool


class Taken(NamedTuple):
    """A database whose lock is ours."""

    connection: sqlite3.Connection
    token: int
    keys: KeyIndex
    last_row: int
    file: tuple[int, int] | None
    """From `file_at`."""


def acquire(path: str, request: Request, wait: float, on_wait: Callable[[str], None]) -> Taken:
    """Take the lock of a database, which is made if there is none."""
    made = _prepare(path)
    try:
        return _acquire(path, request, wait, on_wait)
    except BaseException:
        if made:
            _remove_empty(path)
        raise


def _acquire(path: str, request: Request, wait: float, on_wait: Callable[[str], None]) -> Taken:
    deadline, told = time.monotonic() + wait, False
    while True:
        holder = _inspect(path, request)
        if holder is None:
            taken = _take(path, request)
            if taken is not None:
                return taken
            continue  # somebody was faster: look who
        if time.monotonic() >= deadline:
            raise CheckpointLocked(
                path, f"a live run holds it ({holder.describe()}): wait for it, or end it first"
            )
        if not told:
            on_wait(f"{path} is held by {holder.describe()}; waiting up to {wait:g} s for it")
            told = True
        time.sleep(_POLL)


def _prepare(path: str) -> bool:
    """Make an empty file, or refuse what can't be a database of this user; return if it's made."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise CheckpointError(path, f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(path, f"the folder {folder} is not writable")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise CheckpointError(path, "it is not a file")
    _require_all_trusted(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return True
    except FileExistsError:
        pass
    except OSError as error:
        raise CheckpointError(path, f"it can't be made ({error.strerror})") from error
    if not os.access(path, os.R_OK | os.W_OK):
        raise CheckpointError(path, "you may not write to it")
    return False


def _remove_empty(path: str) -> None:
    """Remove the file which we made, if nothing was put into it."""
    # Should another run be about to use it, that one notices at its next sign of life.
    with contextlib.suppress(OSError):
        if os.path.getsize(path) == 0:
            os.unlink(path)


def _require_all_trusted(path: str) -> None:
    """Look at the journals too: what they hold becomes the database's content."""
    folder = results_folder(path)
    for name in (path, f"{path}-wal", f"{path}-journal", f"{path}-shm", folder):
        if os.path.exists(name):
            require_trusted(name)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise CheckpointError(path, f"{folder} is in the way of the folder for large results")


def _inspect(path: str, request: Request) -> Holder | None:
    """Read what is there; return the live holder if there is one."""
    with contextlib.closing(connect_to_read(path)) as connection, sentences(path):
        return None if is_new(connection) else _require_ours(connection, path, request)


def _take(path: str, request: Request) -> Taken | None:
    """Take the lock; None if somebody else has it now."""
    # Looked at before it is opened: if it is replaced in between, that is noticed later.
    file = file_at(path)
    with sentences(path):
        connection = connect_to_write(path)
        try:
            sync_commits(connection, path)
            connection.execute("BEGIN IMMEDIATE")
            if is_new(connection):
                _create(connection, request)
            elif _require_ours(connection, path, request) is not None:
                connection.close()
                return None
            index, last_row = _load(connection)  # first: a damaged table must not leave us locked
            token = _begin_session(connection, path, request)
            connection.execute("COMMIT")
            start_log(connection, path)
        except BaseException:
            connection.close()
            raise
    with contextlib.suppress(OSError):
        remove_leftovers(results_folder(path))
    return Taken(connection, token, index, last_row, file)


def _load(connection: sqlite3.Connection) -> tuple[KeyIndex, int]:
    """Read what is done, and the number of the last row."""
    rows = connection.execute(
        "SELECT id, digest, attempt, state FROM attempt WHERE digest IS NOT NULL ORDER BY id"
    )
    index = KeyIndex(rows)
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM attempt").fetchone()
    return index, int(last)


def _require_ours(connection: sqlite3.Connection, path: str, request: Request) -> Holder | None:
    """Refuse a database which is not this run's; return its live holder, if it has one."""
    require_format(connection, path)
    _require_config(connection, path, request.config)
    holder = read_holder(connection)
    liveness = "dead" if holder is None else holder.liveness()
    if holder is not None and liveness == "unknown" and not request.take_over:
        raise CheckpointLocked(
            path,
            f"a run that can't be seen from here holds it ({holder.describe()}; last heard of"
            f" {max(0.0, time.time() - holder.heartbeat):.0f} s ago): end it, or if it is surely"
            " dead start again with --take-over (in a script of your own, Pool(take_over=True))",
        )
    return holder if liveness == "live" else None


def _require_config(connection: sqlite3.Connection, path: str, config: str) -> None:
    stored = read_meta(connection, "config")
    if config in {"null", stored}:
        return
    listed = "".join(f"\n  {line}" for line in configuration.differences(stored, config))
    raise CheckpointMismatch(
        path,
        "it was made with another configuration; go back to that, or use another database"
        f" (another rerun). What differs:{listed}",
    )


def _create(connection: sqlite3.Connection, request: Request) -> None:
    create_schema(connection)
    values = {
        "schema_version": str(SCHEMA_VERSION),
        "created": repr(time.time()),
        "config": request.config,
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())


def _begin_session(connection: sqlite3.Connection, path: str, request: Request) -> int:
    """Write the lock and the session's row, and the end of a session that was killed."""
    (last,) = connection.execute("SELECT coalesce(max(token), 0) FROM session").fetchone()
    former = read_holder(connection)
    if former is not None:
        LOG.info("%s: taken over from a run that died (%s)", path, former.describe())
        heard = last_heard(connection, former.token, former.heartbeat)
        connection.execute(
            "UPDATE session SET state = 'killed', ended = ? WHERE token = ?",
            (heard, former.token),
        )
    holder = this_process(int(last) + 1)
    write_holder(connection, holder)
    connection.execute(
        "INSERT INTO session VALUES (?, ?, NULL, ?, ?, ?, ?, 'running')",
        (
            holder.token, holder.started, holder.host, holder.pid,
            request.ranks, request.command,
        ),
    )  # fmt: skip
    return holder.token
