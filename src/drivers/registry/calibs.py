"""Table `calib`: calibration frames, and for which exposures each is good."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields

from drivers.registry.raw import RawFrame


@dataclass(frozen=True, slots=True)
class Calib:
    """A calibration frame of one detector.

    Attributes
    ----------
    kind : str
        ``bias``, ``dark``, ``flat``, ``fringe``, ``sky``, ``defects``, …
    instrument, ccd : str, int
        Whose detector.
    filter : str
        For which filter; empty for any.
    valid_from, valid_to : float
        MJD of the first exposure for which it is good, and of the first for which it is not any
        more.
    path, hdu : str, int
        The file, relative to the repository (or absolute), and the header-data unit in it.
    made_from : tuple of int
        The visits.
    rerun : str
        The rerun which made it.
    """

    kind: str
    instrument: str
    ccd: int
    filter: str
    valid_from: float
    valid_to: float
    path: str
    hdu: int
    made_from: tuple[int, ...] = ()
    rerun: str = ""


_COLUMNS = tuple(column.name for column in fields(Calib))


def add_calibs(connection: sqlite3.Connection, calibs: Iterable[Calib]) -> int:
    """Add calibration frames, in one transaction; return how many.

    One of the same kind, detector and filter whose validity begins at the same time is replaced.
    """
    rows = [
        [
            json.dumps(calib.made_from) if name == "made_from" else getattr(calib, name)
            for name in _COLUMNS
        ]
        for calib in calibs
    ]
    marks = ", ".join("?" * len(_COLUMNS))
    with connection:
        connection.executemany(
            f"INSERT OR REPLACE INTO calib ({', '.join(_COLUMNS)}) VALUES ({marks})", rows
        )
    return len(rows)


def find_calib(connection: sqlite3.Connection, kind: str, frame: RawFrame) -> Calib | None:
    """Return the calibration frame of a kind which is good for a raw frame, or None.

    Of several the one whose validity began last counts, and of these one for the frame's own filter
    before one for any. A frame without a date has only calibration frames without limits.
    """
    when = "valid_from <= :mjd AND :mjd < valid_to"
    if frame.mjd is None:
        when = "valid_from <= -1e9 AND valid_to >= 1e9"
    row = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM calib WHERE kind = :kind AND ccd = :ccd "
        f"AND instrument = :instrument AND filter IN ('', :filter) AND {when} "
        "ORDER BY valid_from DESC, filter DESC LIMIT 1",
        {
            "kind": kind, "ccd": frame.ccd, "instrument": frame.instrument,
            "filter": frame.filter, "mjd": frame.mjd,
        },
    ).fetchone()  # fmt: skip
    return None if row is None else _calib(row)


def find_calibs(connection: sqlite3.Connection, frame: RawFrame) -> dict[str, Calib]:
    """Return the calibration frames which are good for a raw frame, by kind."""
    kinds = connection.execute("SELECT DISTINCT kind FROM calib ORDER BY kind").fetchall()
    found = {kind: find_calib(connection, kind, frame) for (kind,) in kinds}
    return {kind: calib for kind, calib in found.items() if calib is not None}


def _calib(row: tuple[object, ...]) -> Calib:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["made_from"] = tuple(json.loads(str(values["made_from"])))
    return Calib(**values)  # type: ignore[arg-type]
