"""The run database, as the one process which writes to it sees it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, Self

from mpipool.checkpoint import configuration, rows
from mpipool.checkpoint.claim import beat, remove_claim
from mpipool.checkpoint.connection import file_at, leave, sentences
from mpipool.checkpoint.opening import LOG, Request, Taken, acquire
from mpipool.checkpoint.results import (
    remove_leftovers,
    result_name,
    results_folder,
    sync_folder,
)
from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointError, LockLost
from mpipool.task import DONE, STATE_NAMES, Record

_COLUMNS: Final = ", ".join(rows.COLUMNS)
_MARKS: Final = ", ".join("?" * len(rows.COLUMNS))
_INSERT: Final = f"INSERT INTO attempt ({_COLUMNS}) VALUES ({_MARKS})"
_SELECT: Final = f"SELECT {_COLUMNS} FROM attempt WHERE id = ?"


class Found(NamedTuple):
    """What is known of a key: its last attempt."""

    attempts: int
    """How many there were; the next one is this plus one."""
    state: str
    """``done``, ``failed``, ``lost``, ``blocked`` or ``interrupted``."""
    result: bytes | None
    result_file: str | None
    """For `read_result`, in the checkpoint's `folder`."""
    outputs: list[str]
    """As they are stored: relative ones start at the database's folder."""
    error: str | None = None
    """Of what type it was, if it failed."""
    peak_memory: int = 0
    """KiB."""
    seconds: float = 0.0
    """How long it took."""


class Scatter(NamedTuple):
    """One row of table ``scatter``, while it is open."""

    id: int
    parent: int | None
    """The scatter of the task that opened it; None for the script's."""
    stage: str
    tasks: int
    leader: int
    opened: float


