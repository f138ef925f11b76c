"""The registry of a survey repository: which frames there are, and what was made of them.

One SQLite file, `REPO/registry.sqlite`. Only the drivers' scripts write it, never a task: table
`raw` at ingest, table `calexp` from the records of a run's checkpoint. Both are written in one
transaction and can be written again without harm.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from drivers.command import CommandError
from drivers.data_id import Selection, condition, words_of

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS raw (
    visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL, instrument TEXT NOT NULL,
    exptime REAL, mjd REAL, object TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    path TEXT NOT NULL, hdu INTEGER NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL,
    PRIMARY KEY (visit, ccd), UNIQUE (path, hdu)
);
CREATE TABLE IF NOT EXISTS calexp (
    rerun TEXT NOT NULL, visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL,
    instrument TEXT NOT NULL, image TEXT NOT NULL, catalog TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, wcs TEXT NOT NULL,
    ra0 REAL, dec0 REAL, ra1 REAL, dec1 REAL, ra2 REAL, dec2 REAL, ra3 REAL, dec3 REAL,
    pixel_scale REAL, sky_level REAL, sky_noise REAL, seeing REAL, seeing_pixels REAL,
    n_seeing_stars INTEGER NOT NULL, n_sources INTEGER NOT NULL, good_fraction REAL NOT NULL,
    notes TEXT NOT NULL,
    PRIMARY KEY (rerun, visit, ccd)
);
"""

CALEXP_COLUMNS = (
    "rerun", "visit", "ccd", "filter", "instrument", "image", "catalog", "width", "height", "wcs",
    "ra0", "dec0", "ra1", "dec1", "ra2", "dec2", "ra3", "dec3", "pixel_scale",
    "sky_level", "sky_noise", "seeing", "seeing_pixels", "n_seeing_stars", "n_sources",
    "good_fraction", "notes",
)  # fmt: skip


class RegistryError(CommandError):
    """The registry can't be used; the message is a sentence that says why."""


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

    @property
    def key(self) -> dict[str, int | str]:
        """What identifies the task that processes the frame: its data ID, and which input it is.

        The input is told by size and time of change, so that a file which has changed is processed
        again. Its path is no part of it: a survey that is moved keeps its state.
        """
        identity = f"{self.size}-{self.mtime!r}".encode()
        digest = hashlib.blake2b(identity, digest_size=4).hexdigest()
        return {"visit": self.visit, "ccd": self.ccd, "input": digest}

    def __str__(self) -> str:
        return f"visit={self.visit} ccd={self.ccd}"


RAW_COLUMNS = tuple(column.name for column in fields(RawFrame))
SELECTABLE: Mapping[str, type] = {
    "visit": int, "ccd": int, "filter": str, "instrument": str, "object": str,
    "exptime": float, "mjd": float,
}  # fmt: skip
"""The columns of table `raw` by which frames can be selected, and the kind of their values."""


@contextmanager
def open_registry(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the registry.

    Parameters
    ----------
    path : Path
        The file.
    create : bool
        Make it if it doesn't exist. Otherwise it is opened for reading, and nothing can change.

    Raises
    ------
    RegistryError
        If it doesn't exist, is no registry, or can't be written.
    """
    if not create and not path.is_file():
        raise RegistryError(f"{path} does not exist: ingest frames first (ingestDriver)")
    try:
        uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'ro'}"
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            _prepare(connection, path, create)
            yield connection
    except sqlite3.Error as error:
        raise RegistryError(f"{path}: {error}") from error


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise RegistryError(f"{path} was made by a newer version of the drivers")
    if version == SCHEMA_VERSION:
        return
    if not create or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise RegistryError(f"{path} is not a registry of these drivers")
    connection.executescript(f"{_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")


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


def add_frames(connection: sqlite3.Connection, frames: Iterable[RawFrame]) -> Added:
    """Add frames to table `raw`, in one transaction.

    A frame whose place is held by the same file, or by a file that is gone, replaces it.
    """
    added = Added()
    with connection:
        for frame in frames:
            _add(connection, frame, added)
    return added


def _add(connection: sqlite3.Connection, frame: RawFrame, added: Added) -> None:
    columns = ", ".join(RAW_COLUMNS)
    rows = connection.execute(
        f"SELECT {columns} FROM raw WHERE (visit = ? AND ccd = ?) OR (path = ? AND hdu = ?)",
        (frame.visit, frame.ccd, frame.path, frame.hdu),
    )
    there = [RawFrame(*row) for row in rows]
    for other in there:
        is_ours = (other.path, other.hdu) == (frame.path, frame.hdu)
        if not is_ours and Path(other.path).exists():
            added.refused[frame] = _refusal(frame, other)
            return
    if frame in there:
        added.unchanged += 1
        return
    added.changed += bool(there)
    added.new += not there
    marks = ", ".join("?" * len(RAW_COLUMNS))
    connection.execute(f"INSERT OR REPLACE INTO raw VALUES ({marks})", astuple(frame))


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
    """Return the values which table `raw` has in a column, ordered."""
    if column not in SELECTABLE:
        raise RegistryError(f"the registry has no column {column!r}")
    rows = connection.execute(f"SELECT DISTINCT {column} FROM raw ORDER BY {column}")
    return [row[0] for row in rows if row[0] is not None]


def replace_calexps(
    connection: sqlite3.Connection, rerun: str, rows: Iterable[Mapping[str, Any]]
) -> int:
    """Make table `calexp` say of this rerun exactly what its committed records say.

    Parameters
    ----------
    connection : sqlite3.Connection
        The registry.
    rerun : str
        Name of the rerun: all its rows are replaced, in one transaction.
    rows : iterable of Mapping
        What `process_ccd` recorded of each frame. The last of several rows of a frame counts.

    Returns
    -------
    int
        How many rows the rerun has now.
    """
    marks = ", ".join(f":{column}" for column in CALEXP_COLUMNS)
    with connection:
        connection.execute("DELETE FROM calexp WHERE rerun = ?", (rerun,))
        connection.executemany(
            f"INSERT OR REPLACE INTO calexp VALUES ({marks})",
            (_calexp_row(rerun, row) for row in rows),
        )
        count = connection.execute("SELECT count(*) FROM calexp WHERE rerun = ?", (rerun,))
        return int(count.fetchone()[0])


def _calexp_row(rerun: str, record: Mapping[str, Any]) -> dict[str, Any]:
    corners = {
        f"{axis}{index}": corner[place]
        for index, corner in enumerate(record["corners"])
        for place, axis in enumerate(("ra", "dec"))
    }
    row = {**record, **corners, "rerun": rerun}
    row["wcs"] = json.dumps(record["wcs"])
    row["notes"] = "; ".join(record["notes"])
    return {column: row[column] for column in CALEXP_COLUMNS}
