"""The file of the reference catalogue: filled at ingest, asked for the stars of a region."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.command import CommandError
from drivers.reference.bands import Choice
from drivers.results import REFERENCE, Table
from drivers.sky_polygon import Polygon, box_around, unit_vectors, widened

_APPLICATION = 0x6D707266
"""In the header of the file: it is one of these."""

_FIXED = ("id", "ra", "dec", "pm_ra", "pm_dec", "epoch")


class CatalogueError(CommandError):
    """The reference catalogue can't be used; the message is a sentence that says why."""


@contextmanager
def open_reference(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the reference catalogue.

    Parameters
    ----------
    path : Path
        The file.
    create : bool
        Make it if it doesn't exist. Otherwise it is opened for reading.

    Raises
    ------
    CatalogueError
        If it doesn't exist, is another file, or can't be read or written.
    """
    if not create and not path.is_file():
        raise CatalogueError(f"{path} does not exist: ingestDriver REPO --reference FILE makes it")
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'ro'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
            is_empty = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
            if mark != _APPLICATION and not (create and is_empty):
                raise CatalogueError(f"{path} is not a reference catalogue of these drivers")
            yield connection
    except sqlite3.Error as error:
        raise CatalogueError(f"{path}: {error}") from error


def add_stars(connection: sqlite3.Connection, stars: Any, magnitudes: Sequence[str]) -> int:
    """Add stars, in one transaction; those whose id is there already are replaced.

    Parameters
    ----------
    connection : sqlite3.Connection
        The catalogue, opened with `create`.
    stars, magnitudes
        As `read_stars` gives them.

    Raises
    ------
    CatalogueError
        If the catalogue has other magnitudes: its stars would not have these.
    """
    _prepare(connection, magnitudes)
    names = [*_FIXED, *(name + end for name in magnitudes for end in ("", "_err"))]
    marks = ", ".join("?" * len(names))
    vectors = unit_vectors(stars["ra"], stars["dec"])
    boxes = np.repeat(vectors, 2, axis=1).tolist()
    ids = stars["id"].tolist()
    with connection:
        connection.executemany(
            f"INSERT OR REPLACE INTO star ({', '.join(map(_quoted, names))}) VALUES ({marks})",
            zip(*(stars[name].tolist() for name in names), strict=True),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO star_sky VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((star, *box) for star, box in zip(ids, boxes, strict=True)),
        )
    return len(stars)


def _prepare(connection: sqlite3.Connection, magnitudes: Sequence[str]) -> None:
    """Make the tables, or see that they are those which are needed."""
    there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'star'").fetchone()
    if there:
        known = Reference(connection).magnitudes
        if set(known) != set(magnitudes):
            raise CatalogueError(
                f"the reference catalogue has the magnitudes {', '.join(known)}, and these stars "
                f"have {', '.join(magnitudes) or 'none'}: a repository has one; remove "
                "reference.sqlite to begin another"
            )
        return
    columns = ", ".join(
        f"{_quoted(name + end)} REAL" for name in magnitudes for end in ("", "_err")
    )
    connection.executescript(
        f"""BEGIN;
        CREATE TABLE star (id INTEGER PRIMARY KEY, ra REAL NOT NULL, dec REAL NOT NULL,
            pm_ra REAL NOT NULL, pm_dec REAL NOT NULL, epoch REAL NOT NULL
            {", " if columns else ""}{columns});
        CREATE VIRTUAL TABLE star_sky USING rtree (id, x0, x1, y0, y1, z0, z1);
        PRAGMA application_id = {_APPLICATION};
        COMMIT;"""
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Reference:
    """What a reference catalogue has.

    Attributes
    ----------
    connection : sqlite3.Connection
        The catalogue.
    """

    connection: sqlite3.Connection

    @property
    def magnitudes(self) -> list[str]:
        """The names of its magnitudes, in the order in which they stood in the table."""
        rows = self.connection.execute("SELECT name FROM pragma_table_info('star')")
        names = [name for (name,) in rows if name not in _FIXED]
        return names[::2]

    def stars(self, region: Polygon, choice: Choice, margin: float = 0.0) -> Table:
        """Return the stars in a region.

        Parameters
        ----------
        region : Polygon
            A part of the sky.
        choice : Choice
            Which magnitude and colour they are to have; NaN where there is none.
        margin : float
            How far beyond the region they may be [arcsec]: it covers an error of the pointing, and
            what they have moved since their epoch.

        Returns
        -------
        structured array of `drivers.results.REFERENCE`
            Ordered by id.
        """
        region = widened(region, margin)
        low_x, high_x, low_y, high_y, low_z, high_z = box_around(region)
        rows = self.connection.execute(
            f"SELECT id, ra, dec, pm_ra, pm_dec, epoch, {_values(choice)} "
            "FROM star_sky AS sky CROSS JOIN star USING (id) WHERE sky.x0 <= ? AND sky.x1 >= ? "
            "AND sky.y0 <= ? AND sky.y1 >= ? AND sky.z0 <= ? AND sky.z1 >= ? ORDER BY id",
            (high_x, low_x, high_y, low_y, high_z, low_z),
        ).fetchall()
        # NULL, which becomes NaN here, is SQLite's NaN.
        stars = np.array(rows, REFERENCE) if rows else np.zeros(0, REFERENCE)
        inside = region.contains(np.radians(stars["ra"]), np.radians(stars["dec"]))
        chosen: Table = stars[np.asarray(inside, bool)]
        return chosen


def _values(choice: Choice) -> str:
    """Return the columns of magnitude, its error, and colour."""
    columns = ["NULL", "NULL", "NULL"]
    if choice.magnitude:
        columns[:2] = [_quoted(choice.magnitude), _quoted(f"{choice.magnitude}_err")]
    if choice.colour:
        columns[2] = " - ".join(map(_quoted, choice.colour))
    return ", ".join(columns)
