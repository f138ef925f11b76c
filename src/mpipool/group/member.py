"""The member's side: which process of this rank runs which tasks.

Theory of operation. A rank has one core and may be lent to several scatters one above the other:
when the task on top is blocked in a scatter, the core is free for another. Each lease with tasks
has an *entry*, in a process (executor) of its own. Entries stand on *stacks*: an entry goes on top
of one that is blocked in an ancestor of its scatter, or opens a stack of its own. The scheduler
keeps it to two stacks; nothing here refuses a chunk.

Tasks whose caches are in one executor have their entry there, whatever else is in it: behind what
it runs, or on top of what is blocked in it. So several entries may share an executor.

A blocked entry at once lends its core to its own scatter, under a lease with a negative id which
stands for the lease of the entry (its *root*) as far as the scheduler is concerned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from mpipool.ids import (
    ANY_EXECUTOR,
    HERE,
    NO_SCATTER,
    ChunkId,
    ExecutorId,
    LeaseId,
    Rank,
    ScatterId,
    leader_of,
)

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
    scope: ScatterId = NO_SCATTER
    """The scatter which began the caches of these tasks."""
    digest: bytes = b""
    """Of the function."""


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
    leads: set[ScatterId] = field(default_factory=set)
    """Scatters of its tasks, as long as they are not complete."""
    waits_for: set[ScatterId] = field(default_factory=set)
    """Scatters which it leads and waits for; its core is free then."""
    memory: int = 0
    """MiB which its tasks may use; 0 if nothing was said."""
    wide: bool = False
    """Whether its lease is on other ranks too, which are lent with this one or not at all."""
    waited: int = 0
    """When it began to wait last: counts such events of the rank. 0 if it never has."""
    seat: bool = False
    """Whether it is of a gang of which another rank is the first member. That one says for all
    whether the gang is blocked; this one, whether its own core is free meanwhile."""


class Report(NamedTuple):
    """What of a rank is blocked."""

    leases: tuple[LeaseId, ...]
    tops: tuple[ScatterId, ...]
    """For each stack of the rank, the scatter for which its topmost blocked task waits."""
    held: tuple[LeaseId, ...]
    """Those of the leases below another in their process, which waits: they can't resume before."""