class Checkpoint:
    """A run database which this process holds. For one thread, the one that opened it.

    Every transaction first checks that the lock is still ours; if it is not, `LockLost` is raised
    and nothing is written. Errors of the disk are raised as `sqlite3.OperationalError` or
    `OSError`; then the transaction was undone, and can be made again.

    Attributes
    ----------
    path : str
        The database.
    folder : str
        Where larger results are; not made before it is needed.
    token : int
        Of this session; larger than that of every earlier one.
    """

    def __init__(self, path: str, taken: Taken) -> None:
        self.path, self.folder = path, results_folder(path)
        self._connection, self.token, self._index, self._last_row, self._file = taken
        self._renamed: set[str] = set()
        """Folders with outputs of the transaction that is being made."""
        self._placed: set[str] = set()
        """Folders which are known to be on disk."""
        self._spoilt = False
        """Whether attempts of this session have left no result, but perhaps a file."""
        self._remove_leftovers()

    @classmethod
    def open(  # noqa: PLR0913 - independent, keyword-only, and each is needed once
        cls,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None,
        command: str,
        ranks: int,
        take_over: bool = False,
        clobber_config: bool = False,
        group: str = "",
        wait: float = 10.0,
        on_wait: Callable[[str], None] = LOG.info,
    ) -> Self:
        """Open or make a run database, and take its lock.

        Parameters
        ----------
        path : path-like
            The database. Its folder must exist.
        config : mapping or None
            What decides over the results; must be the one with which the database was made.
            None: this run has none, and takes the database as it is.
        command, ranks : str, int
            For the session's row.
        take_over : bool
            Take the lock from a run on another host, of which nobody can say whether it lives.
        clobber_config : bool
            Take a database of another configuration, which then has this one.
        group : str
            A Unix group whose members are trusted and may go on with the run.
        wait : float
            For how many seconds a live run on this host is given time to end.
        on_wait : callable
            Called once, with a sentence, before waiting.

        Raises
        ------
        CheckpointLocked, CheckpointMismatch, CheckpointError
            If it can't be had; nothing was written to it.
        UsageError
            If there is no such group, or this user is none of its members.
        """
        full = os.path.abspath(path)
        told = rows.storable(configuration.canonical(config)), rows.storable(command)
        request = Request(*told, ranks, take_over, Trust.of(group), clobber_config)
        return cls(full, acquire(full, request, wait, on_wait))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Put what is written inside on disk together, or nothing of it; may be nested."""
        if self._connection.in_transaction:
            yield
            return
        last_row = self._last_row
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._require_lock()
            yield
            self._sync_outputs()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._last_row = last_row
            self._index.roll_back()
            raise
        finally:
            self._renamed.clear()
        self._index.commit()

    def append(self, records: Iterable[Record]) -> None:
        """Record finished attempts; drop those of keys which are done already."""
        with self.transaction():
            appended = list(self._rows(records))
            for row in appended:
                if row[rows.OUTPUTS]:
                    self._renamed |= self._output_folders(row[rows.OUTPUTS])
            self._connection.executemany(_INSERT, appended)

    def reopen(self, digests: Iterable[bytes]) -> None:
        """Let these keys be done once more: what they had put out is missing."""
        for digest in digests:
            self._index.reopen(digest)

    def find(self, digests: Sequence[bytes]) -> list[Found | None]:
        """Look up keys, in their order; None for those of which nothing is recorded.

        Raises
        ------
        CheckpointError
            If what stands there is not what was written.
        """
        with sentences(self.path):
            return [self._find(digest) for digest in digests]

    def open_scatter(self, scatter: Scatter) -> None:
        """Record that a scatter began; or, given again, how many tasks it has by now."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO scatter VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
                " ON CONFLICT DO UPDATE SET tasks = excluded.tasks",
                (self.token, *scatter._replace(stage=rows.storable(scatter.stage))),
            )

    def close_scatter(self, scatter: int, closed: float) -> None:
        """Record that a scatter ended."""
        with self.transaction():
            self._connection.execute(
                "UPDATE scatter SET closed = ? WHERE session = ? AND id = ?",
                (closed, self.token, scatter),
            )

    def add_ranks(self, ranks: Iterable[tuple[int, str, int]]) -> None:
        """Record where ranks are: (rank, host, pid)."""
        with self.transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO rank VALUES (?, ?, ?, ?)",
                [(self.token, *rank) for rank in ranks],
            )

    def note(self, said: float, text: str) -> None:
        """Record what the run has said of itself."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO note (session, said, text) VALUES (?, ?, ?)",
                (self.token, said, rows.storable(text)),
            )

    def heartbeat(self, now: float) -> None:
        """Say that this run lives."""
        with self.transaction():
            self._connection.execute("UPDATE lock SET heartbeat = ?", (now,))
        beat(self.path, self.token)

    def end(self, state: str) -> None:
        """Give the lock back and end the session in this state; no task runs any more."""
        if self._spoilt:
            self._remove_leftovers()
        with self.transaction():
            self._connection.execute(
                "UPDATE session SET ended = ?, state = ? WHERE token = ?",
                (time.time(), state, self.token),
            )
            self._connection.execute("DELETE FROM lock")

    def disconnect(self) -> None:
        """Close the connection, whoever has the lock."""
        # SQLite finds journals by their path, where now those of another database may be.
        if self._in_place():
            leave(self._connection)
        else:
            self._connection.close()
        remove_claim(self.path, self.token)

    def require_in_place(self) -> None:
        """Make sure that what is written still goes to the file at our path.

        Raises
        ------
        CheckpointError
            If that file is gone, or another one: what is written would be lost at the end.
        """
        if not self._in_place():
            raise CheckpointError(
                self.path,
                "it was removed or replaced while the run wrote to it; nothing more is recorded,"
                " and what was is lost with it: start the run again, and leave its database alone",
            )

    def close(self, state: str) -> None:
        """End the session and close the connection, which is closed even if ending fails."""
        try:
            self.end(state)
        finally:
            self.disconnect()

    def _remove_leftovers(self) -> None:
        """Remove results which no record names; a disk that does not let us keeps them."""
        with suppress(OSError, sqlite3.Error, CheckpointError):
            remove_leftovers(self.folder, self._is_over)

    def _is_over(self, digest: bytes, attempt: int) -> bool:
        place = self._index.find(digest)
        if place is None or attempt > place.attempts:
            return False  # nothing is recorded of it: of another database beside, perhaps
        named = self._find(digest) if place.done else None
        kept = (named and named.result_file) or ""
        return kept.partition(":")[0] != result_name(digest, attempt)

    def _in_place(self) -> bool:
        try:
            found = file_at(self.path)
        except OSError:  # not to be seen just now, which says nothing
            return True
        return found is not None and found == self._file

    def _require_lock(self) -> None:
        row = self._connection.execute("SELECT token, host, pid FROM lock").fetchone()
        if row is None or row[0] != self.token:
            by = "nobody" if row is None else f"pid {row[2]} on {row[1]}"
            raise LockLost(
                self.path, f"the run was taken over (its lock is held by {by}); this one stops"
            )

    def _rows(self, records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
        for record in records:
            if self._index.take(record, self._last_row + 1):
                self._last_row += 1
                self._spoilt |= record.state != STATE_NAMES[DONE]
                yield rows.stored(self._last_row, self.token, record)
            else:
                LOG.info(
                    "%s: dropped %s attempt %d of %s, which is done already",
                    self.path, record.state, record.attempt, record.data_id,
                )  # fmt: skip

    def _output_folders(self, outputs: str) -> set[str]:
        where = os.path.dirname(self.path)
        return {os.path.join(where, os.path.dirname(output)) for output in json.loads(outputs)}

    def _sync_outputs(self) -> None:
        """Have outputs under their names on disk before it stands there that they are.

        After a power failure a task would else count as done beside an older file of that name.
        """
        for folder in self._renamed:
            with suppress(FileNotFoundError):  # somebody has removed it, and them: resume looks
                self._sync_new_folders(folder)
                sync_folder(folder)

    def _sync_new_folders(self, folder: str) -> None:
        """Have a folder below that of the database in those above it on disk, once."""
        where = os.path.dirname(self.path)
        while folder.startswith(f"{where}/") and folder not in self._placed:
            above = os.path.dirname(folder)
            sync_folder(above)
            self._placed.add(folder)
            folder = above

    def _find(self, digest: bytes) -> Found | None:
        place = self._index.find(digest)
        if place is None:
            return None
        row = self._connection.execute(_SELECT, (place.row,)).fetchone()
        *checked, row_check, result = row or (place.row, b"", None)
        rows.require_sound(checked, row_check)
        found = dict(zip(rows.CHECKED, checked, strict=True))
        if found["digest"] != digest:
            raise rows.damaged(place.row)
        rows.require_sound_result(place.row, result, found["result_check"])
        outputs = json.loads(found["outputs"] or "[]")
        state, kept = found["state"], found["result_file"]
        peak, seconds = found["peak_memory"], found["finished"] - found["started"]
        return Found(place.attempts, state, result, kept, outputs, found["error"], peak, seconds)
