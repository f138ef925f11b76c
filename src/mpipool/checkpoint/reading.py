"""Reading a run database: for anybody who may read the file, while a run writes to it or not.

Nothing here unpickles anything, and nothing keeps a lock while its caller does something else: on
a network file system a reader who pages through a listing would hold up the run.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from mpipool.checkpoint import lock
from mpipool.checkpoint.connection import (
    connect_to_read,
    is_new,
    read_meta,
    require_format,
    sentences,
)
from mpipool.checkpoint.damaged import Damaged, typed
from mpipool.checkpoint.lock import Holder, read_holder
from mpipool.checkpoint.rows import CHECKS_SINCE, SELECT_CHECKED, require_sound
from mpipool.errors import CheckpointError

_PAGE: Final = 500  # rows per statement
NOTES_SINCE: Final = 3
"""Version of the schema."""
_NOTES: Final = """
SELECT said, text FROM note WHERE session = (SELECT max(token) FROM session) ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One finished attempt, without its result."""

    session: int
    stage: str
    """Empty for scatters without one."""
    scatter: int
    task: int
    attempt: int
    data_id: Any
    """A JSON value, as a rule a dict; None for tasks without key."""
    state: str
    """``done``, ``failed``, ``lost``, ``blocked`` or ``interrupted``."""
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
    """Absolute; those below the database's folder have moved with it."""


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
class StoredNote:
    """What a run has said of itself."""

    said: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """How many tasks of a stage are in which state."""

    stage: str
    done: int
    failed: int
    unfinished: int
    """Of the last session's scatters: waiting or running, or, if it is over, not done."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.failed + self.unfinished


def read_records(
    path: str | os.PathLike[str],
    stage: str | None = None,
    state: str | None = None,
    attempts: Literal["latest", "all"] = "latest",
    order: Literal["commit", "data_id"] = "commit",
) -> Iterator[StoredRecord]:
    """Read records.

    Parameters
    ----------
    path : path-like
        The run database.
    stage, state : str, optional
        Only these.
    attempts : str
        ``latest``: of each key, or where there is none of each task of each session, the last
        attempt. ``all``: every one.
    order : str
        ``commit``: as they were committed. ``data_id``: by stage, in the order in which stages
        were first opened, and then by data ID, numbers by their value.

    Raises
    ------
    CheckpointError
        At the first record, if the database can't be read.
    """
    view = {"latest": "latest", "all": "record"}[attempts]
    folder = os.path.dirname(os.path.abspath(path))
    with opened(path) as connection:
        chosen = connection.execute(
            f"SELECT id, stage, data_id, scatter, task FROM {view}"
            " WHERE (:stage IS NULL OR stage = :stage) AND (:state IS NULL OR state = :state)"
            " ORDER BY id",
            {"stage": stage, "state": state},
        )
        if order == "commit":
            rows = array("q", (row[0] for row in chosen))
        else:
            rows = _by_data_id(chosen.fetchall(), _stages(connection))
        for at in range(0, len(rows), _PAGE):
            # Rows never change, so it does no harm that each page is a transaction of its own.
            for values in _page(connection, rows[at : at + _PAGE]):
                yield _stored(values, folder)


def _page(connection: sqlite3.Connection, rows: array[int]) -> list[tuple[Any, ...]]:
    columns, marks = ", ".join(StoredRecord.__slots__), ", ".join("?" * len(rows))
    if int(read_meta(connection, "schema_version")) >= CHECKS_SINCE:
        for *row, row_check in connection.execute(f"{SELECT_CHECKED} WHERE id IN ({marks})", rows):
            require_sound(row, row_check)
    found = {
        number: values
        for number, *values in connection.execute(
            f"SELECT id, {columns} FROM record WHERE id IN ({marks})", rows
        )
    }
    if len(found) < len(rows):
        raise Damaged("table attempt does not have the rows which it lists")
    return [tuple(found[row]) for row in rows]


def _by_data_id(rows: list[tuple[int, str, str | None, int, int]], stages: list[str]) -> array[int]:
    """Sort rows, and return their numbers; those without data ID come last in their stage."""
    places = {stage: place for place, stage in enumerate(stages)}

    def place(row: tuple[int, str, str | None, int, int]) -> tuple[Any, ...]:
        number, stage, data_id, scatter, task = row
        identity = _comparable(_parsed(data_id)) if data_id else ()
        return places.get(stage, len(places)), stage, not data_id, identity, scatter, task, number

    every = typed(rows, int, str, str | None, int, int)
    return array("q", (row[0] for row in sorted(every, key=place)))


def _parsed(text: Any) -> Any:
    """Read JSON from a row that may have no checksum."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise Damaged(f"{text!r:.80} stands where JSON is expected") from None


