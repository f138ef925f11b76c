"""Executors and a script on a virtual clock: they run plans instead of functions.

A *plan* says how long a task takes, which scatters it leads one after the other, and how often it
fails. Items are the numbers of plans. The messages are those of real executors (`runtime`) and
callers (`caller`), in the same order, so that agents see no difference.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mpipool.executor.process import SCRIPT, Death, Listener
from mpipool.ids import NO_LEASE, ExecutorId
from mpipool.messages import (
    Define,
    Items,
    Leave,
    Message,
    Open,
    Results,
    RunTasks,
    TasksDone,
    Wait,
)
from mpipool.outcomes import Outcomes, pack
from mpipool.task import DONE, FAILED, Entry, Outcome, dump_details

FORK: Final = 0.005
"""Seconds until a new executor is there."""
PASS: Final = 1e-5
"""Seconds for a message between an executor and its agent."""
DEATH: Final = 1e-3
"""Seconds until the agent hears of the end of a process; all that it had sent comes before."""
FLUSH: Final = 0.01
LONG: Final = 0.05
"""As in `runtime`."""

Clock = Any
"""A `transport.virtual.VirtualClock`; effects do not import each other."""


@dataclass(slots=True)
class Plan:
    """What a simulated task does."""

    number: int
    """Its item."""
    seconds: float
    """How long it computes before its scatters, and after each of them."""
    scatters: list[list[Plan]] = field(default_factory=list)
    """What it leads, one after the other."""
    deaths: int = 0
    """How often it kills its process before it does anything else."""
    failures: int = 0
    """How often it raises at its end, after that."""
    retries: int = 0
    """Of its scatters."""

    @property
    def result(self) -> bytes:
        """What its caller is to get."""
        return b"%d" % self.number


class _Caller:
    """Leads the scatters of a plan one after the other."""

    def __init__(self, number: ExecutorId, clock: Clock, listener: Listener) -> None:
        self.number, self.clock, self.listener = number, clock, listener
        self.settled: dict[int, Outcome] = {}
        """What became of the scatter which was led last, by index."""
        self.lease = NO_LEASE
        """Under which the running task runs."""
        self._requests = 0
        self._waiting = 0
        self._then: Callable[[], None] = lambda: None

    def say(self, message: Message) -> None:
        """Send a message to the agent."""
        self.clock.after(PASS, lambda: self.listener.heard(self.number, message))

    @property
    def waits(self) -> bool:
        """Whether it is blocked in a scatter."""
        return self._waiting > 0

    def lead(self, scatter: list[Plan], retries: int, then: Callable[[], None]) -> None:
        """Lead a scatter, and go on with ``then`` when it is complete."""
        self._requests += 1
        self._waiting, self._then, self.settled = len(scatter), then, {}
        request = self._requests
        self.say(
            Open(
                lease=self.lease,
                request=request,
                digest=b"%16d" % retries,
                stage="simulated",
                retries=retries,
                recorded=False,
                keyed=False,
                parts=(b"{}", b""),
            )
        )
        half = len(scatter) // 2  # so that items come in two messages
        for some, last in ((scatter[:half], False), (scatter[half:], True)):
            items = [plan.result for plan in some]
            sizes = array("Q", map(len, items)).tobytes()
            self.say(Items(request=request, last=last, parts=(sizes, b"".join(items))))
        self.say(Wait(request=request))
        if not scatter:
            then()

    def settle(self, results: Results) -> None:
        """Take in final outcomes."""
        outcomes = Outcomes(results.first, results.parts)
        for index, outcome in enumerate(outcomes, start=results.first):
            assert index not in self.settled, f"task {index} was delivered twice"
            self.settled[index] = outcome
            self._waiting -= 1
        if self._waiting == 0:
            self._then()


class VirtualScript:
    """The outermost task: leads the scatters of a plan, checks what comes back, and leaves."""

    def __init__(
        self,
        clock: Clock,
        listener: Listener,
        plan: Plan,
        check: Callable[[list[Plan], dict[int, Outcome]], None],
    ) -> None:
        self._caller = _Caller(SCRIPT, clock, listener)
        self._plan = plan
        self._check = check
        self._step = 0
        clock.after(0.0, self._next)

    def send(self, message: Message) -> None:
        """Take a message of the agent."""
        assert isinstance(message, Results)
        self._caller.settle(message)

    def close(self) -> None:
        """It has ended already."""

    def _next(self) -> None:
        if self._step:
            self._check(self._plan.scatters[self._step - 1], self._caller.settled)
        if self._step == len(self._plan.scatters):
            self._caller.say(Leave(exit_code=0))
            return
        scatter = self._plan.scatters[self._step]
        self._step += 1
        self._caller.lead(scatter, self._plan.retries, self._next)


class VirtualExecutors:
    """The executors of one simulated rank (see `process.Executors`).

    Parameters
    ----------
    clock : VirtualClock
        Simulated time.
    listener : Listener
        The agent.
    plans : sequence of Plan
        What items stand for, by number.
    check : callable
        Told the plans of a scatter and its outcomes by index, when it is complete.
    """

    def __init__(
        self,
        clock: Clock,
        listener: Listener,
        plans: Sequence[Plan],
        check: Callable[[list[Plan], dict[int, Outcome]], None],
    ) -> None:
        self.clock, self.listener, self.plans, self.check = clock, listener, plans, check
        self.alive: dict[ExecutorId, VirtualExecutor] = {}

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""
        process = VirtualExecutor(executor, self)
        self.alive[executor] = process
        self.clock.after(FORK, process.begin)

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Send a message to an executor."""
        process = self.alive.get(executor)
        if process:
            self.clock.after(PASS, lambda: process.take(message))

    def running_since(self, executor: ExecutorId) -> None:
        """Simulated tasks have no timeouts."""

    def kill(self, executor: ExecutorId) -> None:
        """End a process at once."""
        if executor in self.alive:
            self.alive[executor].die()

    def end(self, executor: ExecutorId) -> None:
        """Let an idle process go."""
        self.kill(executor)

    def close(self) -> None:
        """Let all processes go."""
        self.alive.clear()


