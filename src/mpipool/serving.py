"""The tasks which a rank was given by leaders: performs them through its executors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

from mpipool.definitions import Known
from mpipool.errors import ExecutorDied, MemoryExceeded
from mpipool.executor.memory import Excess
from mpipool.executor.process import Death
from mpipool.group import Member
from mpipool.group.member import Assigned, Entry
from mpipool.ids import (
    ANY_EXECUTOR,
    BROKER,
    GONE,
    HERE,
    NO_LEASE,
    ChunkId,
    ExecutorId,
    LeaseId,
    Rank,
)
from mpipool.keeping import Keeping
from mpipool.messages import (
    Ahead,
    Blocked,
    Define,
    Forget,
    Message,
    Recall,
    Return,
    RunTasks,
    TasksDone,
)
from mpipool.outcomes import Outcomes, Parts, notice
from mpipool.task import DIGEST, FAILED, INTERRUPTED, LOST, STARVED
from mpipool.task import Entry as Outcome
from mpipool.transport import Transport

NO_OUTCOMES: Final[Parts] = (b"", b"", b"")
ENDED: Final = "it was ended from outside: the run drained, or nobody waited for it any more"


class ExecutorPool(Protocol):
    """What is asked of the processes below an agent."""

    def prepare(self) -> object:
        """Get ready to start processes soon."""

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Send a message to an executor."""

    def running_since(self, executor: ExecutorId, lease: LeaseId) -> float | None:
        """Return when a task of the lease began in it (monotonic s), if one runs there."""

    def hold(self, executor: ExecutorId, limit: int) -> None:
        """Let an executor use so many MiB; 0 for any amount."""

    def excesses(self, busy: Iterable[ExecutorId], now: float) -> Iterator[Excess]:
        """Yield which of the executors with work use more memory than there is for them."""

    def kill(self, executor: ExecutorId) -> None:
        """End a process at once."""

    def end(self, executor: ExecutorId) -> None:
        """Let an idle process go."""

    def close(self) -> None:
        """Let all processes go."""


