"""The scatters which a rank leads: performs what their machines decide."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from math import inf

from mpipool.branching import Branching
from mpipool.caching import Scope
from mpipool.definitions import Definitions
from mpipool.ends import sort
from mpipool.executor.running import publish
from mpipool.giving import Giving
from mpipool.group import Member, Scatter, events
from mpipool.group.pace import Means
from mpipool.halting import Halting
from mpipool.ids import (
    BROKER,
    GONE,
    DataId,
    ExecutorId,
    LeaseId,
    Rank,
    ScatterId,
    scatter_id,
)
from mpipool.led import Led, Owner
from mpipool.losses import reports_for
from mpipool.messages import (
    Buffer,
    Cancel,
    Cancelled,
    Drain,
    Forget,
    Items,
    Lend,
    Message,
    Open,
    Refuse,
    Refused,
    Release,
    Return,
    Skip,
    TasksDone,
)
from mpipool.node import Node
from mpipool.outcomes import Outcomes, never_run
from mpipool.recording import RecordBuffer
from mpipool.tallying import Tallying
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
    node : Node
        What is known of the node it is on.
    """

    def __init__(
        self,
        transport: Transport,
        member: Member,
        to_caller: Callable[[ExecutorId, Message], None],
        node: Node = Node(),  # noqa: B008 - it can't be changed
    ) -> None:
        self.scatters: dict[ScatterId, Led] = {}
        self.records = RecordBuffer(transport.rank)
        self._transport = transport
        self._member = member
        self._to_caller = to_caller
        self._serial = 0
        self._own_leases = 0
        self._means = Means()
        self._scopes: dict[tuple[Owner, str], Scope] = {}
        """The latest caches which a task has had made, by the context."""
        self._definitions = Definitions(transport)
        self._shunned: set[Rank] = set()
        self.halting = Halting()
        self._branching = Branching(node)
        self.tallying = Tallying()
        self._giving = Giving(transport, member, self._definitions, self.halting, to_caller)
        self.recipes = self._giving.recipes

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
        known = self._means.of(opening.digest) or opening.mean or None
        mean = None if opening.watched else known
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
        self.halting.brief(led)

    def extend(self, owner: ExecutorId, items: Items, now: float) -> None:
        """Take in items of a scatter; with the first of them its own rank begins."""
        led = self._find(owner, items.request)
        if led is None:
            return  # it was given up meanwhile
        sizes, *known, packed = items.parts
        first, count = led.backlog.count, led.backlog.add(sizes, packed)
        costs, homes, memories = _known(*known) if known else ((), (), ())
        more = self._branching.known(led, first, memories)
        pins = led.scope.pins(first, count) if led.scope else ()
        event = events.Extended(count, len(packed), items.last, costs, homes, pins, more)
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

        When it is free again, the broker lends it like any other. It lends those of a gang, or of
        a task with threads, together: none is free while this one is used for what that has begun.
        """
        plain = led.waited_for and not led.opening.needs
        if not led.entry or led.entry.wide or not plain:
            return
        if led.machine.waiting.open and self._member.rests:
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

    def owner_died(self, owner: ExecutorId, now: float) -> list[DataId]:
        """Drop what a dead process had opened; return what it had had kept, which is to be too."""
        for task, _ in [key for key in self._scopes if key[0][0] == owner]:
            self.let_go(task)
        for led in list(self.scatters.values()):
            if led.owner == owner and not led.machine.complete:
                self._handle(led, events.Abandoned(), now)
        return self.recipes.let_go(owner)

    def lose(self, rank: Rank, reason: str, now: float) -> None:
        """Take back what a rank had which is gone, and what only its caches could run."""
        self.recipes.lose(rank)
        self._lose_caches(rank, now)
        for led in list(self.scatters.values()):
            for report in reports_for(rank, reason, led):
                self.done(rank, report, now)

    # --- draining --------------------------------------------------------------------------------

    def drain(self, drain: Drain, now: float) -> None:
        """Take in until when what the script's scatters run may go on, and whether they begin more.

        What tasks have scattered is part of them.
        """
        self._tell_script(self.halting.take(drain, now), now)

    def tick(self, now: float) -> None:
        """End what the script's scatters run, when the time for it is up."""
        if self.halting.is_time_up(now):
            self._tell_script([events.TimeUp()], now)
        for rank, report in self.halting.forsake(self.scatters.values(), now):
            self.done(rank, report, now)

    def shun(self, rank: Rank, now: float) -> None:
        """Expect no caches on a rank any more to which no task goes: they are made again."""
        self._shunned.add(rank)
        self._lose_caches(rank, now)

    def _lose_caches(self, rank: Rank, now: float) -> None:
        for scope in self._scopes.values():
            scope.lose_rank(rank)
        for led in list(self.scatters.values()):
            if led.scope:
                led.scope.lose_rank(rank)
            self._handle(led, events.RankLost(rank), now)

    def _tell_script(self, told: list[events.Event], now: float) -> None:
        for led in [led for led in self.scatters.values() if led.entry is None]:
            for event in told if not led.machine.complete else ():
                self._handle(led, event, now)

    def _find(self, owner: ExecutorId, request: int) -> Led | None:
        for led in self.scatters.values():
            if led.owner == owner and led.opening.request == request and not led.origin:
                return None if led.machine.complete else led
        return None

    # --- what other ranks say --------------------------------------------------------------------

    def lent(self, lend: Lend, now: float) -> None:
        """Take a rank, or give it back if its scatter is over."""
        led = self.scatters.get(lend.scatter)
        if led is None:
            self._transport.send(BROKER, Return(lease=lend.lease, queued=0, seconds=0.0))
            return
        if led.needs:
            led.cores[lend.lease] = (lend.ranks or (lend.rank,), lend.cpus)
        self._handle(led, events.Lent(lend.lease, lend.rank, lend.quantum), now)

    def refused(self, refuse: Refuse, now: float) -> None:
        """Drop a scatter which can never run, and tell its caller why."""
        led = self.scatters.get(refuse.scatter)
        if led and led.origin:
            led.root.refusals[led.memory] = refuse.reason
            led.root.branches.pop(led.memory, None)
            self._handle(led, events.Hopeless(), now)
        elif led and not led.machine.complete:
            refused = Refused(request=led.opening.request, reason=refuse.reason)
            self._to_caller(led.owner, refused)
            self._handle(led, events.Abandoned(), now)

    def done(self, sender: Rank, report: TasksDone, now: float) -> None:
        """Take in outcomes."""
        if report.scatter in self.halting.forsaken:
            return
        led = self.scatters[report.scatter]
        outcomes = Outcomes(report.first, report.parts)
        attempt = led.machine.attempt(report.lease, report.chunk)
        gone = report.executor == GONE
        root = led.root
        pins = self._note_caches(root, sender, report) if report.cached else ()
        if gone and root.scope:
            root.scope.lose(report.first, report.back)
        if not led.machine.abandoned:
            outcomes = outcomes.published(publish)
        elif led.opening.keep and report.count:
            kept = tuple(data for _, data in outcomes.where_kept())
            self._transport.send(sender, Release(data=kept))
        ends, outcomes = sort(led, report, outcomes, attempt, self._branching)
        self.tallying.saw(led, sender, report, ends.failed, ends.undone, outcomes)
        if led.opening.recorded and report.count and not led.machine.abandoned:
            self.records.add(root, sender, attempt, outcomes)
        event = events.Done(
            report.lease, report.chunk, report.first, report.count, report.back,
            ends.failed, ends.lost, ends.redo, report.busy, report.leave, gone, pins,
            ends.interrupted, ends.starved,
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
        if rank in self._shunned:
            scope.lose_rank(rank)
            return ()
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

    # --- what machines decide --------------------------------------------------------------------

    def _handle(
        self, led: Led, event: events.Event, now: float, outcomes: Outcomes | None = None
    ) -> None:
        for command in led.machine.handle(event, now):
            self._giving.perform(led, command, outcomes)
            self._pass_on(led, command, now)
        for branch in [*led.branches.values()] if isinstance(event, events.Abandoned) else ():
            self._handle(branch, event, now)
        if led.machine.complete and led.entry and led.origin is None:
            led.waited_for = False
            self._member.completes(led.entry, led.scatter)
        if led.machine.over:
            del self.scatters[led.scatter]
            led.root.branches.pop(led.memory, None)
            self._means.learn(led.opening.digest, led.machine.pace.mean)
            if led.scope is None:  # or its function is needed as long as the caches are
                self._definitions.end_use(led.opening)

    def _pass_on(self, led: Led, command: events.Command, now: float) -> None:
        """Do what a decision of a scatter's means for its branches, or of a branch's for it."""
        match command:
            case events.Move(memory=memory):
                branch = led.root.branches.get(memory)
                if branch is None:
                    self._serial += 1
                    number = scatter_id(self._transport.rank, self._serial)
                    branch = self._branching.branch(led.root, command, number)
                    self.scatters[number] = branch
                    self.halting.brief(branch)
                    self._definitions.use(led.opening.digest)
                self._handle(branch, events.Joined(command), now)
            case events.Deliver(first, count) if led.origin:
                for index in range(first, first + count):
                    led.origin.setbacks.pop(index, None)
                self._handle(led.origin, events.Settled(delivered=count), now)
            case events.Fail(tasks) if led.origin:
                self._handle(led.origin, events.Settled(delivered=len(tasks)), now)
            case events.Halt(interrupted) if led.origin:
                ended = events.Settled(left=led.machine.left, interrupted=interrupted)
                self._handle(led.origin, ended, now)


def _known(
    costs: Buffer, homes: Buffer, memories: Buffer = b""
) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
    """Unpack what is known of items."""
    costly = tuple(array("d", bytes(costs)))
    return costly, tuple(array("q", bytes(homes))), tuple(array("q", bytes(memories)))
