"""The run database, as the one process which writes to it sees it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

from mpipool.checkpoint import configuration
from mpipool.checkpoint.connection import file_at, leave
from mpipool.checkpoint.opening import LOG, Request, Taken, acquire
from mpipool.checkpoint.results import results_folder
from mpipool.errors import CheckpointError, LockLost
from mpipool.task import Record

_INSERT: Final = f"INSERT INTO attempt VALUES ({', '.join('?' * (2 + len(Record._fields)))})"


class Found(NamedTuple):
    """What is known of a key: its last attempt."""

    attempts: int
    """How many there were; the next one is this plus one."""
    state: str
    """``done``, ``failed`` or ``lost``."""
    result: bytes | None
    result_file: str | None
    """For `read_result`, in the checkpoint's `folder`."""
    outputs: list[str]
    """As they are stored: relative ones start at the database's folder."""


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
    and nothing is written. Errors of the disk are raised as `sqlite3.OperationalError`; then the
    transaction was undone, and can be made again.

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

    @classmethod
    def open(  # noqa: PLR0913 - independent, keyword-only, and each is needed once
        cls,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None,
        command: str,
        ranks: int,
        take_over: bool = False,
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
        wait : float
            For how many seconds a live run on this host is given time to end.
        on_wait : callable
            Called once, with a sentence, before waiting.

        Raises
        ------
        CheckpointLocked, CheckpointMismatch, CheckpointError
            If it can't be had; nothing was written to it.
        """
        full = os.path.abspath(path)
        request = Request(configuration.canonical(config), command, ranks, take_over)
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
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._last_row = last_row
            self._index.roll_back()
            raise
        self._index.commit()

    def append(self, records: Iterable[Record]) -> None:
        """Record finished attempts; drop those of keys which are done already."""
        with self.transaction():
            self._connection.executemany(_INSERT, list(self._rows(records)))

    def reopen(self, digests: Iterable[bytes]) -> None:
        """Let these keys be done once more: what they had put out is missing."""
        for digest in digests:
            self._index.reopen(digest)

    def find(self, digests: Sequence[bytes]) -> list[Found | None]:
        """Look up keys, in their order; None for those of which nothing is recorded."""
        return [self._find(digest) for digest in digests]

    def open_scatter(self, scatter: Scatter) -> None:
        """Record that a scatter began; or, given again, how many tasks it has by now."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO scatter VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
                " ON CONFLICT DO UPDATE SET tasks = excluded.tasks",
                (self.token, *scatter),
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

    def heartbeat(self, now: float) -> None:
        """Say that this run lives."""
        with self.transaction():
            self._connection.execute("UPDATE lock SET heartbeat = ?", (now,))

    def end(self, state: str) -> None:
        """Give the lock back and end the session in this state."""
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

    def _rows(self, records: Iterable[Record]) -> Iterator[tuple[object, ...]]:
        for record in records:
            if self._index.take(record, self._last_row + 1):
                self._last_row += 1
                yield (self._last_row, self.token, *record)
            else:
                LOG.info(
                    "%s: dropped %s attempt %d of %s, which is done already",
                    self.path, record.state, record.attempt, record.data_id,
                )  # fmt: skip

    def _find(self, digest: bytes) -> Found | None:
        place = self._index.find(digest)
        if place is None:
            return None
        state, result, result_file, outputs = self._connection.execute(
            "SELECT state, result, result_file, outputs FROM attempt WHERE id = ?", (place.row,)
        ).fetchone()
        return Found(place.attempts, state, result, result_file, json.loads(outputs or "[]"))