class Serving:
    """What one rank does for leaders.

    Parameters
    ----------
    transport : Transport
        To the leaders.
    member : Member
        Which process runs which tasks.
    executors : ExecutorPool
        The processes.
    keeping : Keeping
        Where results lie which are to stay here.
    """

    def __init__(
        self, transport: Transport, member: Member, executors: ExecutorPool, keeping: Keeping
    ) -> None:
        self._transport = transport
        self._member = member
        self._executors = executors
        self._keeping = keeping
        self._overdue: dict[ExecutorId, str] = {}
        """Executors which are being ended, and why: their tasks take too long."""
        self._exceeding: dict[ExecutorId, str] = {}
        """The same, for want of memory."""
        self._definitions = Known()
        self._known: dict[ExecutorId, set[bytes]] = {}
        self._recalled: set[ExecutorId] = set()
        self._orphaned: set[LeaseId] = set()
        """Leases which are to be returned to the broker, as their leaders are gone."""

    def define(self, leader: Rank, definition: Define) -> bool:
        """Keep a function for the executors, or let them forget one; return whether they did."""
        forgotten = self._definitions.take(leader, definition)
        if forgotten:
            self._let_forget(definition)
        return forgotten

    def _let_forget(self, definition: Define) -> None:
        for executor, known in self._known.items():
            if definition.digest in known:
                known.discard(definition.digest)
                self._executors.send(executor, definition)

    def definition(self, digest: bytes) -> Define:
        """Return a function which a leader has sent."""
        return self._definitions[digest]

    def shared(self, digest: bytes) -> dict[str, Any]:
        """Return what the tasks of a function share."""
        return self._definitions.shared(digest)

    def run(self, leader: Rank, chunk: RunTasks) -> None:
        """Hand a chunk to an executor."""
        assigned = Assigned(
            leader, chunk.scatter, chunk.first, chunk.count, chunk.attempt, chunk.scope,
            chunk.digest,
        )  # fmt: skip
        wanted = chunk.executor
        if wanted != ANY_EXECUTOR and not self._member.has_caches(wanted, chunk.scope):
            gone = replace(_report(chunk.lease, chunk.chunk, assigned), executor=GONE)
            self._transport.send(leader, gone)
            return
        entry, new = self._member.place(chunk.lease, chunk.path, wanted)
        if new:
            self._known[entry.executor] = set()
            self._executors.start(entry.executor)
        entry.memory, entry.wide = chunk.memory, len(chunk.cores) > 1
        self._executors.hold(entry.executor, self._member.memory(entry.executor))
        entry.chunks[chunk.chunk] = assigned
        for digest in (*_digests(chunk.lineage), chunk.digest):
            if digest not in self._known[entry.executor]:
                self._known[entry.executor].add(digest)
                self._executors.send(entry.executor, self._definitions[digest])
        self._executors.send(entry.executor, chunk)

    def forget(self, forget: Forget) -> None:
        """Let the caches of a scope go."""
        for executor in self._member.forget(forget.scope):
            self._executors.send(executor, forget)

    def recall(self, recall: Recall) -> None:
        """End what runs under a lease; its tasks go back when the process is gone."""
        for entry in self._member.entries.values():
            if entry.lease == recall.lease:
                self._end(entry.executor)
        if recall.orphaned:
            self._orphaned.add(recall.lease)
            self._return_orphaned()

    def lose(self, leader: Rank) -> list[Define]:
        """End what runs for a leader which is gone; return the functions that were forgotten."""
        for entry in self._member.entries.values():
            if any(assigned.leader == leader for assigned in entry.chunks.values()):
                self._end(entry.executor)
        for scope in self._member.scopes_of(leader):
            self.forget(Forget(scope=scope))
        forgotten = self._definitions.lose(leader)
        for definition in forgotten:
            self._let_forget(definition)
        return forgotten

    def _end(self, executor: ExecutorId) -> None:
        if executor != HERE:  # code inside MPI can't be interrupted
            self._recalled.add(executor)
            self._executors.kill(executor)

    def _return_orphaned(self) -> None:
        """Return leases whose leader is gone as soon as nothing runs under them."""
        held = {entry.lease for entry in self._member.entries.values()} if self._orphaned else ()
        for lease in self._orphaned.difference(held):
            self._orphaned.discard(lease)
            self._transport.send(BROKER, Return(lease=lease, queued=0, seconds=0.0))

    def done(self, executor: ExecutorId, report: TasksDone, now: float) -> None:
        """Pass outcomes on to the leader."""
        entry = self._member.entry(report.lease, executor)
        assert entry, f"{report} is of no lease of executor {executor}"
        assigned, leave = self._member.done(entry, report.chunk, report.count, report.back, now)
        if report.cached:
            self._member.caches(executor, assigned.scope)
        parts = report.parts
        if report.count and self._definitions.shared(assigned.digest).get("keep"):
            parts = Outcomes(report.first, parts).kept(self._keeping.keep)
        if leave or report.cached or parts is not report.parts:
            report = replace(report, leave=leave, executor=executor, parts=parts)
        self._transport.send(assigned.leader, report)
        self._return_orphaned()

    def ahead(self, executor: ExecutorId, ahead: Ahead) -> None:
        """Let the leader have a large result while it is being sent."""
        entry = self._member.entry(ahead.lease, executor)
        assert entry, f"{ahead} is of no lease of executor {executor}"
        self._transport.send(entry.chunks[ahead.chunk].leader, ahead)

    def died(self, executor: ExecutorId, death: Death) -> None:
        """Tell leaders what became of the tasks of a dead process."""
        self._known.pop(executor, None)
        recalled = executor in self._recalled
        self._recalled.discard(executor)
        overdue, exceeding = (why.pop(executor, "") for why in (self._overdue, self._exceeding))
        if overdue or exceeding:
            reason = exceeding or overdue
            death = replace(death, reason=reason, starved=bool(exceeding))
        for entry in self._member.died(executor):
            for report in _interruption(entry, death) if recalled else _reports(entry, death):
                self._transport.send(entry.chunks[report.chunk].leader, report)
        self._return_orphaned()

    def restrain(self, now: float) -> None:
        """End the processes which use more memory than there is for them."""
        busy = {entry.executor for entry in self._member.entries.values()} - {HERE}
        for executor, reason in self._executors.excesses(busy, now) if busy else ():
            if executor not in self._exceeding:
                self._exceeding[executor] = reason
                self._executors.kill(executor)

    def expire(self) -> None:
        """End the processes whose task takes longer than it may."""
        for entry in self._member.entries.values():
            limit = _limit(entry, self._definitions)
            executor = entry.executor
            began = self._executors.running_since(executor, entry.lease) if limit else None
            if began is None or executor in self._overdue:
                continue
            if time.monotonic() - began > limit:
                self._overdue[executor] = f"it took longer than its timeout of {limit:g} s"
                self._executors.kill(executor)

    def tell_if_blocked(self) -> None:
        """Tell the broker when the core becomes free for others, or is not any more."""
        changed = self._member.blocked()
        if changed:
            leases, tops, held = changed
            self._transport.send(BROKER, Blocked(leases=leases, tops=tops, held=held))

    def rest(self, now: float) -> None:
        """End executors which were idle for long."""
        for executor in self._member.tired(now):
            self._executors.end(executor)


