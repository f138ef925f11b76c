"""The checkpoint of a simulated run: the real code on a real file, at simulated times.

`SteppingRecorder` is the real recorder without its thread: the virtual clock makes its steps. What
`Disk` has seen committed must be there after each restart.
"""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mpipool.checkpoint.database import Checkpoint
from mpipool.checkpoint.recorder import Recorder, Timing, _Changed
from mpipool.transport.virtual import VirtualClock

SHORTEST, LONGEST = 1e-4, 0.1
"""Seconds between two steps of the recorder."""
SLOW: Final = 2.0
"""Seconds which a slow commit takes."""
MOST_FAILURES: Final = 25
"""In a row, before the disk works again: fewer than the recorder's tries."""
FOREVER: Final = 1_000_000

logging.getLogger("mpipool.checkpoint").setLevel(logging.ERROR)


class Disk:
    """The database of one run through all its sessions, and what is wrong with the disk.

    Attributes
    ----------
    durable : set of bytes
        The keys of tasks which were committed as done.
    safe : set of bytes
        Those which whoever asks now must be told of.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.durable: set[bytes] = set()
        self.safe: set[bytes] = set()
        self.failures_left = 0
        self.delay = 0.0
        """Seconds by which the next step is late."""
        self.on_write: Callable[[], None] = lambda: None
        """Called in the middle of each transaction which writes records."""
        self.on_commit: Callable[[set[bytes]], None] = lambda keys: None
        """Called when records are on disk, with the keys of those which are done."""
        self.backlog = 0
        """Records which were handed over and are not on disk."""
        self._folder, self._chance = folder, chance
        self._session = 0
        self._checkpoint: Checkpoint | None = None

    @property
    def path(self) -> str:
        """Where the database is in this session."""
        return str(self._folder / f"run{self._session}.db")

    # --- sessions --------------------------------------------------------------------------------

    def recorder_on(self, clock: VirtualClock) -> Callable[..., Recorder]:
        """Return what opens the checkpoint in a session, in place of `Recorder.open`."""

        def open_recorder(
            path: str,
            wake: Callable[[], None],
            reply: Callable[[Checkpoint | Exception], None],
            **arguments: Any,
        ) -> Recorder:
            arguments.pop("on_wait")
            recorder = SteppingRecorder(lambda: self._open(path, arguments), wake, self, clock)
            recorder.ask(lambda checkpoint: checkpoint, reply)
            recorder.start()
            return recorder

        return open_recorder

    def _open(self, path: str, arguments: dict[str, Any]) -> Checkpoint:
        self._checkpoint = checkpoint = Checkpoint.open(path, wait=0.0, **arguments)
        self.safe = set(self.durable)
        plain, depth = checkpoint.transaction, 0

        @contextmanager
        def transaction() -> Iterator[None]:
            nonlocal depth
            depth += 1
            try:
                with plain():
                    yield
                    if depth == 1:
                        self._strike()
            finally:
                depth -= 1

        checkpoint.transaction = transaction  # type: ignore[method-assign]
        return checkpoint

    def _strike(self) -> None:
        if self.backlog:
            self.on_write()
        if self.failures_left:
            self.failures_left -= 1
            raise sqlite3.OperationalError("database or disk is full")

    def interval(self) -> float:
        """Draw how long the recorder waits before its next step, seconds."""
        late, self.delay = self.delay, 0.0
        return late + SHORTEST * (LONGEST / SHORTEST) ** self._chance.random()

    def committed(self, keys: set[bytes]) -> None:
        """Take in that these tasks are on disk as done."""
        self.durable |= keys
        self.on_commit(keys)

    def power_fails(self) -> None:
        """Leave what a dead machine would leave, for the next session."""
        before = Path(self.path)
        self._session += 1
        for ending in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                shutil.copy(f"{before}{ending}", f"{self.path}{ending}")
        if self._checkpoint:
            self._checkpoint._connection.close()
            self._checkpoint = None
        self.failures_left, self.delay, self.backlog = 0, 0.0, 0
        if not Path(self.path).exists():
            return
        with closing(sqlite3.connect(self.path)) as connection, suppress(sqlite3.OperationalError):
            # The holder is this very process: let it be one of a machine which was started anew.
            connection.execute("UPDATE lock SET process = 'before' || substr(process, 7)")
            connection.commit()

    # --- what must be there ----------------------------------------------------------------------

    def check(self, results: dict[bytes, bytes]) -> None:
        """Nothing that was committed is missing, wrong, or there twice.

        Parameters
        ----------
        results : dict
            By key, what each task returns.
        """
        with closing(sqlite3.connect(self.path)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                rows = []
            else:
                rows = connection.execute(
                    "SELECT digest, state, result FROM attempt WHERE digest IS NOT NULL ORDER BY id"
                ).fetchall()
        done: set[bytes] = set()
        for digest, state, result in rows:
            assert digest not in done, f"something was recorded of {digest.hex()} after it was done"
            if state == "done":
                done.add(digest)
                assert result == results[digest], f"another result of {digest.hex()} is on disk"
        assert done == self.durable, (
            f"{len(self.durable - done)} tasks were lost and {len(done - self.durable)} were not "
            "acknowledged"
        )


class SteppingRecorder(Recorder):
    """The recorder without its thread."""

    def __init__(
        self,
        opener: Callable[[], Checkpoint],
        wake: Callable[[], None],
        disk: Disk,
        clock: VirtualClock,
    ) -> None:
        super().__init__(opener, wake, Timing(pause=0.0))
        self._disk, self._clock = disk, clock
        self._held: Checkpoint | None = None
        self._is_due = False

    def start(self) -> None:
        """Have the checkpoint opened soon."""
        self._clock.after(self._disk.interval(), self._begin)

    def close(self, state: str, timeout: float) -> bool:
        """Commit what is left, and end the session."""
        if self._held is None or self.failure:
            return self.failure is None
        self._step()
        try:
            if self.failure is None:
                self._commit(self._held, [_Changed(lambda held: held.end(state))])
                self._held.disconnect()
        except Exception as error:
            self._fail(error)
        return self.failure is None

    def _begin(self) -> None:
        try:
            self._held = self._opener()
        except Exception as error:
            self._fail(error)
            return
        self._step()

    def _put(self, entry: Any) -> None:
        super()._put(entry)
        self._disk.backlog = self.backlog
        if self._held and not self._is_due and self.failure is None:
            self._is_due = True
            self._clock.after(self._disk.interval(), self._step)

    def _step(self) -> None:
        self._is_due = False
        if self._held is None or self.failure:
            return
        try:
            self._flush(self._held)
        except Exception as error:
            self._fail(error)

    def _commit(self, checkpoint: Checkpoint, batch: Any) -> None:
        super()._commit(checkpoint, batch)
        records = [record for entry in batch for record in getattr(entry, "records", ())]
        self._disk.backlog = self.backlog
        if records:
            done = {record.digest for record in records if record.state == "done"}
            self._disk.committed({digest for digest in done if digest})
