"""The tasks which a rank was given by leaders: performs them through its executors."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final, Protocol

from mpipool.definitions import Known
from mpipool.executor.process import Death
from mpipool.group import Member
from mpipool.group.member import Assigned
from mpipool.ids import BROKER, ChunkId, ExecutorId, LeaseId, Rank
from mpipool.messages import Blocked, Define, Message, Recall, RunTasks, TasksDone
from mpipool.outcomes import Parts, notice
from mpipool.task import FAILED, LOST, Entry
from mpipool.transport import Transport

NO_OUTCOMES: Final[Parts] = (b"", b"", b"")


class ExecutorPool(Protocol):
    """What is asked of the processes below an agent."""

    def prepare(self) -> object:
        """Get ready to start processes soon."""

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Send a message to an executor."""

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
    """

    def __init__(self, transport: Transport, member: Member, executors: ExecutorPool) -> None:
        self._transport = transport
        self._member = member
        self._executors = executors
        self._definitions = Known()
        self._known: dict[ExecutorId, set[bytes]] = {}
        self._recalled: set[ExecutorId] = set()

    def define(self, leader: Rank, definition: Define) -> None:
        """Keep a function for the executors, or let them forget one."""
        if self._definitions.take(leader, definition):
            for executor, known in self._known.items():
                if definition.digest in known:
                    known.discard(definition.digest)
                    self._executors.send(executor, definition)

    def run(self, leader: Rank, chunk: RunTasks) -> None:
        """Hand a chunk to an executor."""
        entry, new = self._member.place(chunk.lease, chunk.path)
        if new:
            self._known[entry.executor] = set()
            self._executors.start(entry.executor)
        entry.chunks[chunk.chunk] = Assigned(
            leader, chunk.scatter, chunk.first, chunk.count, chunk.attempt
        )
        if chunk.digest not in self._known[entry.executor]:
            self._known[entry.executor].add(chunk.digest)
            self._executors.send(entry.executor, self._definitions[chunk.digest])
        self._executors.send(entry.executor, chunk)

    def recall(self, recall: Recall) -> None:
        """End what runs under a lease; its tasks go back when the process is gone."""
        for entry in self._member.entries.values():
            if entry.lease == recall.lease:
                self._recalled.add(entry.executor)
                self._executors.kill(entry.executor)

    def done(self, executor: ExecutorId, report: TasksDone, now: float) -> None:
        """Pass outcomes on to the leader."""
        assigned, leave = self._member.done(executor, report.chunk, report.count, report.back, now)
        self._transport.send(assigned.leader, replace(report, leave=leave))

    def died(self, executor: ExecutorId, death: Death) -> None:
        """Tell leaders what became of the tasks of a dead process."""
        self._known.pop(executor, None)
        recalled = executor in self._recalled
        self._recalled.discard(executor)
        entry = self._member.died(executor)
        if entry is None:
            return
        for chunk, assigned in entry.chunks.items():
            if recalled:
                report = _report(entry.lease, chunk, assigned)
            else:
                report = _death_report(entry.lease, chunk, assigned, death)
                if report.count:
                    recalled = True  # the chunks behind the guilty one just come back
            self._transport.send(assigned.leader, report)

    def tell_if_blocked(self) -> None:
        """Tell the broker when the core becomes free for others, or is not any more."""
        changed = self._member.blocked()
        if changed:
            leases, tops = changed
            self._transport.send(BROKER, Blocked(leases=leases, tops=tops))

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


def _death_report(lease: LeaseId, chunk: ChunkId, assigned: Assigned, death: Death) -> TasksDone:
    """Say what became of a chunk when its executor died.

    A process that dies before it has begun anything, again and again, must not go round for ever:
    the task which it would have begun with counts as lost.
    """
    state = LOST if death.lost or death.running is None else FAILED
    guilty, task, began = death.running or (chunk, assigned.first, time.time())
    if guilty != chunk:
        return _report(lease, chunk, assigned)
    redo = task - assigned.first
    entry = Entry(state, 0, began, max(time.time() - began, 0.0), 0.0, death.peak, 0)
    details = {"error": "ExecutorDied", "message": death.reason, "stderr": death.stderr}
    return _report(lease, chunk, assigned, redo + 1, notice(redo, entry, details))
