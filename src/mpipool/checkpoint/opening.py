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
from mpipool.checkpoint.claim import claim, remove_claim, remove_claims
from mpipool.checkpoint.connection import (
    SCHEMA_VERSION,
    connect_to_read,
    connect_to_write,
    create_schema,
    file_at,
    glance,
    is_new,
    read_meta,
    require_format,
    sentences,
    start_log,
    sync_commits,
)
from mpipool.checkpoint.damaged import Damaged, typed
from mpipool.checkpoint.index import KeyIndex
from mpipool.checkpoint.judge import Judge
from mpipool.checkpoint.lock import (
    Holder,
    last_heard,
    read_holder,
    this_process,
    write_holder,
)
from mpipool.checkpoint.migration import copy_name, migrate
from mpipool.checkpoint.place import prepare, remove_empty
from mpipool.checkpoint.rows import CHECKS_SINCE, SELECT_CHECKED, require_sound
from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointLocked, CheckpointMismatch

LOG: Final = logging.getLogger("mpipool.checkpoint")
CHECKED_UP_TO: Final = 256 << 20
"""Bytes, for which it takes a few seconds. Of a larger database it is seen later what is damaged:
of each row when it is used."""
_POLL: Final = 0.1  # s between looks at a lock whose holder may be dying


class Request(NamedTuple):
    """What a run says of itself when it opens its database."""

    config: str
    """Canonical JSON; ``null`` if the run has no configuration, and takes the database's."""
    command: str
    ranks: int
    take_over: bool
    trust: Trust
    clobber: bool = False
    """Whether a database of another configuration is taken, and has this one from then on."""


class Taken(NamedTuple):
    """A database whose lock is ours."""

    connection: sqlite3.Connection
    token: int
    keys: KeyIndex
    last_row: int
    file: tuple[int, int] | None
    """From `file_at`."""


class _Begun(NamedTuple):
    token: int
    keys: KeyIndex
    last_row: int


def acquire(path: str, request: Request, wait: float, on_wait: Callable[[str], None]) -> Taken:
    """Take the lock of a database, which is made if there is none."""
    made = prepare(path, request.trust)
    try:
        return _acquire(path, request, wait, on_wait)
    except BaseException:
        if made:
            remove_empty(path)
        raise


def _acquire(path: str, request: Request, wait: float, on_wait: Callable[[str], None]) -> Taken:
    deadline, told = time.monotonic() + wait, False
    judge = Judge(path, request.take_over)
    while True:
        found = _claim_and_take(path, request, judge)
        if isinstance(found, Taken):
            return found
        if time.monotonic() >= deadline:
            raise CheckpointLocked(
                path, f"a live run holds it ({found.describe()}): wait for it, or end it first"
            )
        if not told:
            on_wait(f"{path} is held by {found.describe()}; waiting up to {wait:g} s for it")
            told = True
        time.sleep(_POLL)


def _claim_and_take(path: str, request: Request, judge: Judge) -> Taken | Holder:
    """Take the lock, or return who has it now; of a live run not even the database is touched."""
    token = claim(path, glance(path) + 1, judge.lives)
    if isinstance(token, Holder):
        return token
    claimed = [token]
    found: Taken | Holder | None = None
    try:
        found = _inspect(path, request, judge, token) or _take(path, request, judge, claimed)
    finally:
        kept = found.token if isinstance(found, Taken) else 0
        for other in claimed:
            if other != kept:
                remove_claim(path, other)
    return found


def _inspect(path: str, request: Request, judge: Judge, token: int) -> Holder | None:
    """Read what is there; return the live holder if there is one."""
    with contextlib.closing(connect_to_read(path, token)) as connection, sentences(path):
        return None if is_new(connection) else _require_ours(connection, path, request, judge)