class Member:
    """The entries, stacks and executors of one rank; see the module's docstring."""

    def __init__(self) -> None:
        self.entries: dict[tuple[LeaseId, ExecutorId], Entry] = {}
        self.stacks: list[list[Entry]] = []
        self.idle: dict[ExecutorId, float] = {}
        """Idle executors, and since when; the last one was busy most recently."""
        self.caching: dict[ExecutorId, set[ScatterId]] = {}
        """The scopes of the caches which executors hold."""
        self._own: dict[LeaseId, LeaseId] = {}
        """Leases of this rank's own core to its own scatters, and their roots."""
        self._last_executor = ExecutorId(0)
        self._waits = 0
        self._reported = Report((), (), ())

    # --- leases --------------------------------------------------------------------------------

    def lend_own_core(self, owner: Entry, lease: LeaseId) -> None:
        """Note that a blocked entry lends its core to its own scatter."""
        self._own[lease] = owner.root

    def own_core_is_back(self, lease: LeaseId) -> None:
        """Note that its scatter has nothing more for this rank's own core."""
        del self._own[lease]

    def place(
        self, lease: LeaseId, path: tuple[ScatterId, ...], wanted: ExecutorId = ANY_EXECUTOR
    ) -> tuple[Entry, bool]:
        """Find or make the entry for a chunk of ``lease``; True if it needs a new executor.

        Parameters
        ----------
        lease : LeaseId
            Under which the chunk came.
        path : tuple of ScatterId
            Its scatter, behind the ancestors.
        wanted : ExecutorId
            The executor which holds the caches of its tasks; see `has_caches`.
        """
        for entry in self.entries.values():
            if entry.lease == lease and wanted in {ANY_EXECUTOR, entry.executor}:
                return entry, False
        executor, new = self._executor(wanted)
        entry = Entry(lease, self._own.get(lease, lease), executor, path)
        self.entries[lease, executor] = entry
        for ancestor in reversed(path):
            for stack in self.stacks:
                # Also if it goes on just now: it waited when the chunk was sent.
                if ancestor in stack[-1].leads:
                    stack.append(entry)
                    return entry, new
        self.stacks.append([entry])
        return entry, new

    def sit(self, lease: LeaseId, path: tuple[ScatterId, ...]) -> Entry:
        """Make the entry of a gang of which another rank is the first member."""
        entry, _ = self.place(lease, path, HERE)
        entry.seat = True
        return entry

    def stand(self, entry: Entry) -> None:
        """Forget the entry of a gang which this rank has left."""
        self._drop(entry)

    def memory(self, executor: ExecutorId) -> int:
        """Return how many MiB the tasks in an executor may use together; 0 for any amount."""
        shares = [entry.memory for entry in self.entries.values() if entry.executor == executor]
        return sum(shares) if all(shares) else 0

    def has_caches(self, executor: ExecutorId, scope: ScatterId) -> bool:
        """Whether an executor is there and holds caches of this scope."""
        return scope in self.caching.get(executor, ())

    def _executor(self, wanted: ExecutorId) -> tuple[ExecutorId, bool]:
        if wanted != ANY_EXECUTOR:
            self.idle.pop(wanted, None)
            return wanted, False
        if self.idle:
            executor, _ = self.idle.popitem()
            return executor, False
        self._last_executor = ExecutorId(self._last_executor + 1)
        return self._last_executor, True

    def entry(self, lease: LeaseId, executor: ExecutorId) -> Entry | None:
        """Return the entry of a lease in an executor, if there is one."""
        return self.entries.get((lease, executor))

    # --- what executors report -------------------------------------------------------------------

    def done(
        self, entry: Entry, chunk: ChunkId, count: int, back: int, now: float
    ) -> tuple[Assigned, bool]:
        """Note that tasks of a chunk ended; return it as it was, and whether to ask to leave."""
        assigned = entry.chunks[chunk]
        before = replace(assigned)
        assigned.first += count
        assigned.count -= count + back
        if not assigned.count:
            del entry.chunks[chunk]
        leave = self._is_crowded(entry)
        if not entry.chunks:
            self._drop(entry)
            if entry.executor != HERE and not self._used(entry.executor):
                self.idle[entry.executor] = now
        return before, leave

    def waits(self, entry: Entry, scatter: ScatterId) -> None:
        """Note that the entry is blocked in a scatter which it leads."""
        entry.leads.add(scatter)
        entry.waits_for.add(scatter)
        self._waits += 1
        entry.waited = self._waits

    def resumes(self, entry: Entry, scatter: ScatterId) -> None:
        """Note that it is not blocked in this scatter any more."""
        entry.waits_for.discard(scatter)

    def completes(self, entry: Entry, scatter: ScatterId) -> None:
        """Note that a scatter which the entry leads is complete."""
        entry.leads.discard(scatter)
        entry.waits_for.discard(scatter)

    def died(self, executor: ExecutorId) -> list[Entry]:
        """Forget an executor; return its entries, the topmost last."""
        self.idle.pop(executor, None)
        self.caching.pop(executor, None)
        lost = [entry for entry in self.entries.values() if entry.executor == executor]
        for entry in lost:
            self._drop(entry)
        return lost

    def tired(self, now: float) -> list[ExecutorId]:
        """Forget and return the executors which were idle for too long, and hold no caches."""
        spare = list(self.idle.items())[: len(self.idle) - (not self.entries)]
        tired = [
            executor
            for executor, since in spare
            if now - since > IDLE_SECONDS and not self.caching.get(executor)
        ]
        for executor in tired:
            del self.idle[executor]
        return tired

    # --- caches ----------------------------------------------------------------------------------

    def caches(self, executor: ExecutorId, scope: ScatterId) -> None:
        """Note that an executor holds caches of this scope."""
        self.caching.setdefault(executor, set()).add(scope)

    def forget(self, scope: ScatterId) -> list[ExecutorId]:
        """Forget the caches of a scope; return the executors which hold some."""
        holding = [executor for executor, scopes in self.caching.items() if scope in scopes]
        for executor in holding:
            self.caching[executor].discard(scope)
        return holding

    def scopes_of(self, leader: Rank) -> set[ScatterId]:
        """Return the scopes, of caches which are here, that a rank leads."""
        scopes = set().union(*self.caching.values())
        return {scope for scope in scopes if leader_of(scope) == leader}

    # --- the core --------------------------------------------------------------------------------

    @property
    def rests(self) -> bool:
        """Whether all that is here waits, so that nothing uses the core."""
        placed = {entry.lease for entry in self.entries.values()}
        return self._own.keys() <= placed and not any(self._runs(e) for e in self.entries.values())

    def blocked(self) -> Report | None:
        """Return which leases are blocked, and on what, if that has changed since the last call."""
        if not self._reported.leases and not self._any_waits():
            return None  # the usual case
        held = {e.root for e in self.entries.values() if self._is_below(e)}
        active = {e.root for e in self.entries.values() if not (e.waits_for or e.root in held)}
        # A core lent to the rank's own scatter is busy too while its first chunk is on the way.
        placed = {entry.lease for entry in self.entries.values()}
        active.update(root for lease, root in self._own.items() if lease not in placed)
        waiting = {entry.root for entry in self.entries.values()} - active
        tops = self._tops() if waiting else ()
        report = Report(tuple(sorted(waiting)), tops, tuple(sorted(waiting & held)))
        if report == self._reported:
            return None
        self._reported = report
        return report

    def _any_waits(self) -> bool:
        for entry in self.entries.values():  # noqa: SIM110 - asked for each message; any is slower
            if entry.waits_for:
                return True
        return False

    def _tops(self) -> tuple[ScatterId, ...]:
        """Return what the topmost blocked entry of each stack waits for.

        What runs above it does not count: its lease may be returned before this rank says so.
        """
        waiting = (
            next((entry.waits_for for entry in reversed(stack) if entry.waits_for), set())
            for stack in self.stacks
        )
        return tuple(top for tops in waiting for top in sorted(tops))

    def _is_crowded(self, entry: Entry) -> bool:
        """Whether another entry runs beside this one on the only core."""
        return any(other is not entry and self._runs(other) for other in self.entries.values())

    def _runs(self, entry: Entry) -> bool:
        return not (entry.waits_for or entry.seat or self._is_below(entry))

    def _is_below(self, entry: Entry) -> bool:
        """Whether something waits on top of it in its process, so that it can't go on."""
        return entry.waited > 0 and any(
            other.executor == entry.executor and other.waits_for and other.waited > entry.waited
            for other in self.entries.values()
        )

    def _used(self, executor: ExecutorId) -> bool:
        return any(entry.executor == executor for entry in self.entries.values())

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.lease, entry.executor]
        for stack in self.stacks:
            if entry in stack:
                stack.remove(entry)
        self.stacks = [stack for stack in self.stacks if stack]
