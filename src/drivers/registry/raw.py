"""Table `raw`: the frames which were ingested."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from drivers.data_id import Selection, condition, words_of
from drivers.registry.database import RegistryError, selectable
from drivers.registry.regions import CORNERS, place


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One detector's image in one file, as ingested: a row of table `raw`.

    Attributes
    ----------
    visit, ccd : int
        Its data ID, unique within a repository.
    filter, instrument, object : str
        The filter's short name, the camera and what was observed.
    exptime, mjd : float or None
        Exposure time [s] and start of the exposure [d].
    width, height : int
        Size of the image in the file [px].
    path, hdu : str, int
        The file (absolute) and the header-data unit in it.
    size, mtime : int, float
        The file's size [bytes] and time of change when it was ingested.
    role : str
        What the detector is for: ``science``, ``focus`` or ``guide``.
    obstype : str
        What the frame shows: ``science``, ``bias``, ``dark``, ``flat``, …
    source : str
        The file from which `path` was copied, linked or moved; empty if it is where it was.
    wcs : str
        The header's cards of its world coordinates, as JSON; empty if it has none.
    ra0, dec0 … ra3, dec3 : float or None
        By that header, where the outer corners of its pixels are on the sky [deg].
    """

    visit: int
    ccd: int
    filter: str
    instrument: str
    exptime: float | None
    mjd: float | None
    object: str
    width: int
    height: int
    path: str
    hdu: int
    size: int
    mtime: float
    role: str = "science"
    obstype: str = "science"
    source: str = ""
    wcs: str = ""
    ra0: float | None = None
    dec0: float | None = None
    ra1: float | None = None
    dec1: float | None = None
    ra2: float | None = None
    dec2: float | None = None
    ra3: float | None = None
    dec3: float | None = None

    @property
    def key(self) -> dict[str, int | str]:
        """What identifies the task that processes the frame: its data ID, and which input it is.

        The input is told by size and time of change, so that a file which has changed is processed
        again. Its path is no part of it: a survey that is moved keeps its state.
        """
        identity = f"{self.size}-{self.mtime!r}".encode()
        digest = hashlib.blake2b(identity, digest_size=4).hexdigest()
        return {"visit": self.visit, "ccd": self.ccd, "input": digest}

    @property
    def corners(self) -> list[float] | None:
        """The corners as ``ra0, dec0, ra1, …`` [deg]; None if they are not known."""
        values = [getattr(self, name) for name in CORNERS]
        return None if None in values else values

    def __str__(self) -> str:
        return f"visit={self.visit} ccd={self.ccd}"


RAW_COLUMNS = tuple(column.name for column in fields(RawFrame))
_values = attrgetter(*RAW_COLUMNS)
SELECTABLE: Mapping[str, type] = selectable("raw")
"""The columns of table `raw` by which frames can be selected, and the kind of their values."""


