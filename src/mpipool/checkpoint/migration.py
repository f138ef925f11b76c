"""Brings a run database of an older schema to this one's, in one transaction.

Every table is made anew as `schema.sql` has it, and filled with the columns which the older one had
too; what is new in it must have a default, or may be NULL. So there is one way from any version.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from mpipool.checkpoint.connection import (
    SCHEMA_VERSION,
    connect_to_read,
    create_schema,
)
from mpipool.checkpoint.results import sync_folder
from mpipool.errors import CheckpointError


def copy_name(path: str, version: int) -> str:
    """Return where a database of an older schema is kept."""
    return f"{path}.schema-{version}"


def migrate(connection: sqlite3.Connection, path: str, version: int) -> None:
    """Keep a copy of the database, and rewrite it in the caller's transaction.

    Raises
    ------
    CheckpointError
        If the copy can't be made; nothing was changed.
    """
    _keep_copy(path, version)
    old = [name for kind, name in _objects(connection) if kind == "table"]
    for kind, name in _objects(connection):
        if kind == "view":
            connection.execute(f"DROP VIEW {name}")
    for name in old:
        connection.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    create_schema(connection)
    for name in old:
        _move(connection, f"old_{name}", name)
    connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),)
    )


def _objects(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    ).fetchall()


def _move(connection: sqlite3.Connection, source: str, target: str) -> None:
    kept = ", ".join(
        name for name in _columns(connection, target) if name in _columns(connection, source)
    )
    connection.execute(f"INSERT INTO {target} ({kept}) SELECT {kept} FROM {source}")
    connection.execute(f"DROP TABLE {source}")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _keep_copy(path: str, version: int) -> None:
    """Copy the database as it was before this transaction, log and all, into one plain file."""
    copy = copy_name(path, version)
    temporary = f"{copy}.tmp"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _back_up(path, temporary)
        os.replace(temporary, copy)
        sync_folder(os.path.dirname(copy))
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise CheckpointError(
            path,
            f"it is from an older mpipool (schema {version}) and would be rewritten, but no copy"
            f" can be kept as {copy} ({error})",
        ) from error


def _back_up(path: str, target: str) -> None:
    with closing(connect_to_read(path)) as source, closing(sqlite3.connect(target)) as kept:
        source.backup(kept)  # not a copy of the file: what is in a log belongs to it
        kept.execute("PRAGMA journal_mode = DELETE")  # one plain file, whatever it came from
