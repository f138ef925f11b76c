"""Outcomes of tasks which have ended and were not sent yet."""

from __future__ import annotations

from mpipool.executor.pickling import Pickled, Pieces
from mpipool.messages import RunTasks, TasksDone
from mpipool.task import DONE, ENTRY


class Batch:
    """Outcomes of consecutive tasks of one chunk.

    Attributes
    ----------
    first, count : int
        Which tasks.
    failures : int
        How many of them did not end well.
    busy : float
        Seconds which they took, together.
    cached : list of int
        Those which left something in their caches.
    large : Pieces or None
        In place of ``results``, the one large result: it has a message of its own, which is sent
        from where it is, before the next task can change it.
    """

    def __init__(self, first: int) -> None:
        self.begin(first)

    def begin(self, first: int) -> None:
        """Begin anew at task ``first``."""
        self.first, self.count, self.failures, self.busy = first, 0, 0, 0.0
        self.table, self.details, self.results = bytearray(), bytearray(), bytearray()
        self.cached: list[int] = []
        self.large: Pieces | None = None

    def add(
        self, state: int, times: tuple[float, float, float, int], texts: bytes, result: Pickled
    ) -> None:
        """Add one outcome; ``times`` are start, wall, CPU and peak memory."""
        self.table += ENTRY.pack(state, len(texts), *times, len(result))
        self.details += texts
        if isinstance(result, Pieces):
            assert not self.results, "a large result has a batch of its own"
            self.large = result
        else:
            self.results += result
        self.count += 1
        self.failures += state != DONE
        self.busy += times[1]

    def report(self, chunk: RunTasks, back: int) -> TasksDone:
        """Make the message which tells the leader; so many tasks behind come back unstarted.

        A large result is not in it: it is the last part, in pieces.
        """
        parts = (bytes(self.table), bytes(self.details), bytes(self.results))
        return TasksDone(
            lease=chunk.lease,
            chunk=chunk.chunk,
            scatter=chunk.scatter,
            first=self.first,
            count=self.count,
            back=back,
            failures=self.failures,
            busy=self.busy,
            leave=False,
            cached=tuple(self.cached),
            parts=parts[:2] if self.large else parts,
        )