class VirtualExecutor:
    """One simulated process."""

    def __init__(self, number: ExecutorId, pool: VirtualExecutors) -> None:
        self._number, self._pool = number, pool
        self._caller = _Caller(number, pool.clock, pool.listener)
        self._begun = False
        self._chunks: deque[RunTasks] = deque()
        self._chunk: RunTasks | None = None
        self._task = self._end = 0
        self._began = 0.0
        self._step = 0
        self._first = 0
        self._unsent: list[Outcome] = []

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._pool.alive.get(self._number) is not self

    @property
    def computes(self) -> bool:
        """Whether it uses its core."""
        return self._chunk is not None and not self._caller.waits

    def begin(self) -> None:
        """Be there, and take what has come in."""
        self._begun = True
        self._take_chunk()

    def die(self, lost: bool = False) -> None:
        """End at once; ``lost`` says that it is not the fault of the running task."""
        if self.dead:
            return
        del self._pool.alive[self._number]
        chunk = self._chunk
        running = (chunk.lease, chunk.chunk, self._task, self._began) if chunk else None
        death = Death("killed", -9, running=running, lost=lost)
        self._pool.clock.after(DEATH, lambda: self._pool.listener.ended(self._number, death))

    def take(self, message: Message) -> None:
        """Take a message of the agent."""
        if self.dead:
            return
        match message:
            case RunTasks() if self._caller.waits:
                self._send(message, message.first, [], message.count)
            case RunTasks():
                self._chunks.append(message)
                self._take_chunk()
            case Results():
                self._caller.settle(message)
            case Define():
                pass
            case _:
                raise AssertionError(f"an executor can't take {message}")

    # --- tasks -----------------------------------------------------------------------------------

    def _take_chunk(self) -> None:
        if self.dead or not self._begun or self._chunk or not self._chunks:
            return
        self._chunk = self._chunks.popleft()
        self._caller.lease = self._chunk.lease
        self._task = self._first = self._chunk.first
        self._end = self._chunk.first + self._chunk.count
        self._unsent = []
        self._begin_task()

    @property
    def _plan(self) -> Plan:
        assert self._chunk
        sizes, items = array("Q", bytes(self._chunk.parts[0])), bytes(self._chunk.parts[1])
        index = self._task - self._chunk.first
        start = sum(sizes[:index])
        return self._pool.plans[int(items[start : start + sizes[index]])]

    def _begin_task(self) -> None:
        plan = self._plan
        self._began, self._step = self._pool.clock.now, 0
        if plan.deaths:
            plan.deaths -= 1
            self._pool.clock.after(plan.seconds, self.die)
        else:
            self._pool.clock.after(plan.seconds, self._advance)

    def _advance(self) -> None:
        if self.dead:
            return
        plan = self._plan
        if self._step == len(plan.scatters):
            self._finish(plan)
            return
        self._give_back()
        scatter = plan.scatters[self._step]
        self._step += 1
        self._caller.lead(scatter, plan.retries, self._resume)

    def _resume(self) -> None:
        plan = self._plan
        self._pool.check(plan.scatters[self._step - 1], self._caller.settled)
        self._pool.clock.after(plan.seconds, self._advance)

    def _give_back(self) -> None:
        """Give back what would wait behind the running task (`runtime.before_waiting`)."""
        assert self._chunk
        back = self._end - self._task - 1
        if back or self._unsent:
            self._send(self._chunk, self._first, self._unsent, back)
            self._first, self._unsent = self._task, []
        self._end = self._task + 1

    def _finish(self, plan: Plan) -> None:
        assert self._chunk
        wall = self._pool.clock.now - self._began
        self._unsent.append(_outcome(plan, self._began, wall))
        self._task += 1
        over = self._task == self._end
        if over or sum(outcome.entry.wall for outcome in self._unsent) > FLUSH:
            back = self._end - self._task if wall > LONG else 0
            self._send(self._chunk, self._first, self._unsent, back)
            self._first, self._unsent, over = self._task, [], over or back > 0
        if over:
            self._chunk = None
            self._take_chunk()
        else:
            self._begin_task()

    def _send(self, chunk: RunTasks, first: int, unsent: list[Outcome], back: int) -> None:
        self._caller.say(
            TasksDone(
                lease=chunk.lease,
                chunk=chunk.chunk,
                scatter=chunk.scatter,
                first=first,
                count=len(unsent),
                back=back,
                failures=sum(outcome.entry.state != DONE for outcome in unsent),
                busy=sum(outcome.entry.wall for outcome in unsent),
                leave=False,
                parts=pack(unsent),
            )
        )


def _outcome(plan: Plan, began: float, wall: float) -> Outcome:
    if not plan.failures:
        entry = Entry(DONE, 0, began, wall, wall, 0, len(plan.result))
        return Outcome(entry, memoryview(b""), memoryview(plan.result))
    plan.failures -= 1
    details = dump_details({"error": "ValueError", "message": "", "traceback": ""})
    entry = Entry(FAILED, len(details), began, wall, wall, 0, 0)
    return Outcome(entry, memoryview(details), memoryview(b""))
