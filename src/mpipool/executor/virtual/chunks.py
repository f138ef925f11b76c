"""A chunk of a simulated process, and what it reports."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, Self

from mpipool.executor.virtual.plan import Item, Plan, unpack
from mpipool.messages import RunTasks, TasksDone
from mpipool.outcomes import pack
from mpipool.task import DONE, FAILED, STARVED, Entry, Outcome, cut_key, dump_details


@dataclass(eq=False)
class Current:
    """A chunk that is being run."""

    chunk: RunTasks
    keyed: bool
    """Whether its items have keys in front."""
    end: int
    first: int
    """The first of its tasks which was not reported yet."""
    task: int
    began: float = 0.0
    runs: bool = False
    """Whether a task runs, and not just has ended."""
    unsent: list[Outcome] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, chunk: RunTasks, keyed: bool) -> Self:
        """Make it of a chunk which has not begun."""
        return cls(chunk, keyed, chunk.first + chunk.count, chunk.first, chunk.first)

    def item(self, task: int) -> Item:
        """Return what a task is given."""
        packed = memoryview(self.packed(task, 0))
        return unpack(cut_key(packed)[1] if self.keyed else packed)

    def key(self, task: int) -> dict[str, Any]:
        """Return the key of a task, and at which attempt it is, as its details say it."""
        if not self.keyed:
            return {}
        key, _ = cut_key(memoryview(self.packed(task, 0)))
        key["attempt"] += self.chunk.attempt
        return key

    def packed(self, task: int, level: int) -> bytes:
        """Return the bytes of what a task is given (level 0), or was in an earlier call."""
        sizes = array("Q", bytes(self.chunk.parts[2 * level]))
        index = task - self.chunk.first
        start = sum(sizes[:index])
        return bytes(self.chunk.parts[2 * level + 1][start : start + sizes[index]])

    def report(self, back: int) -> TasksDone:
        """Say what has ended since the last report, and that so many behind it come back."""
        unsent, first, cached = self.unsent, self.first, self.cached
        self.unsent, self.first, self.cached = [], first + len(unsent), []
        return TasksDone(
            lease=self.chunk.lease,
            chunk=self.chunk.chunk,
            scatter=self.chunk.scatter,
            first=first,
            count=len(unsent),
            back=back,
            failures=sum(outcome.entry.state != DONE for outcome in unsent),
            busy=sum(outcome.entry.wall for outcome in unsent),
            leave=False,
            cached=tuple(cached),
            parts=pack(unsent),
        )


def starved_outcome(current: Current, wall: float) -> Outcome:
    """Say that a task raised for want of memory."""
    details = dump_details(current.key(current.task) | {"error": "MemoryError", "message": ""})
    peak = current.chunk.memory * 1024
    entry = Entry(STARVED, len(details), current.began, wall, wall, peak, 0)
    return Outcome(entry, memoryview(details), memoryview(b""))


def outcome_of(
    plan: Plan, raised: bool, began: float, wall: float, key: dict[str, Any] | None = None
) -> Outcome:
    """Say what came of a task, which began at a time and took so many seconds."""
    failure = {"error": "ValueError", "message": "", "traceback": ""} if raised else {}
    said = (key or {}) | failure
    details, result = dump_details(said) if said else b"", b"" if raised else plan.result
    state = FAILED if raised else DONE
    entry = Entry(state, len(details), began, wall, wall, 0, len(result))
    return Outcome(entry, memoryview(details), memoryview(result))
