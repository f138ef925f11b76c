"""Reading a run database: for anybody who may read the file, while a run writes to it or not.

Nothing here unpickles anything, and nothing keeps a lock while its caller does something else: on
a network file system a reader who pages through a listing would hold up the run.
"""

from __future__ import annotations

import json
import os
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from mpipool.checkpoint.connection import connect_to_read, is_new, require_format, sentences
from mpipool.checkpoint.lock import Holder, read_holder
from mpipool.errors import CheckpointError

_PAGE: Final = 500  # rows per statement


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One finished attempt, without its result."""

    session: int
    stage: str
    """Empty for scatters without one."""
    scatter: int
    task: int
    attempt: int
    data_id: dict[str, Any] | None
    state: str
    """``done``, ``failed`` or ``lost``."""
    rank: int
    host: str
    """Empty if it was not recorded."""
    started: float
    finished: float
    cpu: float
    peak_memory: int
    """KiB."""
    error: str | None
    message: str | None
    traceback: str | None
    stderr: str | None
    metrics: dict[str, Any]
    outputs: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """One start of the run."""

    token: int
    started: float
    ended: float | None
    host: str
    pid: int
    ranks: int
    command: str
    state: str
    """``running``, ``killed``, or what the run said when it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """How many tasks of a stage are in which state."""

    stage: str
    done: int
    failed: int
    unfinished: int
    """Of the last session's open scatters: waiting or running, or, if it died, interrupted."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.failed + self.unfinished


def read_records(
    path: str | os.PathLike[str],
    stage: str | None = None,
    state: str | None = None,
    attempts: Literal["latest", "all"] = "latest",
) -> Iterator[StoredRecord]:
    """Read records in the order in which they were committed.

    Parameters
    ----------
    path : path-like
        The run database.
    stage, state : str, optional
        Only these.
    attempts : str
        ``latest``: of each key, or where there is none of each task of each session, the last
        attempt. ``all``: every one.

    Raises
    ------
    CheckpointError
        At the first record, if the database can't be read.
    """
    view = {"latest": "latest", "all": "record"}[attempts]
    with opened(path) as connection:
        chosen = connection.execute(
            f"SELECT id FROM {view}"
            " WHERE (:stage IS NULL OR stage = :stage) AND (:state IS NULL OR state = :state)"
            " ORDER BY id",
            {"stage": stage, "state": state},
        )
        rows = array("q", (row for (row,) in chosen))
        for at in range(0, len(rows), _PAGE):
            # Rows never change, so it does no harm that each page is a transaction of its own.
            yield from _page(connection, rows[at : at + _PAGE])


def _page(connection: sqlite3.Connection, rows: array[int]) -> list[StoredRecord]:
    columns, marks = ", ".join(StoredRecord.__slots__), ", ".join("?" * len(rows))
    found = connection.execute(
        f"SELECT {columns} FROM record WHERE id IN ({marks}) ORDER BY id", rows
    )
    return [_stored(row) for row in found]


def counts(path: str | os.PathLike[str]) -> list[StageCount]:
    """Count tasks per stage and state, stages in the order in which they were first opened."""
    with opened(path) as connection:
        finished = {
            (stage, state): count
            for stage, state, count in connection.execute(
                "SELECT stage, state, count(*) FROM latest GROUP BY stage, state"
            )
        }
        unfinished = dict(connection.execute(_UNFINISHED).fetchall())
        order = connection.execute("SELECT stage FROM scatter GROUP BY stage ORDER BY min(opened)")
        stages = [stage for (stage,) in order]
    stages += sorted({stage for stage, _ in finished} - set(stages))
    return [
        StageCount(
            stage=stage,
            done=finished.get((stage, "done"), 0),
            failed=finished.get((stage, "failed"), 0),
            unfinished=unfinished.get(stage, 0),
        )
        for stage in stages
    ]


# Attempts are summed in one pass: there is no index with which to look up one scatter's.
_UNFINISHED: Final = """
WITH ended AS (
    SELECT scatter, count(DISTINCT task) AS tasks FROM attempt
    WHERE session = (SELECT max(token) FROM session) AND state <> 'lost' GROUP BY scatter
)
SELECT s.stage, sum(max(0, s.tasks - coalesce(e.tasks, 0)))
FROM scatter s LEFT JOIN ended e ON e.scatter = s.id
WHERE s.session = (SELECT max(token) FROM session) AND s.closed IS NULL
GROUP BY s.stage
"""


def sessions(path: str | os.PathLike[str]) -> list[StoredSession]:
    """Read the sessions, first to last."""
    names = [field.name for field in fields(StoredSession)]
    with opened(path) as connection:
        rows = connection.execute(f"SELECT {', '.join(names)} FROM session ORDER BY token")
        return [StoredSession(**dict(zip(names, row, strict=True))) for row in rows]


def holder(path: str | os.PathLike[str]) -> Holder | None:
    """Read who holds the database; its `liveness` says whether that process lives."""
    with opened(path) as connection:
        return read_holder(connection)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Connect for reading, having made sure that it is a run database."""
    full = os.path.abspath(path)
    with closing(connect_to_read(full)) as connection, sentences(full):
        if is_new(connection):
            raise CheckpointError(full, "nothing was recorded in it yet")
        require_format(connection, full)
        yield connection


def _stored(row: tuple[Any, ...]) -> StoredRecord:
    values = dict(zip(StoredRecord.__slots__, row, strict=True))
    values["data_id"] = json.loads(values["data_id"]) if values["data_id"] else None
    values["metrics"] = json.loads(values["metrics"] or "{}")
    values["outputs"] = json.loads(values["outputs"] or "[]")
    return StoredRecord(**values)
