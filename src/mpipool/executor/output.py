"""What executors print: passed on to the agent's own output, and the end of it kept.

A launcher, a pager or a terminal that does not read must not stop an agent, so a thread of its own
does the writing; what comes in while that is stuck is dropped above a limit, with a notice.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import Final

TAIL: Final = 64 * 1024
"""Bytes of an executor's standard error which are kept."""
PIPE: Final = 1 << 20
"""Bytes which a pipe holds at most, unless root has made it larger."""
LIMIT: Final = 4 << 20
"""Bytes which wait to be written; more is dropped."""
LAST_SECONDS: Final = 2.0
"""How long the end of the process waits for what was not written yet."""


class Writer:
    """Writes to this process's own standard output and error, in a thread."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._size = self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, target: int, data: bytes) -> None:
        """Have something written to a descriptor; returns at once."""
        with self._changed:
            if self._size + len(data) > LIMIT:
                self._dropped += len(data)
                return
            if self._dropped:
                notice = f"\nmpipool: {self._dropped} bytes of output were dropped here\n"
                self._waiting.append((target, notice.encode()))
                self._dropped = 0
            self._waiting.append((target, data))
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is written, for a while."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, timeout=LAST_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                target, data = self._waiting[0]
            rest = memoryview(data)
            with contextlib.suppress(OSError):  # nobody reads it any more
                while rest:
                    rest = rest[os.write(target, rest) :]
            with self._changed:
                self._waiting.popleft()
                self._size = max(self._size - len(data), 0)
                self._changed.notify_all()


class Output:
    """One of the two outputs of an executor.

    Parameters
    ----------
    descriptor : int
        Where to read it.
    target : int
        Where to pass it on: 1 or 2.
    writer : Writer
        Who does that.
    """

    def __init__(self, descriptor: int, target: int, writer: Writer) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor, self._target, self._writer = descriptor, target, writer
        self.tail = b""
        self._read = self._marked = self._before = 0

    def drain(self) -> bool:
        """Read what is there, or as much as a pipe can hold; return whether more can come.

        Who writes faster than this reads must not keep the agent from everything else.
        """
        with contextlib.suppress(BlockingIOError):
            for _ in range(PIPE // TAIL):
                data = os.read(self.descriptor, TAIL)
                if not data:
                    return False
                self.tail = (self.tail + data)[-TAIL:]
                self._read += len(data)
                self._writer.write(self._target, data)
        return True

    def mark(self) -> None:
        """Note that what comes from now on belongs to something else."""
        self._before, self._marked = self._marked, self._read

    def said(self) -> str:
        """Return the end of what was read since the last mark but one.

        What belongs behind the last one may have been read before that was set.
        """
        size = min(self._read - self._before, len(self.tail))
        return self.tail[len(self.tail) - size :].decode(errors="replace")
