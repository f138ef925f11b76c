"""The scatters which a rank leads: performs what their machines decide."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from math import inf
from typing import Any

from mpipool.caching import Scope
from mpipool.definitions import Definitions
from mpipool.executor.running import publish
from mpipool.group import Member, Scatter, events
from mpipool.group.pace import Means
from mpipool.ids import (
    BROKER,
    GONE,
    NO_LEASE,
    ExecutorId,
    LeaseId,
    Rank,
    ScatterId,
    is_own,
    scatter_id,
)
from mpipool.led import Led, Owner
from mpipool.messages import (
    Began,
    Buffer,
    Cancel,
    Cancelled,
    Forget,
    Items,
    Lend,
    Message,
    Open,
    Recall,
    Refuse,
    Refused,
    Release,
    Results,
    Return,
    RunTasks,
    Skip,
    TasksDone,
    Want,
)
from mpipool.outcomes import Outcomes, never_run
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
        self._means = Means()
        self._scopes: dict[tuple[Owner, str], Scope] = {}
        """The latest caches which a task has had made, by the context."""
        self._definitions = Definitions(transport)

    @property
    def definitions(self) -> Definitions:
        """The functions which this rank has sent."""
        return self._definitions

    # --- what callers say ------------------------------------------------------------------------

    def open(self, owner: ExecutorId, opening: Open) -> None:
        """Begin a scatter."""
        self._serial += 1
        scatter = scatter_id(self._transport.rank, self._serial)
        entry = self._member.entry(opening.lease, owner)
        path = (*entry.path, scatter) if entry else (scatter,)
        # Single calls may be anything: the last ones say nothing.
        mean = None if opening.watched else self._means.of(opening.digest)
        machine = Scatter(opening.retries, mixed=opening.watched, mean=mean)
        led = Led(scatter, path, owner, entry, opening, machine)
        self.scatters[scatter] = led
        self._definitions.use(opening.digest)
        if opening.previous:
            led.scope = self._scopes.get((led.task, opening.context))
        if led.scope:
            led.scope.calls.append(led)
        if entry:
            entry.leads.add(scatter)

    def extend(self, owner: ExecutorId, items: Items, now: float) -> None:
        """Take in items of a scatter; with the first of them its own rank begins."""
        led = self._find(owner, items.request)
        if led is None:
            return  # it was given up meanwhile
        sizes, *known, packed = items.parts
        first, count = led.backlog.count, led.backlog.add(sizes, packed)
        costs, homes = _known(*known) if known else ((), ())
        pins = led.scope.pins(first, count) if led.scope else ()
        event = events.Extended(count, len(packed), items.last, costs, homes, pins)
        self._handle(led, event, now)
        expected = led.scope.calls[0].backlog.count if led.scope else led.backlog.count
        if items.last and led.backlog.count != expected:
            reason = f"previous=True with {led.backlog.count} items: there are {expected} caches"
            self.refused(Refuse(scatter=led.scatter, reason=reason), now)
            return
        self._lend_own_core(led, now)

    def wait(self, owner: ExecutorId, request: int, now: float) -> None:
        """Note that the task which opened a scatter waits for it, and lend it the core."""
        led = self._find(owner, request)
        if led and led.entry:
            led.waited_for = True
            self._member.waits(led.entry, led.scatter)
            self._lend_own_core(led, now)

    def resume(self, owner: ExecutorId, request: int) -> None:
        """Note that the task which opened a scatter does not wait for it any more."""
        led = self._find(owner, request)
        if led and led.entry:
            led.waited_for = False
            self._member.resumes(led.entry, led.scatter)

    def _lend_own_core(self, led: Led, now: float) -> None:
        """Let a scatter have the core of the task that waits for it, unless that is used.

        When it is free again, the broker lends it like any other.
        """
        plain = led.waited_for and not led.opening.needs
        if led.entry and plain and led.machine.waiting.open and self._member.rests:
            self._own_leases += 1
            lease = LeaseId(-self._own_leases)
            self._member.lend_own_core(led.entry, lease)
            self._handle(led, events.Lent(lease, self._transport.rank, inf), now)

    def skip(self, owner: ExecutorId, skip: Skip, now: float) -> None:
        """Count a task of a scatter which never runs, and record why."""
        led = self._find(owner, skip.request)
        if led:
            index = led.backlog.count
            led.backlog.add(bytes(8), b"")  # one item, of no length
            led.backlog.release(index, 1)
            self._handle(led, events.Skipped(), now)
            if led.opening.recorded:
                skipped = never_run(index, time.time(), skip.parts[0])
                self.records.add(led, self._transport.rank, 0, skipped)

    def cancel(self, owner: ExecutorId, cancel: Cancel, now: float) -> None:
        """Drop those tasks of a scatter which were not given to a rank yet."""
        led = self._find(owner, cancel.request)
        if led:
            self._handle(led, events.Cancelled(cancel.first, cancel.count), now)
        else:
            self._to_caller(owner, Cancelled(request=cancel.request, tasks=()))

    def abandon(self, owner: ExecutorId, request: int, now: float) -> None:
        """Drop a scatter which its caller gave up."""
        led = self._find(owner, request)
        if led:
            self._handle(led, events.Abandoned(), now)

    def let_go(self, owner: Owner, context: str | None = None) -> None:
        """Let the caches of a context go, or all which a task has had made: it is over."""
        for key in [key for key in self._scopes if key[0] == owner]:
            if context in {None, key[1]}:
                self._forget(self._scopes.pop(key))

    def tasks_ended(self, executor: ExecutorId, report: TasksDone) -> None:
        """Let all caches go which these tasks have had made."""
        for task in range(report.first, report.first + report.count) if self._scopes else ():
            self.let_go((executor, report.scatter, task))

    def _forget(self, scope: Scope) -> None:
        for rank in scope.ranks:
            self._transport.send(rank, Forget(scope=scope.origin))
        for call in scope.calls:
            if call.scatter not in self.scatters:
                self._definitions.end_use(call.opening)
            call.scope = None

    def owner_died(self, owner: ExecutorId, now: float) -> None:
        """Drop what a dead process had opened."""
        for task, _ in [key for key in self._scopes if key[0][0] == owner]:
            self.let_go(task)
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
        if led.opening.needs:
            led.cores[lend.lease] = (lend.ranks or (lend.rank,), lend.cpus)
        self._handle(led, events.Lent(lend.lease, lend.rank, lend.quantum), now)

    def refused(self, refuse: Refuse, now: float) -> None:
        """Drop a scatter which can never run, and tell its caller why."""
        led = self.scatters.get(refuse.scatter)
        if led and not led.machine.complete:
            refused = Refused(request=led.opening.request, reason=refuse.reason)
            self._to_caller(led.owner, refused)
            self._handle(led, events.Abandoned(), now)

    def done(self, sender: Rank, report: TasksDone, now: float) -> None:
        """Take in outcomes."""
        led = self.scatters[report.scatter]
        outcomes = Outcomes(report.first, report.parts)
        attempt = led.machine.attempt(report.lease, report.chunk)
        gone = report.executor == GONE
        pins = self._note_caches(led, sender, report) if report.cached else ()
        if gone and led.scope:
            led.scope.lose(report.first, report.back)
        failed: tuple[int, ...] = ()
        lost: tuple[int, ...] = ()
        redo: tuple[int, ...] = ()
        if not led.machine.abandoned:
            outcomes = outcomes.published(publish)
        elif led.keeps and report.count:
            self._transport.send(sender, Release(data=outcomes.references()))
        if report.failures or len(outcomes.parts[1]):
            failed, lost, redo = map(outcomes.in_state, (FAILED, LOST, REDO))
            outcomes = outcomes.completed(self._keys(led, failed + lost, attempt))
        if led.opening.recorded and report.count and not led.machine.abandoned:
            self.records.add(led, sender, attempt, outcomes)
        event = events.Done(
            report.lease, report.chunk, report.first, report.count, report.back,
            failed, lost, redo, report.busy, report.leave, gone, pins,
        )  # fmt: skip
        self._handle(led, event, now, outcomes)

    def _note_caches(self, led: Led, rank: Rank, report: TasksDone) -> tuple[events.Pin, ...]:
        """Note where caches are; return where these tasks must go if they are tried again."""
        if led.scope is None and led.machine.abandoned:
            # Who gave it up may be gone, and would never let them go.
            self._transport.send(rank, Forget(scope=led.scatter))
            return ()
        scope = self._scope(led)
        scope.fill(report.cached, rank, report.executor, led)
        if scope.origin == led.scatter:
            return ()  # the first call begins with empty caches, wherever it is
        return tuple((index, rank, report.executor) for index in report.cached)

    def _scope(self, led: Led) -> Scope:
        if led.scope is None:
            opening = led.opening
            self.let_go(led.task, opening.context)
            led.scope = Scope(led.scatter, [led])
            self._scopes[led.task, opening.context] = led.scope
        return led.scope

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
        if led.machine.complete and led.entry:
            led.waited_for = False
            self._member.completes(led.entry, led.scatter)
        if led.machine.over:
            del self.scatters[led.scatter]
            self._means.learn(led.opening.digest, led.machine.pace.mean)
            if led.scope is None:  # or its function is needed as long as the caches are
                self._definitions.end_use(led.opening)

    def _perform(self, led: Led, command: events.Command, outcomes: Outcomes | None) -> None:
        match command:
            case events.Give():
                self._give(led, command)
            case events.Release():
                self._release(led, command)
            case events.Demand():
                self._want(led, command)
            case events.Deliver(first, count):
                assert outcomes
                self._deliver(led, outcomes.cut(first, count))
            case events.End(lease, rank):
                self._transport.send(rank, Recall(lease=lease))
            case events.Drop(tasks):
                self._to_caller(led.owner, Cancelled(request=led.opening.request, tasks=tasks))
                for index in tasks:
                    led.backlog.release(index, 1)

    def _give(self, led: Led, give: events.Give) -> None:
        cores, cpus = led.cores.get(give.lease, ((), ""))
        lineage = led.scope.lineage(led, give.first, give.count) if led.scope else []
        for call in (*(earlier for earlier, _ in lineage), led):
            self._definitions.send(give.rank, call.opening)
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
                scope=led.scope.origin if led.scope else led.scatter,
                executor=give.executor,
                lineage=b"".join(earlier.opening.digest for earlier, _ in lineage),
                cores=cores,
                cpus=cpus,
                parts=sum((items for _, items in lineage), led.backlog.cut(give.first, give.count)),
            ),
        )
        if led.opening.watched:
            began = Began(request=led.opening.request, first=give.first, count=give.count)
            self._to_caller(led.owner, began)

    def _release(self, led: Led, release: events.Release) -> None:
        led.cores.pop(release.lease, None)
        if is_own(release.lease):
            self._member.own_core_is_back(release.lease)
            return
        returned = Return(
            lease=release.lease, queued=release.queued, seconds=release.seconds, pins=release.pins
        )
        self._transport.send(BROKER, returned)

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
                pins=demand.pins,
                needs=led.opening.needs,
                parent=led.entry.root if led.entry else NO_LEASE,
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
        if led.scope is None:
            led.backlog.release(outcomes.first, len(outcomes))


def _known(costs: Buffer, homes: Buffer) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Unpack what is known of items."""
    return tuple(array("d", bytes(costs))), tuple(array("q", bytes(homes)))