def _take(path: str, request: Request, judge: Judge, claimed: list[int]) -> Taken | Holder:
    """Take the lock, or return who has it now."""
    # Looked at before it is opened: if it is replaced in between, that is noticed later.
    file = file_at(path)
    with sentences(path):
        connection = connect_to_write(path)
        try:
            sync_commits(connection, path)
            connection.execute("BEGIN IMMEDIATE")
            found = _begin(connection, path, request, judge, claimed)
            if isinstance(found, Holder):
                connection.close()
                return found
            start_log(connection, path)
        except BaseException:
            connection.close()
            raise
    with contextlib.suppress(OSError):
        remove_claims(path, found.token)
    return Taken(connection, *found, file)


def _begin(
    connection: sqlite3.Connection, path: str, request: Request, judge: Judge, claimed: list[int]
) -> _Begun | Holder:
    """Begin a session in a transaction, and commit it; or return who has the database.

    Its token is the last that was claimed; if it is used already, a later one is claimed too.
    """
    if is_new(connection):
        _create(connection, request)
    elif found := _require_ours(connection, path, request, judge):
        return found
    else:
        last = _last_token(connection)
        if last >= claimed[-1]:  # there was a session in the log, or since
            later = claim(path, last + 1, judge.lives)
            if isinstance(later, Holder):
                return later
            claimed.append(later)
        _bring_up_to_date(connection, path)
    index, last_row = _load(connection)  # first: a damaged table must not leave us locked
    _begin_session(connection, path, request, claimed[-1])
    connection.execute("COMMIT")
    return _Begun(claimed[-1], index, last_row)


def _last_token(connection: sqlite3.Connection) -> int:
    ((last,),) = typed(connection.execute("SELECT coalesce(max(token), 0) FROM session"), int)
    return int(last)


def _bring_up_to_date(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a damaged database, and rewrite one of an older schema."""
    version = require_format(connection, path)
    if os.path.getsize(path) <= CHECKED_UP_TO:
        _require_sound(connection, version)
    if version < SCHEMA_VERSION:
        migrate(connection, path, version)
        LOG.info(
            "%s: brought from schema %d to %d; as it was it is kept as %s",
            path, version, SCHEMA_VERSION, copy_name(path, version),
        )  # fmt: skip


def _require_sound(connection: sqlite3.Connection, version: int) -> None:
    """Read all but results, which are looked at when they are used."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Damaged(str(found).replace("\n", " "))
    if version >= CHECKS_SINCE:
        for *row, row_check in connection.execute(SELECT_CHECKED):
            require_sound(row, row_check)


def _load(connection: sqlite3.Connection) -> tuple[KeyIndex, int]:
    """Read what is done, and the number of the last row."""
    rows = connection.execute(
        "SELECT id, digest, attempt, state FROM attempt WHERE digest IS NOT NULL ORDER BY id"
    )
    index = KeyIndex(rows)
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM attempt").fetchone()
    return index, int(last)


def _require_ours(
    connection: sqlite3.Connection, path: str, request: Request, judge: Judge
) -> Holder | None:
    """Refuse a database which is not this run's; return its live holder, if it has one."""
    require_format(connection, path)
    if not request.clobber:
        _require_config(connection, path, request.config)
    holder = read_holder(connection)
    return holder if holder is not None and judge.lives(holder) else None


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


def _begin_session(connection: sqlite3.Connection, path: str, request: Request, token: int) -> None:
    """Write the lock and the session's row, and the end of a session that was killed."""
    former = read_holder(connection)
    if former is not None:
        LOG.info("%s: taken over from a run that died (%s)", path, former.describe())
        heard = last_heard(connection, former.token, former.heartbeat)
        connection.execute(
            "UPDATE session SET state = 'killed', ended = ? WHERE token = ?",
            (heard, former.token),
        )
    holder = this_process(token)
    write_holder(connection, holder)
    if request.clobber and request.config != "null":
        connection.execute("UPDATE meta SET value = ? WHERE key = 'config'", (request.config,))
    connection.execute(
        "INSERT INTO session VALUES (?, ?, NULL, ?, ?, ?, ?, 'running')",
        (
            holder.token, holder.started, holder.host, holder.pid,
            request.ranks, request.command,
        ),
    )  # fmt: skip
