"""A rank's agent: where transport, executors and, while it leads, its groups meet.

It decides nothing: the machines in `group` do. It is told what happened (`take` from other ranks,
`heard` and `ended` from the processes below it), and what the machines answer is performed by
`Leading` (the scatters led here) and `Serving` (the tasks run here). It never unpickles what users
made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mpipool.executor.process import SCRIPT, Death
from mpipool.ganging import NEEDS_MPI, Ganging, Here, NotHere
from mpipool.group import Member
from mpipool.ids import BROKER, HERE, ExecutorId, Rank
from mpipool.keeping import Keeping
from mpipool.leading import Leading
from mpipool.liveness import ALIVE_EVERY
from mpipool.messages import (
    Abandon,
    Ahead,
    Alive,
    Answer,
    Ask,
    Assemble,
    Assembled,
    Bye,
    Cancel,
    Define,
    Drain,
    Enter,
    Fetch,
    Fetched,
    Forget,
    HowMade,
    Items,
    Keep,
    Leave,
    Left,
    Lend,
    LetGo,
    Lost,
    Made,
    Message,
    Missed,
    Open,
    Recall,
    Records,
    Refuse,
    Release,
    Resume,
    RunTasks,
    Shun,
    Skip,
    Stop,
    TasksDone,
    Wait,
    Warned,
    mentions_last,
    parcels_in,
)
from mpipool.node import Node
from mpipool.recording import EVERY, pass_on
from mpipool.serving import ExecutorPool, Serving
from mpipool.transport import Transport

if TYPE_CHECKING:
    from mpipool.broker import Broker  # rank 0 alone loads SQLite
    from mpipool.executor.script import Script

HELD_UP: Final = "a task of a gang runs on, though the time to drain is over"
REST: Final = 1.0
"""Seconds between two looks for executors which were idle for long."""

_WORK: Final = (
    TasksDone, Ahead, RunTasks, Lend, Refuse, Define, Recall, Forget, Fetch, Fetched, HowMade,
    Made, Release, Drain, Shun,
)  # fmt: skip
"""Messages about work, which are dropped while the run ends."""


class Agent:
    """One rank's agent; see the module's docstring.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    executors : callable
        Makes the processes below, given this agent as their listener.
    clock : callable
        Returns monotonic seconds.
    broker : Broker, optional
        On rank 0.
    here : callable, optional
        Makes the rank's own process a place for tasks, given this agent as its listener.
    node : Node
        What is known of the node it is on.
    """

    def __init__(
        self,
        transport: Transport,
        executors: Callable[[Agent], ExecutorPool],
        clock: Callable[[], float],
        broker: Broker | None = None,
        here: Callable[[Agent], Here] | None = None,
        node: Node = Node(),  # noqa: B008 - it can't be changed
    ) -> None:
        self.transport = transport
        self.member = Member()
        self.executors = executors(self)
        self.leading = Leading(transport, self.member, self._to_caller, node)
        self.keeping = Keeping(transport, self._to_caller)
        self.serving = Serving(transport, self.member, self.executors, self.keeping)
        self.here = here(self) if here else NotHere(NEEDS_MPI)
        self.ganging = Ganging(
            transport, self.member, self.serving, self.leading.definitions, self.here
        )
        self.broker = broker
        self.script: Script | None = None
        self.stop: Stop | None = None
        """What the broker has said, once the run ends."""
        self.released = False
        """Whether the broker has said goodbye: everything is on disk."""
        self.outcast = ""
        """Why this rank is to end at once and without a word, once it is."""
        self._clock = clock
        self._missed: set[Rank] = set()
        """Ranks whose death was noticed here."""
        self._asked: dict[int, tuple[ExecutorId, int]] = {}
        self._questions = self._byes = 0
        self._next_flush = self._next_rest = self._next_sign = 0.0

    # --- from other ranks ------------------------------------------------------------------------

    def take(self, sender: Rank, message: Message) -> None:  # noqa: C901 - a table
        """Take a message of another rank, or of this one to itself."""
        if self.broker:
            self.broker.hear(sender)
        if self.stop is None or _is_for_a_gang(message):
            self._work(sender, message)
        match message:
            case _ if isinstance(message, _WORK):
                pass  # work: done above, or dropped since the run ends
            case Answer():
                self._answer(message)
            case Assemble() | Assembled() | Enter() | Left():
                self.ganging.take(sender, message, self._clock())
            case Lost(rank=rank, reason=reason):
                self._lose(rank, reason)
            case Records() | Ask() if message.by:
                self.transport.send(*pass_on(message, self.transport.rank))
            case Stop():
                self.stop = message
                self.ganging.stop(self._clock())
                if self.leading.halting.stuck and self.broker and not message.stuck:
                    self.broker.stop(self.broker.oversight.exit_code, stuck=HELD_UP)
            case Bye() if sender == BROKER and (self.broker is None or self.broker.over):
                self.released = True
            case _:
                assert self.broker, f"{message} went to a rank without a broker"
                self.broker.take(sender, message)
        _drop_unclaimed(message)
        self.serving.tell_if_blocked()

    def _work(self, sender: Rank, message: Message) -> None:  # noqa: C901 - a table
        match message:
            case TasksDone():
                self.leading.done(sender, message, self._clock())
            case Ahead(void=False):
                self._pass_on(message)
            case RunTasks() if self.ganging.takes(message):
                self.ganging.run(sender, message, self._clock())
            case RunTasks():
                self.serving.run(sender, message)
            case Lend():
                self.leading.lent(message, self._clock())
            case Define():
                if self.serving.define(sender, message):
                    self.ganging.forget(message)
            case Recall():
                self.serving.recall(message)
                self.ganging.recall(message.lease, self._clock())
            case Refuse():
                self.leading.refused(message, self._clock())
            case Drain():
                self.leading.drain(message, self._clock())
            case Shun(rank=rank):
                self.leading.shun(rank, self._clock())
            case Forget():
                self.serving.forget(message)
            case Fetch():
                self.keeping.asked(sender, message)
            case Fetched():
                self.keeping.fetched(message)
            case HowMade():
                self.leading.recipes.asked(sender, message)
            case Made():
                self.leading.recipes.answered(message)
            case Release():
                self.keeping.released(message)

    def _lose(self, rank: Rank, reason: str) -> None:
        """Do without a rank which is gone."""
        if rank == self.transport.rank:
            self.outcast = reason
            return
        now = self._clock()
        self.transport.give_up(rank)
        for definition in self.serving.lose(rank):
            self.ganging.forget(definition)
        self.leading.lose(rank, reason, now)
        self.keeping.lose(rank)
        self.ganging.lose(rank, now)

    def _miss(self) -> None:
        """Tell the broker which ranks have died, and end if that is the broker's."""
        for rank in self.transport.lost - self._missed:
            self._missed.add(rank)
            if rank == BROKER and self.stop is None:
                self.outcast = "rank 0 has died"
            self.released |= rank == BROKER  # or its goodbye is lost: it goes when all is on disk
            self.transport.send(BROKER, Missed(rank=rank, reason="its process has died"))

    def _pass_on(self, ahead: Ahead) -> None:
        """Let the caller have a large result while it is being sent."""
        led = self.leading.scatters.get(ahead.scatter)
        if led and not led.machine.complete:
            self._to_caller(led.owner, ahead)

    # --- from the processes below ----------------------------------------------------------------

    def heard(self, executor: ExecutorId, message: Message) -> None:  # noqa: C901 - a table
        """Take a message of an executor or of the script."""
        now = self._clock()
        match message:
            case TasksDone():
                if self.leading.records.are_of(executor):
                    self.flush()  # what it has scattered is on the way before its own report
                self.leading.tasks_ended(executor, message)
                if executor == HERE:
                    self.ganging.ended(message)
                else:
                    self.serving.done(executor, message, now)
            case Ahead():
                self.serving.ahead(executor, message)
            case Open():
                self.leading.open(executor, message)
            case Items():
                self.leading.extend(executor, message, now)
            case Abandon(request=request):
                self.leading.abandon(executor, request, now)
            case Wait(request=request):
                self.leading.wait(executor, request, now)
            case Resume(request=request):
                self.leading.resume(executor, request)
            case Cancel():
                self.leading.cancel(executor, message, now)
            case Skip():
                self.leading.skip(executor, message, now)
            case LetGo(within=within, task=task, context=context):
                self.leading.let_go((executor, within, task), context)
            case Keep() | Fetch() | HowMade() | Release():
                self._heard_of_data(executor, message)
            case Ask():
                self._ask(executor, message)
            case Leave(exit_code=code):
                self._script_is_over(code)
            case _:
                raise AssertionError(f"an agent can't take {message} of an executor")
        self.serving.tell_if_blocked()

    def _heard_of_data(
        self, executor: ExecutorId, message: Keep | Fetch | HowMade | Release
    ) -> None:
        match message:
            case Keep():
                self.keeping.store(executor, message)
            case Fetch():
                self.keeping.fetch(executor, message)
            case HowMade():
                self.leading.recipes.ask(executor, message)
            case Release():
                self.keeping.release(message.data)
                self.leading.recipes.release(message.data)

    def ended(self, executor: ExecutorId, death: Death) -> None:
        """Take in that a process ended; all it had sent was heard before."""
        self.keeping.release(self.leading.owner_died(executor, self._clock()))
        if executor == SCRIPT:
            code = death.status if death.status >= 0 else 128 - death.status
            self._script_is_over(code, orderly=not death.lost)
        else:
            self.serving.died(executor, death)
        self.serving.tell_if_blocked()

    # --- from the clock --------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what is due: send records, end executors that were idle for long."""
        now = self._clock()
        if self.transport.lost:
            self._miss()
        if self.broker:
            self.broker.tick()
        elif now >= self._next_sign:
            self._next_sign = now + ALIVE_EVERY
            self.transport.send(BROKER, Alive())
        self.leading.tick(now)
        self.ganging.tick(now)
        self._say_bye()
        if now >= self._next_flush:
            self._next_flush = now + EVERY
            self.flush()
            self.serving.expire()
            self.serving.restrain(now)
        if now >= self._next_rest:
            self._next_rest = now + REST
            self.serving.rest(now)

    def warn(self, signal: int, hurried: bool = False) -> None:
        """Tell the broker that this rank was sent a signal which asks the run to end soon."""
        self.transport.send(BROKER, Warned(signal=signal, hurried=hurried))

    def flush(self) -> None:
        """Send the records gathered so far, and how tasks fared."""
        for rank, records in self.leading.records.take():
            self.transport.send(rank, records)
        tally = self.leading.tallying.take(self._clock())
        if tally:
            self.transport.send(BROKER, tally)

    @property
    def may_leave(self) -> bool:
        """Whether the run ends, and no task has to end before."""
        if self.stop is None:
            return False
        waits = self.stop.orderly and not self.stop.stuck
        return not (waits and self.ganging.detains(self._clock()))

    def say_goodbye(self) -> None:
        """End the processes below, and send the last records."""
        if self.script:
            self.script.close()
        self.executors.close()
        self.flush()
        self.transport.drain()
        self._byes = 1

    def _say_bye(self) -> None:
        """Say goodbye once nobody has to receive anything from here, so that MPI can be left."""
        if self._byes and not self.transport.streams:
            self._byes = 0
            self.transport.send(BROKER, Bye(records=self.leading.records.sent))

    # --- questions -------------------------------------------------------------------------------

    def _ask(self, executor: ExecutorId, ask: Ask) -> None:
        # Records sent before the question are on disk before it is answered.
        self.flush()
        self._questions += 1
        self._asked[self._questions] = (executor, ask.request)
        entry, rank = self.member.entry(ask.lease, executor), self.transport.rank
        by = entry.path if entry else ()
        asked = replace(ask, request=self._questions, rank=rank, by=by)
        self.transport.send(*pass_on(asked, rank))

    def _answer(self, answer: Answer) -> None:
        executor, request = self._asked.pop(answer.request)
        self._to_caller(executor, replace(answer, request=request))

    def _to_caller(self, executor: ExecutorId, message: Message) -> None:
        if executor == HERE:
            self.here.send(message)
        elif executor != SCRIPT:
            self.executors.send(executor, message)
        elif self.script:
            self.script.send(message)

    def _script_is_over(self, exit_code: int, orderly: bool = True) -> None:
        assert self.broker, "only rank 0 has a script"
        self.broker.oversight.left = self.leading.halting.left
        self.broker.stop(exit_code, orderly)


def _is_for_a_gang(message: Message) -> bool:
    """Whether a message may belong to a gang which is just entering, though the run ends."""
    return isinstance(message, Define) and not message.forget


def _drop_unclaimed(message: Message) -> None:
    """Drop the parcels which nobody has taken, or whose message was not passed on."""
    for parcel in parcels_in(message):
        if not (parcel.named if mentions_last(message) else parcel.taker):
            parcel.drop()
