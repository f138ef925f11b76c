"""What the machines of a leader's scatters decide, done: tasks given out, outcomes delivered."""

from __future__ import annotations

from collections.abc import Callable

from mpipool.branching import last_words
from mpipool.definitions import Definitions
from mpipool.group import Member, events
from mpipool.halting import Halting
from mpipool.ids import BROKER, NO_LEASE, NO_SCATTER, ExecutorId, is_own
from mpipool.led import Led
from mpipool.messages import Began, Cancelled, Message, Recall, Results, Return, RunTasks, Want
from mpipool.outcomes import Outcomes
from mpipool.recipes import Recipes
from mpipool.transport import Transport


class Giving:
    """Performs the commands of scatters' machines.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    member : Member
        This rank's own core, which may be lent to its own scatters.
    definitions : Definitions
        The functions which this rank has sent.
    halting : Halting
        Why the run drains.
    to_caller : callable
        Sends a message to the process which opened a scatter.

    Attributes
    ----------
    recipes : Recipes
        How results were made which are kept elsewhere.
    """

    def __init__(
        self,
        transport: Transport,
        member: Member,
        definitions: Definitions,
        halting: Halting,
        to_caller: Callable[[ExecutorId, Message], None],
    ) -> None:
        self._transport = transport
        self._member = member
        self._definitions = definitions
        self._halting = halting
        self._to_caller = to_caller
        self.recipes = Recipes(transport, to_caller)

    def perform(  # noqa: C901 - a table
        self, led: Led, command: events.Command, outcomes: Outcomes | None
    ) -> None:
        """Do what a scatter's machine has decided; ``outcomes`` are those just reported."""
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
            case events.Fail(tasks):
                reason = led.root.refusals[led.memory]
                for index in tasks:
                    self._deliver(led, last_words(led, index, reason))
            case events.Halt(interrupted) if led.origin is None:
                self._to_caller(led.owner, self._halting.halted(led, interrupted))

    def _give(self, led: Led, give: events.Give) -> None:
        cores, cpus = led.cores.get(give.lease, ((), ""))
        root = led.root
        lineage = root.scope.lineage(root, give.first, give.count) if root.scope else []
        for call in (*(earlier for earlier, _ in lineage), led):
            self._definitions.send(give.rank, call.opening)
        self._transport.send(
            give.rank,
            RunTasks(
                lease=give.lease,
                chunk=give.chunk,
                scatter=led.scatter,
                path=root.path,
                digest=led.opening.digest,
                first=give.first,
                count=give.count,
                attempt=give.attempt,
                scope=root.scope.origin if root.scope else root.scatter,
                executor=give.executor,
                lineage=b"".join(earlier.opening.digest for earlier, _ in lineage),
                cores=cores,
                cpus=cpus,
                memory=led.memory,
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
                needs=led.needs,
                parent=led.entry.root if led.entry else NO_LEASE,
                origin=led.origin.scatter if led.origin else NO_SCATTER,
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
        if led.opening.keep:
            self.recipes.note(led, outcomes)
        if led.root.scope is None:
            led.backlog.release(outcomes.first, len(outcomes))
