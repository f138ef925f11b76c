"""A chunk of a simulated process, and what it reports."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from mpipool.executor.virtual.plan import Item, Plan, unpack
from mpipool.messages import RunTasks, TasksDone
from mpipool.outcomes import pack
from mpipool.task import DONE, FAILED, Entry, Outcome, dump_details


@dataclass(eq=False)
class Current:
    """A chunk that is being run."""

    chunk: RunTasks
    end: int
    first: int
    """The first of its tasks which was not reported yet."""
    task: int
    began: float = 0.0
    runs: bool = False
    """Whether a task runs, and not just has ended."""
    unsent: list[Outcome] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)

    def item(self, task: int) -> Item:
        """Return what a task is given."""
        return unpack(self.packed(task, 0))

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


def outcome_of(plan: Plan, raised: bool, began: float, wall: float) -> Outcome:
    """Say what came of a task, which began at a time and took so many seconds."""
    if not raised:
        entry = Entry(DONE, 0, began, wall, wall, 0, len(plan.result))
        return Outcome(entry, memoryview(b""), memoryview(plan.result))
    details = dump_details({"error": "ValueError", "message": "", "traceback": ""})
    entry = Entry(FAILED, len(details), began, wall, wall, 0, 0)
    return Outcome(entry, memoryview(details), memoryview(b""))
