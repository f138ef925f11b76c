"""The registry's file: opened, made, and brought up from an older version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from drivers.command import CommandError

SCHEMA_VERSION = 2

_KINDS = {"INTEGER": int, "REAL": float, "TEXT": str}
_INTERNAL = frozenset({"id", "wcs"})
"""Columns which say nothing to a user."""


class RegistryError(CommandError):
    """The registry can't be used; the message is a sentence that says why."""


@contextmanager
def open_registry(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the registry.

    One of an older version is brought up to this one first; a copy of it is kept beside it.

    Parameters
    ----------
    path : Path
        The file.
    create : bool
        Make it if it doesn't exist. Otherwise it is opened for reading, and nothing can change.

    Raises
    ------
    RegistryError
        If it doesn't exist, is no registry, is of a newer version, or can't be written.
    """
    if not create and not path.is_file():
        raise RegistryError(f"{path} does not exist: ingest frames first (ingestDriver)")
    try:
        if path.is_file() and _version(path) == 1:
            _upgrade(path)
        with closing(_connect(path, "rwc" if create else "ro")) as connection:
            _prepare(connection, path, create)
            yield connection
    except sqlite3.Error as error:
        raise RegistryError(f"{path}: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60)


def _version(path: Path) -> int:
    with closing(_connect(path, "ro")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise RegistryError(f"{path} was made by a newer version of the drivers")
    if version == SCHEMA_VERSION:
        return
    if not create or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise RegistryError(f"{path} is not a registry of these drivers")
    connection.executescript(f"BEGIN; {_schema()} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _schema() -> str:
    return Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


@cache
def columns_of(table: str) -> Mapping[str, str]:
    """Return the names of a table's columns, and SQLite's names of their kinds."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_schema())
        rows = connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
        return dict(rows.fetchall())


def selectable(table: str) -> Mapping[str, type]:
    """Return the columns of a table by which can be selected, and the kind of their values."""
    return {name: _KINDS[kind] for name, kind in columns_of(table).items() if name not in _INTERNAL}


def _upgrade(path: Path) -> None:
    """Bring a registry of version 1 up to this one, in one transaction, with a copy kept.

    Its raw frames have no corners yet: they come with the next ingest.
    """
    from drivers.registry.regions import index_calexps

    copy = path.with_name(f"{path.name}.v1")
    try:
        with closing(_connect(path, "rw")) as old, closing(sqlite3.connect(copy)) as kept:
            old.backup(kept)
        with closing(_connect(path, "rw")) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            # Somebody else may have been faster.
            if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
                _rebuild(connection)
                index_calexps(connection)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise RegistryError(
            f"{path} is of an older version of the drivers, and can't be brought up to this one: "
            f"{error}"
        ) from error


def _rebuild(connection: sqlite3.Connection) -> None:
    """Make the tables anew, with what the old ones have."""
    tables = ("raw", "calexp")
    for table in tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in _statements(_schema()):
        connection.execute(statement)
    for table in tables:
        known = connection.execute(f"SELECT name FROM pragma_table_info('old_{table}')")
        columns = ", ".join(name for (name,) in known)
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table}")
        connection.execute(f"DROP TABLE old_{table}")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
