"""Keeps the disk off the message path: one thread which alone touches the run database.

What the loop hands over is committed in its order, in batches. A disk that is full, or a file
system that does not answer, makes the thread try again while the batch is kept; only if that goes
on does the recorder fail, and says so.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeVar

from mpipool.checkpoint.connection import sentence
from mpipool.checkpoint.database import Checkpoint, Scatter
from mpipool.errors import CheckpointError
from mpipool.task import Record

T = TypeVar("T")
Reply = Callable[[Any], None]

LOG: Final = logging.getLogger("mpipool.checkpoint")
HEARTBEAT: Final = 5.0
"""Seconds between signs of life in the lock."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the recorder waits for what."""

    interval: float = 0.05
    """Seconds for which changes are gathered before they are committed together."""
    pause: float = 1.0
    """Seconds after a failed commit before it is tried again."""
    tries: int = 30
    """How often a commit is tried."""


@dataclass(frozen=True, slots=True)
class _Appended:
    records: list[Record]


@dataclass(frozen=True, slots=True)
class _Changed:
    change: Callable[[Checkpoint], object]


@dataclass(frozen=True, slots=True)
class _Asked:
    question: Callable[[Checkpoint], Any]
    reply: Reply


_Entry = _Appended | _Changed | _Asked


class Recorder:
    """The thread that writes, and what the loop's thread calls.

    Parameters
    ----------
    opener : callable
        Opens the checkpoint; called in the recorder's thread, and may wait.
    wake : callable
        Called in the recorder's thread when there is something to `deliver`, or `failure` is set.
    timing : Timing
        How long is waited for what.

    Attributes
    ----------
    failure : Exception or None
        What stopped the recorder. What it had not committed is not on disk.
    trouble : str or None
        Why the last commit failed, while it is tried again.
    """

    def __init__(
        self,
        opener: Callable[[], Checkpoint],
        wake: Callable[[], None],
        timing: Timing = Timing(),
    ) -> None:
        self.failure: Exception | None = None
        self.trouble: str | None = None
        self._opener, self._wake, self._timing = opener, wake, timing
        self._mutex = threading.Lock()  # over `failure` and `_entries` together
        self._entries: deque[_Entry] = deque()
        self._replies: deque[Callable[[], None]] = deque()
        self._arrived, self._urgent = threading.Event(), threading.Event()
        self._last_state: str | None = None
        self._taken = self._committed = 0
        self._thread = threading.Thread(target=self._run, name="mpipool-recorder", daemon=True)

    @classmethod
    def open(
        cls,
        path: str,
        wake: Callable[[], None],
        reply: Callable[[Checkpoint | Exception], None],
        on_wait: Callable[[str], None] = LOG.info,
        timing: Timing = Timing(),
        **arguments: Any,
    ) -> Self:
        """Open a checkpoint in a new recorder.

        ``arguments`` go to `Checkpoint.open`. ``reply`` is given the checkpoint (to be used in
        questions only) or what went wrong, and ``on_wait`` the sentence about a run that is
        waited for; both by `deliver`.
        """

        def opener() -> Checkpoint:
            def tell(message: str) -> None:
                recorder._post(partial(on_wait, message))

            return Checkpoint.open(path, on_wait=tell, **arguments)

        recorder = cls(opener, wake, timing)
        recorder.ask(lambda checkpoint: checkpoint, reply)
        recorder.start()
        return recorder

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # --- in the loop's thread ---

    @property
    def backlog(self) -> int:
        """How many records are not yet on disk."""
        return self._taken - self._committed

    @property
    def loss(self) -> str:
        """What is not on disk though the run ends, in a sentence."""
        reason = self.failure or f"the disk does not answer ({self.trouble or 'it is slow'})"
        return (
            f"{self.backlog} finished tasks are not recorded, and are run again when the run is"
            f" started again: {reason}"
        )

    def append(self, records: Iterable[Record]) -> None:
        """Record finished attempts."""
        kept = list(records)
        self._taken += len(kept)
        self._put(_Appended(kept))

    def open_scatter(self, scatter: Scatter) -> None:
        """Record that a scatter began, or how many tasks it has by now."""
        self._put(_Changed(lambda checkpoint: checkpoint.open_scatter(scatter)))

    def close_scatter(self, scatter: int, closed: float) -> None:
        """Record that a scatter ended."""
        self._put(_Changed(lambda checkpoint: checkpoint.close_scatter(scatter, closed)))

    def add_ranks(self, ranks: Iterable[tuple[int, str, int]]) -> None:
        """Record where ranks are: (rank, host, pid)."""
        kept = list(ranks)
        self._put(_Changed(lambda checkpoint: checkpoint.add_ranks(kept)))

    def note(self, said: float, text: str) -> None:
        """Record what the run says of itself, and when (s since the epoch)."""
        self._put(_Changed(lambda checkpoint: checkpoint.note(said, text)))

    def ask(
        self, question: Callable[[Checkpoint], T], reply: Callable[[T | Exception], None]
    ) -> None:
        """Have a question answered when all that was recorded before it is on disk.

        The question runs in the recorder's thread, the reply in that of `deliver`, with the answer
        or with what went wrong.
        """
        self._put(_Asked(question, reply))
        self._urgent.set()

    def deliver(self) -> int:
        """Call the replies which have come in, and return how many they were."""
        count = len(self._replies)  # a reply may ask again: that one is for the next time
        for _ in range(count):
            self._replies.popleft()()
        return count

    def close(self, state: str, timeout: float) -> bool:
        """Commit what is left, end the session in this state, and give the lock back.

        Returns
        -------
        bool
            Whether all is on disk; False if it is not within ``timeout`` seconds, or at all.
        """
        self._last_state = state
        self._urgent.set()
        self._arrived.set()
        self._thread.join(timeout)
        return not self._thread.is_alive() and self.failure is None

    def _put(self, entry: _Entry) -> None:
        with self._mutex:
            if self.failure is None:
                self._entries.append(entry)
                self._arrived.set()
                return
        if isinstance(entry, _Asked):
            self._post(partial(entry.reply, self.failure))

    # --- in the recorder's thread ---

    def _run(self) -> None:
        try:
            checkpoint = self._opener()
        except Exception as error:
            self._fail(error)
            return
        try:
            self._work(checkpoint)
            checkpoint.require_in_place()
            state = self._last_state or "ended"
            self._commit(checkpoint, [_Changed(lambda held: held.end(state))])
            checkpoint.disconnect()
        except Exception as error:
            self._give_up(checkpoint)
            self._fail(_as_ours(checkpoint.path, error))

    def _work(self, checkpoint: Checkpoint) -> None:
        beat = time.monotonic() + HEARTBEAT
        while self._last_state is None or self._entries:
            if self._arrived.wait(max(0.0, beat - time.monotonic())):
                self._urgent.wait(self._timing.interval)
            if self._last_state is None:
                self._urgent.clear()
            self._arrived.clear()
            self._flush(checkpoint)
            if time.monotonic() >= beat:
                beat = time.monotonic() + HEARTBEAT
                checkpoint.require_in_place()
                self._commit(checkpoint, [_Changed(lambda held: held.heartbeat(time.time()))])

    def _flush(self, checkpoint: Checkpoint) -> None:
        batch: list[_Appended | _Changed] = []
        while self._entries:
            entry = self._entries[0]
            if not isinstance(entry, _Asked):
                batch.append(entry)
            else:
                self._commit(checkpoint, batch)
                batch = []
                self._answer(checkpoint, entry)
            self._entries.popleft()  # a question stays until it is answered: see _fail
        self._commit(checkpoint, batch)

    def _commit(self, checkpoint: Checkpoint, batch: list[_Appended | _Changed]) -> None:
        """Put a batch on disk, trying again while the disk says no."""
        if not batch:
            return
        for left in reversed(range(self._timing.tries)):
            try:
                self._write(checkpoint, batch)
                self.trouble = None
                return
            except (sqlite3.OperationalError, OSError) as error:
                checkpoint.require_in_place()
                if not left:
                    raise
                self._complain(checkpoint.path, error)
            time.sleep(self._timing.pause)

    def _write(self, checkpoint: Checkpoint, batch: list[_Appended | _Changed]) -> None:
        written = 0
        with checkpoint.transaction():
            for entry in batch:
                if isinstance(entry, _Changed):
                    entry.change(checkpoint)
                else:
                    checkpoint.append(entry.records)
                    written += len(entry.records)
        self._committed += written

    def _complain(self, path: str, error: sqlite3.Error | OSError) -> None:
        said = _sentence(error)
        if self.trouble is None:
            LOG.warning("%s: %s; trying again, nothing is lost so far", path, said)
        self.trouble = said

    def _answer(self, checkpoint: Checkpoint, asked: _Asked) -> None:
        try:
            answer: Any = asked.question(checkpoint)
        except Exception as error:
            answer = _as_ours(checkpoint.path, error)
        self._post(partial(asked.reply, answer))

    def _post(self, call: Callable[[], None]) -> None:
        self._replies.append(call)
        self._wake()

    def _fail(self, error: Exception) -> None:
        with self._mutex:
            self.failure = error
            unanswered = [entry for entry in self._entries if isinstance(entry, _Asked)]
            self._entries.clear()
        for asked in unanswered:
            self._replies.append(partial(asked.reply, error))
        self._wake()

    def _give_up(self, checkpoint: Checkpoint) -> None:
        """Give the lock back if that still works; a dead process's lock is taken over anyway."""
        try:
            checkpoint.close("failed")
        except Exception as error:
            LOG.debug("%s: closed without a word (%s)", checkpoint.path, error)


def _as_ours(path: str, error: Exception) -> Exception:
    """Give an error of the disk the words for it; others are bugs, and stay what they are."""
    if isinstance(error, sqlite3.Error | OSError):
        made = CheckpointError(path, _sentence(error))
        made.__cause__ = error
        return made
    return error


def _sentence(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, sqlite3.Error):
        return sentence(error)
    return f"{error.filename or 'a file'} can't be put on disk ({error.strerror})"