@dataclass(slots=True)
class Added:
    """What became of the frames that were to be added.

    Attributes
    ----------
    new, changed, unchanged : int
        How many were not there, were there with other values, and were there as they are.
    refused : dict of RawFrame to str
        Those of which another file has the data ID; and which, and the way out.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: dict[RawFrame, str] = field(default_factory=dict)


def add_frames(connection: sqlite3.Connection, frames: Sequence[RawFrame]) -> Added:
    """Add frames to table `raw`, in one transaction.

    A frame whose place is held by the same file, or by a file that is gone, replaces it.
    """
    with connection:
        # Before the first look: no other ingest may come between looking and adding.
        connection.execute("BEGIN IMMEDIATE")
        added = Added(refused=refusals(connection, frames))
        for frame in frames:
            if frame not in added.refused:
                _add(connection, frame, added)
    return added


def refusals(connection: sqlite3.Connection, frames: Iterable[RawFrame]) -> dict[RawFrame, str]:
    """Return which frames `add_frames` would refuse, and why. Changes nothing."""
    refused = {}
    claimed: dict[tuple[int, int], RawFrame] = {}
    for frame in frames:
        holder = claimed.get((frame.visit, frame.ccd)) or _holder(connection, frame)
        if holder is None:
            claimed[frame.visit, frame.ccd] = frame
        elif holder != frame:
            refused[frame] = _refusal(frame, holder)
    return refused


def _holder(connection: sqlite3.Connection, frame: RawFrame) -> RawFrame | None:
    """Return the frame of another file, which is still there, with the data ID of this one."""
    columns = ", ".join(RAW_COLUMNS)
    row = connection.execute(
        f"SELECT {columns} FROM raw WHERE visit = ? AND ccd = ? AND path != ?",
        (frame.visit, frame.ccd, frame.path),
    ).fetchone()
    return RawFrame(*row) if row and Path(row[RAW_COLUMNS.index("path")]).exists() else None


def _add(connection: sqlite3.Connection, frame: RawFrame, added: Added) -> None:
    there = _there(connection, frame)
    if frame in there:
        added.unchanged += 1
        return
    added.changed += bool(there)
    added.new += not there
    for other in there:
        where = (other.visit, other.ccd)
        connection.execute("DELETE FROM raw WHERE visit = ? AND ccd = ?", where)
    marks = ", ".join("?" * len(RAW_COLUMNS))
    insert = f"INSERT INTO raw ({', '.join(RAW_COLUMNS)}) VALUES ({marks})"
    row = connection.execute(insert, _values(frame)).lastrowid
    place(connection, "raw", [(row, frame.corners)])


def _there(connection: sqlite3.Connection, frame: RawFrame) -> list[RawFrame]:
    """Return the frames which have the data ID of a frame, or its place in a file."""
    # Two conditions joined by OR would look at only one index after the other's rows.
    columns = ", ".join(RAW_COLUMNS)
    rows = connection.execute(
        f"SELECT {columns} FROM raw WHERE visit = ? AND ccd = ? "
        f"UNION SELECT {columns} FROM raw WHERE path = ? AND hdu = ?",
        (frame.visit, frame.ccd, frame.path, frame.hdu),
    )
    return [RawFrame(*row) for row in rows]


def _refusal(frame: RawFrame, holder: RawFrame) -> str:
    says = f"{frame} is in the registry already, from {holder.path} (HDU {holder.hdu}"
    if holder.instrument == frame.instrument:
        return f"{says}): remove that file first, or use another repository"
    return (
        f"{says}, {holder.instrument}): visits of {holder.instrument} and {frame.instrument} have "
        "the same numbers, so use another repository for one of them"
    )


def unmatched(connection: sqlite3.Connection, selection: Selection) -> str:
    """Return the words of an ``--id`` of which no frame is selected; empty if there are none."""
    if not _any(connection, selection):
        return words_of(selection)
    rest = {
        key: tuple(term for term in terms if not _any(connection, {**selection, key: (term,)}))
        for key, terms in selection.items()
    }
    return words_of({key: terms for key, terms in rest.items() if terms})


def _any(connection: sqlite3.Connection, selection: Selection) -> bool:
    where, values = condition([selection])
    query = f"SELECT EXISTS (SELECT 1 FROM raw WHERE {where})"
    return bool(connection.execute(query, values).fetchone()[0])


def find_frames(
    connection: sqlite3.Connection, condition: str, values: Sequence[Any]
) -> list[RawFrame]:
    """Return the frames which meet an SQL condition, ordered by visit and ccd."""
    rows = connection.execute(
        f"SELECT {', '.join(RAW_COLUMNS)} FROM raw WHERE {condition} ORDER BY visit, ccd", values
    )
    return [RawFrame(*row) for row in rows]


def distinct_values(connection: sqlite3.Connection, column: str) -> list[Any]:
    """Return the values in a column of exposures of the sky, ordered; not the empty ones."""
    if column not in SELECTABLE:
        raise RegistryError(f"the registry has no column {column!r}")
    query = f"SELECT DISTINCT {column} FROM raw WHERE obstype = 'science' ORDER BY {column}"
    rows = connection.execute(query)
    return [row[0] for row in rows if row[0] not in (None, "")]
