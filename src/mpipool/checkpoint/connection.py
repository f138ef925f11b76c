"""Connections to a run database: how it is opened for writing and for reading, and what it is."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mpipool.checkpoint.claim import is_claimed
from mpipool.checkpoint.damaged import Damaged, damage
from mpipool.checkpoint.filesystem import shared_memory_works
from mpipool.errors import CheckpointError

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x6D706970  # "mpip", in the file's header
BUSY_TIMEOUT: Final = 10.0
"""Seconds for which a statement waits for another process's transaction."""
_MISSING: Final = re.compile("^no such|^Could not decode")


@contextlib.contextmanager
def sentences(path: str) -> Iterator[None]:
    """Turn what SQLite says into a `CheckpointError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise CheckpointError(path, sentence(error)) from error
    except UnicodeDecodeError as error:
        # SQLite quotes what it can't understand, and Python can't make an error of that sentence.
        quoted = error.object.decode(errors="replace")
        raise CheckpointError(path, damage(quoted)) from error


_DISK: Final = (
    "its disk does not do what it should ({}); look at its quota, and at what the system has logged"
)
_SENTENCES: Final = {
    sqlite3.SQLITE_NOTADB: (
        "it is not a run database; choose another path, or move this file away"
    ),
    sqlite3.SQLITE_FULL: "there is no space left for it ({}); make room",
    sqlite3.SQLITE_BUSY: "another process keeps it locked ({}); end that one and try again",
    sqlite3.SQLITE_READONLY: "it is read-only now ({}); see whether its file system has become so",
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_CANTOPEN: _DISK,
}  # fmt: skip


def sentence(error: sqlite3.Error) -> str:
    """Say what an error of SQLite means for a run database, and what to do."""
    code, words = primary_code(error), str(error)
    # Without a table or a column, or with text that is none, it is a database of ours no more.
    if isinstance(error, Damaged) or code == sqlite3.SQLITE_CORRUPT or _MISSING.search(words):
        return damage(words)
    if code == sqlite3.SQLITE_IOERR:
        words += f", {error.sqlite_errorname}"
    return _SENTENCES.get(code, "it can't be used ({})").format(words)


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 255, which is none, if the error has none."""
    return int(getattr(error, "sqlite_errorcode", 255)) & 0xFF


def connect_to_write(path: str) -> sqlite3.Connection:
    """Connect to an existing file; transactions are begun and ended by hand."""
    return _connect(path, "mode=rw")


def file_at(path: str) -> tuple[int, int] | None:
    """Return what tells the file at a path from every other one; None if there is none.

    Raises
    ------
    OSError
        If that can't be seen now.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # NFS: another machine removed it
            return None
        raise
    return status.st_dev, status.st_ino


def sync_commits(connection: sqlite3.Connection, path: str) -> None:
    """Before the first transaction: have commits outlive a power failure, and end an unfit log."""
    # FULL would leave it to chance whether the removal of a rollback journal, which is the commit,
    # outlives a power failure. For a log the two are the same.
    connection.execute("PRAGMA synchronous = EXTRA")
    if not shared_memory_works(path):
        connection.execute("PRAGMA journal_mode = DELETE")


def start_log(connection: sqlite3.Connection, path: str) -> None:
    """Once the database is ours: write a log where that works, so that readers don't wait.

    Not before, since that changes the file's header. If it can't be done because somebody reads
    just now, the rollback journal does as well.
    """
    if shared_memory_works(path):
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
            # The first write makes the log; without one, the first reader would have to make it.
            connection.execute("UPDATE lock SET heartbeat = heartbeat")


def leave(connection: sqlite3.Connection) -> None:
    """Close a connection that wrote; if nobody else has one, leave a single plain file.

    To read a database that is set to a log, even one which has ended, takes files beside it: that
    would fail in a folder which the reader may not write to, and leave files of his elsewhere.
    """
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def connect_to_read(path: str, ours: int = 0) -> sqlite3.Connection:
    """Connect so that nothing is written, to a database which may be in use.

    A database with a log needs a file of shared memory beside it. In a folder where none can be
    made it is read as a file which nobody changes, if there is no log that would be missed.
    What a writer left half done when it was killed with a rollback journal must be rolled back by
    the first who reads; that needs the right to write. It is not done if the writer may live: where
    locks tell nothing, SQLite takes each commit for one that was left.

    Parameters
    ----------
    path : str
        The database.
    ours : int
        The token which this process has claimed, if it has.
    """
    _require_file(path)
    with sentences(path):
        try:
            return _probed(path, "mode=ro")
        except sqlite3.OperationalError:
            if os.path.exists(f"{path}-journal"):
                return _rolled_back(path, ours)
            if os.path.exists(f"{path}-wal"):
                raise
            return _probed(path, "mode=ro&immutable=1")


def _rolled_back(path: str, ours: int) -> sqlite3.Connection:
    if is_claimed(path, ours):
        raise CheckpointError(
            path,
            "a run is in the middle of a write to it, or was killed there on a host which can't be"
            " seen from here: try again, or start the run again",
        )
    return _probed(path, "mode=rw")


def glance(path: str) -> int:
    """Return the token of the last session, as far as that can be seen without a lock.

    Nothing is rolled back, and a log is not read: it may have been another session since.
    """
    with contextlib.closing(_connect(path, "mode=ro&immutable=1")) as connection:
        try:
            (last,) = connection.execute("SELECT max(token) FROM session").fetchone()
            return int(last or 0)
        except (sqlite3.Error, TypeError, ValueError):  # new, or not to be used: others find out
            return 0


def is_new(connection: sqlite3.Connection) -> bool:
    """Say whether a database is empty: made, and nothing yet put into it."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(tables) == 0 and _application(connection) == 0


def create_schema(connection: sqlite3.Connection) -> None:
    """Make the tables and views, in the caller's transaction."""
    # Not by importlib.resources, which takes 1 MiB of rank 0's agent.
    script = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    # Not executescript, which commits first: killed here, the file must still be a new one.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def require_format(connection: sqlite3.Connection, path: str) -> int:
    """Refuse what is not a run database, or one from a newer mpipool; return its version."""
    if _application(connection) != APPLICATION_ID:
        raise CheckpointError(path, "it is an SQLite database, but not one of a run")
    stored = read_meta(connection, "schema_version")
    if not re.fullmatch("[1-9][0-9]{0,8}", stored):
        raise Damaged(f"its schema has the version {stored!r:.80}")
    version = int(stored)
    if version > SCHEMA_VERSION:
        raise CheckpointError(
            path,
            f"it is from a newer mpipool (schema {version}, this one knows {SCHEMA_VERSION}):"
            " use that one",
        )
    return version


def read_meta(connection: sqlite3.Connection, key: str) -> str:
    """Return one value of table ``meta``; empty if there is none."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return "" if row is None else str(row[0])


def _application(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return int(found)


def _require_file(path: str) -> None:
    if not os.path.exists(path):
        raise CheckpointError(path, "there is no such file")
    if not os.path.isfile(path):
        raise CheckpointError(path, "it is not a file")
    if not os.access(path, os.R_OK):
        raise CheckpointError(path, "you may not read it")


def _connect(path: str, query: str) -> sqlite3.Connection:
    uri = f"{Path(path).absolute().as_uri()}?{query}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)


def _probed(path: str, query: str) -> sqlite3.Connection:
    connection = _connect(path, query)
    try:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
