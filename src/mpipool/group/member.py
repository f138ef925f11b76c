"""The member's side: which process of this rank runs which tasks.

Theory of operation. A rank has one core and may be lent to several scatters one above the other:
when the task on top is blocked in a scatter, the core is free for another. Each lease with tasks
has an *entry*, in a process (executor) of its own. Entries stand on *stacks*: an entry goes on top
of one that is blocked in an ancestor of its scatter, or opens a stack of its own. The scheduler
keeps it to two stacks; nothing here refuses a chunk.

A blocked entry at once lends its core to its own scatter, under a lease with a negative id which
stands for the lease of the entry (its *root*) as far as the scheduler is concerned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mpipool.ids import ChunkId, ExecutorId, LeaseId, Rank, ScatterId

IDLE_SECONDS: Final = 10.0
"""An executor that was idle for so long is ended, except for the last one."""


@dataclass(slots=True)
class Assigned:
    """A chunk, as far as it is not reported yet."""

    leader: Rank
    scatter: ScatterId
    first: int
    count: int
    attempt: int


@dataclass(slots=True, eq=False)
class Entry:
    """The tasks of one lease, in one executor."""

    lease: LeaseId
    root: LeaseId
    """The lease by which the scheduler knows of this use of the core."""
    executor: ExecutorId
    path: tuple[ScatterId, ...] = ()
    """The scatter of its tasks, behind its ancestors."""
    chunks: dict[ChunkId, Assigned] = field(default_factory=dict)
    waits_for: ScatterId | None = None


class Member:
    """The entries, stacks and executors of one rank; see the module's docstring."""

    def __init__(self) -> None:
        self.entries: dict[ExecutorId, Entry] = {}
        self.stacks: list[list[Entry]] = []
        self.idle: dict[ExecutorId, float] = {}
        """Idle executors, and since when; the last one was busy most recently."""
        self._own: dict[LeaseId, LeaseId] = {}
        """Leases of this rank's own core to its own scatters, and their roots."""
        self._last_executor = ExecutorId(0)
        self._reported: tuple[tuple[LeaseId, ...], tuple[ScatterId, ...]] = ((), ())

    # --- leases --------------------------------------------------------------------------------

    def lend_own_core(self, executor: ExecutorId, lease: LeaseId) -> None:
        """Note that the blocked entry in ``executor`` lends its core to its own scatter."""
        self._own[lease] = self.entries[executor].root

    def own_core_is_back(self, lease: LeaseId) -> None:
        """Note that its scatter has nothing more for this rank's own core."""
        del self._own[lease]

    def place(self, lease: LeaseId, path: tuple[ScatterId, ...]) -> tuple[Entry, bool]:
        """Find or make the entry for a chunk of ``lease``; True if it needs a new executor."""
        for entry in self.entries.values():
            if entry.lease == lease:
                return entry, False
        executor, new = self._executor()
        entry = Entry(lease, self._own.get(lease, lease), executor, path)
        self.entries[executor] = entry
        for stack in self.stacks:
            if stack[-1].waits_for in path:
                stack.append(entry)
                return entry, new
        self.stacks.append([entry])
        return entry, new

    def _executor(self) -> tuple[ExecutorId, bool]:
        if self.idle:
            executor, _ = self.idle.popitem()
            return executor, False
        self._last_executor = ExecutorId(self._last_executor + 1)
        return self._last_executor, True

    # --- what executors report -------------------------------------------------------------------

    def done(
        self, executor: ExecutorId, chunk: ChunkId, count: int, back: int, now: float
    ) -> tuple[Assigned, bool]:
        """Note that tasks of a chunk ended; return it as it was, and whether to ask to leave."""
        entry = self.entries[executor]
        assigned = entry.chunks[chunk]
        before = Assigned(
            assigned.leader, assigned.scatter, assigned.first, assigned.count, assigned.attempt
        )
        assigned.first += count
        assigned.count -= count + back
        if not assigned.count:
            del entry.chunks[chunk]
        leave = self._is_crowded(entry)
        if not entry.chunks:
            self._drop(entry)
            self.idle[executor] = now
        return before, leave

    def waits(self, executor: ExecutorId, scatter: ScatterId) -> None:
        """Note that the entry is blocked in a scatter which it leads."""
        self.entries[executor].waits_for = scatter

    def resumes(self, executor: ExecutorId) -> None:
        """Note that it is not blocked any more."""
        self.entries[executor].waits_for = None

    def died(self, executor: ExecutorId) -> Entry | None:
        """Forget an executor; return its entry, if it had tasks."""
        self.idle.pop(executor, None)
        entry = self.entries.get(executor)
        if entry:
            self._drop(entry)
        return entry

    def tired(self, now: float) -> list[ExecutorId]:
        """Forget and return the executors which were idle for too long."""
        spare = list(self.idle.items())[: len(self.idle) - (not self.entries)]
        tired = [executor for executor, since in spare if now - since > IDLE_SECONDS]
        for executor in tired:
            del self.idle[executor]
        return tired

    # --- the core --------------------------------------------------------------------------------

    def blocked(self) -> tuple[tuple[LeaseId, ...], tuple[ScatterId, ...]] | None:
        """Return which leases are blocked, and on what, if that has changed since the last call."""
        active = {entry.root for entry in self.entries.values() if entry.waits_for is None}
        # A core lent to the rank's own scatter is busy too while its first chunk is on the way.
        placed = {entry.lease for entry in self.entries.values()}
        active.update(root for lease, root in self._own.items() if lease not in placed)
        waiting = {entry.root for entry in self.entries.values()} - active
        tops = self._tops() if waiting else ()
        report = (tuple(sorted(waiting)), tops)
        if report == self._reported:
            return None
        self._reported = report
        return report

    def _tops(self) -> tuple[ScatterId, ...]:
        tops: Iterable[ScatterId | None] = (stack[-1].waits_for for stack in self.stacks)
        return tuple(top for top in tops if top is not None)

    def _is_crowded(self, entry: Entry) -> bool:
        """Whether another entry runs beside this one on the only core."""
        return any(
            other is not entry and other.waits_for is None for other in self.entries.values()
        )

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.executor]
        for stack in self.stacks:
            if entry in stack:
                stack.remove(entry)
        self.stacks = [stack for stack in self.stacks if stack]
