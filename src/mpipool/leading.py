"""The scatters which a rank leads: performs what their machines decide."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from mpipool.definitions import Definitions
from mpipool.executor.running import publish
from mpipool.group import Member, Scatter, events
from mpipool.ids import BROKER, ExecutorId, LeaseId, Rank, ScatterId, is_own, scatter_id
from mpipool.led import Led
from mpipool.messages import (
    Items,
    Lend,
    Message,
    Open,
    Recall,
    Results,
    Return,
    RunTasks,
    TasksDone,
    Want,
)
from mpipool.outcomes import Outcomes
from mpipool.recording import RecordBuffer
from mpipool.task import FAILED, LOST, REDO, cut_key
from mpipool.transport import Transport


class Leading:
    """All scatters of one leader.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    member : Member
        This rank's own core: a task that waits for its scatter lends it to the scatter.
    to_caller : callable
        Sends a message to the process which opened a scatter.
    """

    def __init__(
        self,
        transport: Transport,
        member: Member,
        to_caller: Callable[[ExecutorId, Message], None],
    ) -> None:
        self.scatters: dict[ScatterId, Led] = {}
        self.records = RecordBuffer()
        self._transport = transport
        self._member = member
        self._to_caller = to_caller
        self._serial = 0
        self._own_leases = 0
        self._definitions = Definitions(transport)

    # --- what callers say ------------------------------------------------------------------------

    def open(self, owner: ExecutorId, opening: Open) -> None:
        """Begin a scatter."""
        self._serial += 1
        scatter = scatter_id(self._transport.rank, self._serial)
        entry = self._member.entries.get(owner)
        path = (*entry.path, scatter) if entry else (scatter,)
        led = Led(scatter, path, owner, opening, Scatter(opening.retries))
        self.scatters[scatter] = led
        self._definitions.use(opening.digest)
        if entry:
            self._member.waits(owner, scatter)
            self._own_leases += 1
            led.own_lease = LeaseId(-self._own_leases)
            self._member.lend_own_core(owner, led.own_lease)

    def extend(self, owner: ExecutorId, items: Items, now: float) -> None:
        """Take in items of a scatter; with the first of them its own rank begins."""
        led = self._find(owner, items.request)
        if led is None:
            return  # it was given up meanwhile
        sizes, packed = items.parts
        count = led.backlog.add(sizes, packed)
        self._handle(led, events.Extended(count, len(packed), items.last), now)
        if count and led.own_lease:
            lease, led.own_lease = led.own_lease, None
            self._handle(led, events.Lent(lease, self._transport.rank, inf), now)

    def abandon(self, owner: ExecutorId, request: int, now: float) -> None:
        """Drop a scatter which its caller gave up."""
        led = self._find(owner, request)
        if led:
            self._handle(led, events.Abandoned(), now)

    def owner_died(self, owner: ExecutorId, now: float) -> None:
        """Drop what a dead process had opened."""
        for led in list(self.scatters.values()):
            if led.owner == owner and not led.machine.complete:
                self._handle(led, events.Abandoned(), now)

    def _find(self, owner: ExecutorId, request: int) -> Led | None:
        for led in self.scatters.values():
            if led.owner == owner and led.opening.request == request:
                return None if led.machine.complete else led
        return None

    # --- what other ranks say --------------------------------------------------------------------

    def lent(self, lend: Lend, now: float) -> None:
        """Take a rank, or give it back if its scatter is over."""
        led = self.scatters.get(lend.scatter)
        if led is None:
            self._transport.send(BROKER, Return(lease=lend.lease, queued=0, seconds=0.0))
            return
        self._handle(led, events.Lent(lend.lease, lend.rank, lend.quantum), now)

    def done(self, sender: Rank, report: TasksDone, now: float) -> None:
        """Take in outcomes."""
        led = self.scatters[report.scatter]
        outcomes = Outcomes(report.first, report.parts)
        attempt = led.machine.attempt(report.lease, report.chunk)
        failed: tuple[int, ...] = ()
        lost: tuple[int, ...] = ()
        redo: tuple[int, ...] = ()
        if not led.machine.abandoned:
            outcomes = outcomes.published(publish)
        if report.failures or len(outcomes.parts[1]):
            failed, lost, redo = map(outcomes.in_state, (FAILED, LOST, REDO))
            outcomes = outcomes.completed(self._keys(led, failed + lost, attempt))
        if led.opening.recorded and report.count and not led.machine.abandoned:
            self.records.add(led, sender, attempt, outcomes)
        event = events.Done(
            report.lease, report.chunk, report.first, report.count, report.back,
            failed, lost, redo, report.busy, report.leave,
        )  # fmt: skip
        self._handle(led, event, now, outcomes)

    def _keys(self, led: Led, indices: tuple[int, ...], attempt: int) -> dict[int, dict[str, Any]]:
        """Return the keys of failed tasks: an executor that died could not say them."""
        keys = {}
        for index in indices if led.opening.keyed else ():
            key, _ = cut_key(memoryview(led.backlog.cut(index, 1)[1]))
            key["attempt"] += attempt
            keys[index] = key
        return keys

    # --- what machines decide --------------------------------------------------------------------

    def _handle(
        self, led: Led, event: events.Event, now: float, outcomes: Outcomes | None = None
    ) -> None:
        for command in led.machine.handle(event, now):
            self._perform(led, command, outcomes)
        if led.machine.complete and led.waited_for:
            led.waited_for = False
            if led.own_lease:
                self._member.own_core_is_back(led.own_lease)
            if led.owner in self._member.entries:
                self._member.resumes(led.owner)
        if led.machine.over:
            del self.scatters[led.scatter]
            self._definitions.end_use(led.opening)

    def _perform(self, led: Led, command: events.Command, outcomes: Outcomes | None) -> None:
        match command:
            case events.Give():
                self._give(led, command)
            case events.Release(lease, queued, seconds):
                self._release(lease, queued, seconds)
            case events.Demand():
                self._want(led, command)
            case events.Deliver(first, count):
                assert outcomes
                self._deliver(led, outcomes.cut(first, count))
            case events.End(lease, rank):
                self._transport.send(rank, Recall(lease=lease))

    def _give(self, led: Led, give: events.Give) -> None:
        self._definitions.send(give.rank, led.opening)
        self._transport.send(
            give.rank,
            RunTasks(
                lease=give.lease,
                chunk=give.chunk,
                scatter=led.scatter,
                path=led.path,
                digest=led.opening.digest,
                first=give.first,
                count=give.count,
                attempt=give.attempt,
                parts=led.backlog.cut(give.first, give.count),
            ),
        )

    def _release(self, lease: LeaseId, queued: int, seconds: float) -> None:
        if is_own(lease):
            self._member.own_core_is_back(lease)
        else:
            self._transport.send(BROKER, Return(lease=lease, queued=queued, seconds=seconds))

    def _want(self, led: Led, demand: events.Demand) -> None:
        self._transport.send(
            BROKER,
            Want(
                scatter=led.scatter,
                path=led.path,
                queued=demand.queued,
                seconds=demand.seconds,
                tasks=demand.tasks,
                stage=led.opening.stage,
                closed=demand.closed,
            ),
        )

    def _deliver(self, led: Led, outcomes: Outcomes) -> None:
        results = Results(
            request=led.opening.request,
            first=outcomes.first,
            count=len(outcomes),
            parts=outcomes.parts,
        )
        self._to_caller(led.owner, results)
        led.backlog.release(outcomes.first, len(outcomes))
