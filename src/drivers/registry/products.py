"""Tables of what reruns have made: rows which are derived from the records of the runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from drivers.registry.database import columns_of
from drivers.registry.regions import CORNERS, place

Table = Literal["calexp", "visit", "coadd"]

KEYS = MappingProxyType(
    {"calexp": ("visit", "ccd"), "visit": ("visit",), "coadd": ("tract", "patch", "filter")}
)
"""What identifies a row of a rerun, and in which order rows are given."""


def replace_products(
    connection: sqlite3.Connection, rerun: str, table: Table, rows: Iterable[Mapping[str, Any]]
) -> int:
    """Make a table say of this rerun exactly what its committed records say.

    Parameters
    ----------
    connection : sqlite3.Connection
        The registry.
    rerun : str
        Name of the rerun: all its rows are replaced, in one transaction.
    table : str
        ``calexp``, ``visit`` or ``coadd``.
    rows : iterable of Mapping
        What the tasks recorded. What the table has no column for is left out, columns without a
        value are empty. The last of several rows of the same data ID counts.

    Returns
    -------
    int
        How many rows the rerun has now.
    """
    latest = {
        tuple(row[name] for name in KEYS[table]): row
        for row in (_as_stored(record) for record in rows)
    }
    with connection:
        connection.execute(f"DELETE FROM {table} WHERE rerun = ?", (rerun,))
        inserted = (_insert(connection, table, {**row, "rerun": rerun}) for row in latest.values())
        if table == "calexp":
            place(connection, table, list(inserted))
        else:
            list(inserted)
    return len(latest)


def find_products(
    connection: sqlite3.Connection,
    table: Table,
    reruns: Sequence[str],
    condition: str = "1",
    values: Sequence[Any] = (),
) -> list[dict[str, Any]]:
    """Return the rows of a table which meet an SQL condition, ordered by their data ID.

    Parameters
    ----------
    connection : sqlite3.Connection
        The registry.
    table : str
        ``calexp``, ``visit`` or ``coadd``.
    reruns : sequence of str
        A rerun and those behind it: of what several have, the first one's row counts alone.
    condition, values
        The condition and its parameters.
    """
    columns, key = columns_of(table), ", ".join(KEYS[table])
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    hidden: set[tuple[Any, ...]] = set()
    for rerun in reruns:
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM {table} WHERE rerun = ? AND ({condition})",
            (rerun, *values),
        )
        for row in (dict(zip(columns, row, strict=True)) for row in rows):
            place = tuple(row[name] for name in KEYS[table])
            if place not in hidden:
                found[place] = row
        hidden.update(connection.execute(f"SELECT {key} FROM {table} WHERE rerun = ?", (rerun,)))
    return [found[place] for place in sorted(found)]


def _insert(
    connection: sqlite3.Connection, table: str, row: Mapping[str, Any]
) -> tuple[int | None, list[Any]]:
    """Insert a row; return its id and its corners."""
    names = [name for name in columns_of(table) if name in row and name != "id"]
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    cursor = connection.execute(insert, [row[name] for name in names])
    return cursor.lastrowid, [row.get(name) for name in CORNERS]


def _as_stored(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a row: corners in columns, notes as text, the rest of values as JSON."""
    row = dict(record)
    for index, (ra, dec) in enumerate(row.pop("corners", ())):
        row[f"ra{index}"], row[f"dec{index}"] = ra, dec
    notes = row.get("notes", ())
    row["notes"] = notes if isinstance(notes, str) else "; ".join(notes)
    if not isinstance(row.get("patch", ""), str):
        row["patch"] = ",".join(map(str, row["patch"]))
    return {
        name: json.dumps(value) if isinstance(value, (dict, list, tuple)) else value
        for name, value in row.items()
    }