def _report(
    lease: LeaseId, chunk: ChunkId, assigned: Assigned, count: int = 0, parts: Parts = NO_OUTCOMES
) -> TasksDone:
    """Say that the first ``count`` tasks of a chunk failed, and that the others come back."""
    return TasksDone(
        lease=lease,
        chunk=chunk,
        scatter=assigned.scatter,
        first=assigned.first,
        count=count,
        back=assigned.count - count,
        failures=count,
        busy=0.0,
        leave=False,
        parts=parts,
    )


def _digests(lineage: bytes) -> list[bytes]:
    return [lineage[at : at + DIGEST] for at in range(0, len(lineage), DIGEST)]


def _limit(entry: Entry, definitions: Known) -> float:
    """Return for how many seconds the entry's tasks may run; 0 if nothing was said."""
    digests = {assigned.digest for assigned in entry.chunks.values()}
    return min((definitions.shared(digest).get("timeout", 0.0) for digest in digests), default=0.0)


def _interruption(entry: Entry, death: Death) -> Iterator[TasksDone]:
    """Say which task was ended from outside, and that all others come back."""
    lease, chunk, task, began = death.running or (NO_LEASE, ChunkId(0), 0, 0.0)
    for number, assigned in entry.chunks.items():
        if (lease, chunk) == (entry.lease, number):
            death = replace(death, reason=ENDED)
            blamed = (INTERRUPTED, task, began)
            yield _death_report(entry.lease, number, assigned, death, blamed)
        else:
            yield _report(entry.lease, number, assigned)


def _reports(entry: Entry, death: Death) -> Iterator[TasksDone]:
    """Say what became of each chunk of an entry whose executor died.

    A process that dies before it has begun anything, again and again, must not go round for ever:
    the task which it would have begun with counts as lost. So does a task which was blocked below
    the guilty one: it is not its fault.
    """
    lease, chunk, task, began = death.running or (entry.lease, ChunkId(0), 0, time.time())
    spared = death.left
    for number, assigned in entry.chunks.items():
        if spared:  # what is behind the guilty chunk just comes back
            yield _report(entry.lease, number, assigned)
        elif death.running and (lease, chunk) == (entry.lease, number):
            state = LOST if death.lost else STARVED if death.starved else FAILED
            yield _death_report(entry.lease, number, assigned, death, (state, task, began))
            spared = True
        elif death.running is None or entry.waits_for:
            blamed = (LOST, assigned.first, began)
            yield _death_report(entry.lease, number, assigned, death, blamed)
            spared = True
        else:
            yield _report(entry.lease, number, assigned)


def _death_report(
    lease: LeaseId,
    chunk: ChunkId,
    assigned: Assigned,
    death: Death,
    blamed: tuple[int, int, float],
) -> TasksDone:
    """Say that a task of a chunk died in some state, and that those in front are run again."""
    state, task, began = blamed
    redo = task - assigned.first
    entry = Outcome(state, 0, began, max(time.time() - began, 0.0), 0.0, death.peak, 0)
    details = _explain(death) | ({"error": "Interrupted"} if state == INTERRUPTED else {})
    return _report(lease, chunk, assigned, redo + 1, notice(redo, entry, details))


def _explain(death: Death) -> dict[str, Any]:
    """Describe a death for the record."""
    if not death.starved:
        return {"error": ExecutorDied.__name__, "message": death.reason, "stderr": death.stderr}
    error = MemoryExceeded("", death.reason, peak=death.peak // 1024)
    facts = {"reason": death.reason, "stderr": death.stderr, "message": error.reason}
    return {"error": MemoryExceeded.__name__} | facts