def _comparable(value: Any) -> tuple[Any, ...]:
    """Make JSON values comparable: numbers by value, and so those in strings ("patch 2,10")."""
    match value:
        case dict():
            return 3, [(key, _comparable(inner)) for key, inner in value.items()]
        case list():
            return 2, [_comparable(inner) for inner in value]
        case str():
            # Every second part is a number. Python refuses to read one of thousands of digits.
            parts = re.split(r"([0-9]{1,18})", value)
            return 1, [int(part) if at % 2 else part for at, part in enumerate(parts)]
        case None:
            return (-1,)
        case _:
            return 0, value


def counts(path: str | os.PathLike[str]) -> list[StageCount]:
    """Count tasks per stage and state, stages in the order in which they were first opened."""
    with opened(path) as connection:
        finished = {
            (stage, state): count
            for stage, state, count in typed(
                connection.execute(
                    "SELECT stage, state, count(*) FROM latest GROUP BY stage, state"
                ),
                str, str, int,
            )
        }  # fmt: skip
        unfinished = dict(typed(connection.execute(_UNFINISHED), str, int))
        stages = _stages(connection)
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


def _stages(connection: sqlite3.Connection) -> list[str]:
    order = connection.execute("SELECT stage FROM scatter GROUP BY stage ORDER BY min(opened)")
    return [stage for (stage,) in typed(order, str)]


# Attempts are summed in one pass: there is no index with which to look up one scatter's.
# What a closed scatter left was abandoned, and is missing. But if a task's own scatter was, and all
# of the scatter to which that task belongs has ended, it failed or was run again with another one.
_UNFINISHED: Final = """
WITH ended AS (
    SELECT scatter, count(DISTINCT task) AS tasks FROM attempt
    WHERE session = (SELECT max(token) FROM session)
    AND state NOT IN ('lost', 'blocked', 'interrupted')
    GROUP BY scatter
), missing AS (
    SELECT s.id, s.parent, s.stage, s.closed, max(0, s.tasks - coalesce(e.tasks, 0)) AS tasks
    FROM scatter s LEFT JOIN ended e ON e.scatter = s.id
    WHERE s.session = (SELECT max(token) FROM session)
)
SELECT m.stage, sum(m.tasks) FROM missing m LEFT JOIN missing p ON p.id = m.parent
WHERE m.closed IS NULL OR m.parent IS NULL OR p.tasks > 0
GROUP BY m.stage
"""


def sessions(path: str | os.PathLike[str]) -> list[StoredSession]:
    """Read the sessions, first to last."""
    names = [field.name for field in fields(StoredSession)]
    with opened(path) as connection:
        rows = connection.execute(f"SELECT {', '.join(names)} FROM session ORDER BY token")
        every = [
            StoredSession(**dict(zip(names, row, strict=True)))
            for row in typed(rows, int, float, float | None, str, int, int, str, str)
        ]
        if not every:
            raise Damaged("it has no session")
        return every


def notes(path: str | os.PathLike[str]) -> list[StoredNote]:
    """Read what the last session has said of itself, first to last."""
    with opened(path) as connection:
        if int(read_meta(connection, "schema_version")) < NOTES_SINCE:
            return []
        rows = connection.execute(_NOTES)
        return [StoredNote(said=said, text=text) for said, text in typed(rows, float, str)]


def holder(path: str | os.PathLike[str]) -> Holder | None:
    """Read who holds the database; its `liveness` says whether that process lives."""
    with opened(path) as connection:
        return read_holder(connection)


def last_heard(path: str | os.PathLike[str]) -> float:
    """Read when the last session was last heard of: its end, a sign of life, the end of a task."""
    last = sessions(path)[-1]
    if last.ended is not None:
        return last.ended
    with opened(path) as connection:
        held = read_holder(connection)
        return lock.last_heard(connection, last.token, held.heartbeat if held else last.started)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Connect for reading, having made sure that it is a run database."""
    full = os.path.abspath(path)
    with closing(connect_to_read(full)) as connection, sentences(full):
        if is_new(connection):
            raise CheckpointError(full, "nothing was recorded in it yet")
        require_format(connection, full)
        yield connection


def _stored(row: tuple[Any, ...], folder: str) -> StoredRecord:
    values = dict(zip(StoredRecord.__slots__, row, strict=True))
    values["data_id"] = _parsed(values["data_id"]) if values["data_id"] else None
    values["metrics"] = _parsed(values["metrics"] or "{}")
    outputs = _parsed(values["outputs"] or "[]")
    values["outputs"] = [os.path.join(folder, output) for output in outputs]
    return StoredRecord(**values)
