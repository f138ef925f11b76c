"""Which frames lie on a part of the sky, from the registry alone: no file is opened.

An R*Tree has a box of unit vectors around each frame. It gives the few candidates, of which exact
polygons on the sphere decide.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from drivers.frame_error import FrameError
from drivers.sky_polygon import Polygon, box_around, paired, polygon, widened

CORNERS = ("ra0", "dec0", "ra1", "dec1", "ra2", "dec2", "ra3", "dec3")

_BOXES_MEET = (
    "sky.x0 <= ? AND sky.x1 >= ? AND sky.y0 <= ? AND sky.y1 >= ? AND sky.z0 <= ? AND sky.z1 >= ?"
)


def place(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, Any]]) -> None:
    """Enter rows (id and corners) of a table into its R*Tree; those without corners are left."""
    connection.executemany(
        f"INSERT INTO {table}_sky VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((row, *box) for row, corners in rows for box in _box(corners)),
    )


def _box(corners: Sequence[float] | None) -> list[tuple[float, ...]]:
    """Return the box around corners, or nothing if they don't enclose anything."""
    if corners is None or None in corners:
        return []
    try:
        return [box_around(polygon(paired(corners)))]
    except FrameError:
        return []


def index_calexps(connection: sqlite3.Connection) -> None:
    """Enter all rows of `calexp` into its R*Tree, which is empty."""
    rows = connection.execute(f"SELECT id, {', '.join(CORNERS)} FROM calexp").fetchall()
    place(connection, "calexp", ((row, corners) for row, *corners in rows))


def overlapping_frames(
    connection: sqlite3.Connection, region: Polygon, margin: float = 0.0
) -> list[tuple[int, int]]:
    """Return visit and ccd of the raw frames which overlap a region, in their order.

    Parameters
    ----------
    connection : sqlite3.Connection
        The registry.
    region : Polygon
        A part of the sky.
    margin : float
        Distance [arcsec] up to which a frame beside it still counts: the header of a raw frame is
        a guess.
    """
    found = _meeting(connection, "raw", "visit, ccd", "1", [], widened(region, margin))
    return sorted({(visit, ccd) for visit, ccd in found})


def overlapping_calexps(
    connection: sqlite3.Connection, reruns: Sequence[str], region: Polygon, margin: float = 0.0
) -> dict[tuple[int, int], str]:
    """Return visit and ccd of the calibrated images which overlap a region, and their reruns.

    Parameters
    ----------
    connection : sqlite3.Connection
        The registry.
    reruns : sequence of str
        A rerun and those behind it: of an image which several have, the first one's counts.
    region, margin
        As in `overlapping_frames`.
    """
    marks = ", ".join("?" * len(reruns))
    condition, columns = f"rerun IN ({marks})", "rerun, visit, ccd"
    wide = widened(region, margin)
    found = list(_meeting(connection, "calexp", columns, condition, list(reruns), wide))
    found = [row for row in found if not _is_hidden(connection, reruns, row)]
    found.sort(key=lambda row: (row[1], row[2]))
    return {(visit, ccd): rerun for rerun, visit, ccd in found}


def _is_hidden(
    connection: sqlite3.Connection, reruns: Sequence[str], row: tuple[str, int, int]
) -> bool:
    """Whether a rerun before this one has the same image, wherever on the sky."""
    before = reruns[: reruns.index(row[0])]
    if not before:
        return False
    marks = ", ".join("?" * len(before))
    query = f"SELECT 1 FROM calexp WHERE rerun IN ({marks}) AND visit = ? AND ccd = ?"
    return connection.execute(query, (*before, *row[1:])).fetchone() is not None


def _meeting(
    connection: sqlite3.Connection,
    table: str,
    columns: str,
    condition: str,
    values: list[Any],
    region: Polygon,
) -> Iterator[tuple[Any, ...]]:
    """Yield columns of the rows of a table which meet a condition and overlap a region."""
    low_x, high_x, low_y, high_y, low_z, high_z = box_around(region)
    box = (high_x, low_x, high_y, low_y, high_z, low_z)
    corners = ", ".join(CORNERS)
    # CROSS JOIN keeps the order: the R*Tree is asked first.
    rows = connection.execute(
        f"SELECT {corners}, {columns} FROM {table}_sky AS sky CROSS JOIN {table} USING (id) "
        f"WHERE {_BOXES_MEET} AND {condition}",
        (*box, *values),
    )
    for row in rows:
        if polygon(paired(row[:8])).intersects(region):
            yield tuple(row[8:])


def count_unplaced(connection: sqlite3.Connection) -> int:
    """Return how many raw science frames have no corners: an older version ingested them."""
    query = "SELECT count(*) FROM raw WHERE ra0 IS NULL AND obstype = 'science'"
    return int(connection.execute(query).fetchone()[0])
