"""Simulated executors, the script, and the main threads of ranks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Final, Protocol

from mpipool.executor.process import SCRIPT, Death, Listener
from mpipool.executor.virtual.calling import PASS, Clock, Observer, Process, Raised, Work
from mpipool.executor.virtual.chunks import Current, outcome_of
from mpipool.executor.virtual.plan import NO_DATA, Item, Plan, unpack
from mpipool.ids import ANY_EXECUTOR, HERE, ExecutorId, GangId, LeaseId, Rank
from mpipool.messages import Define, Forget, Leave, Message, RunTasks
from mpipool.task import DIGEST, Outcome

FORK: Final = 0.005
"""Seconds until a new executor is there."""
DEATH: Final = 1e-3
"""Seconds until the agent hears of the end of a process; all that it had sent comes before."""
FLUSH: Final = 0.01
LONG: Final = 0.05
"""As in `runtime`."""
LINGER: Final = 1000.0
"""Seconds for which the script does nothing at its end, so that everything comes to rest."""

Attempt = Generator[float | None, None, Outcome]


class VirtualScript(Process):
    """The outermost task: leads the scatters of a plan, and leaves."""

    blocks = False

    def __init__(self, clock: Clock, listener: Listener, plan: Plan, observer: Observer) -> None:
        super().__init__(SCRIPT, clock, listener, observer)
        clock.after(0.0, lambda: self.begin(self._run(plan)))

    def send(self, message: Message) -> None:
        """Take a message of the agent."""
        self.take(message)

    def close(self) -> None:
        """It has ended already."""

    def _run(self, plan: Plan) -> Work:
        yield from self.lead(plan)
        yield LINGER
        self.say(Leave(exit_code=0))


class Listening(Listener, Protocol):
    """The agent, which also has gangs."""

    ganging: Seats


class Seats(Protocol):
    """Who is told when the main thread of a rank is free again."""

    def main_thread_is_free(self) -> None:
        """Take in that the main thread has nothing to do any more."""


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
    observer : Observer
        Checks what comes of scatters.
    """

    def __init__(
        self, clock: Clock, listener: Listener, plans: Sequence[Plan], observer: Observer
    ) -> None:
        self.clock, self.listener, self.plans, self.observer = clock, listener, plans, observer
        self.alive: dict[ExecutorId, VirtualExecutor] = {}

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""
        process = VirtualExecutor(executor, self)
        self.alive[executor] = process
        self.clock.after(FORK, lambda: process.begin(process.run()))

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Send a message to an executor."""
        process = self.alive.get(executor)
        if process:
            self.clock.after(PASS, lambda: process.take(message))

    def running_since(self, executor: ExecutorId, lease: LeaseId) -> None:
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


class VirtualExecutor(Process):
    """One simulated process; see `runtime.Executor`."""

    def __init__(self, number: ExecutorId, pool: VirtualExecutors) -> None:
        super().__init__(number, pool.clock, pool.listener, pool.observer)
        self.caches: dict[int, dict[int, dict[int, int]]] = {}
        """By scope and index, the marks: the plan by the serial number of its scatter."""
        self._pool = pool
        self._functions: set[bytes] = set()
        self._frames: list[Current] = []
        """The chunks that are run, one on top of the other."""

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._pool.alive.get(self.number) is not self

    @property
    def computes(self) -> bool:
        """Whether it uses its core."""
        return bool(self._frames) and not self._rests

    def run(self) -> Work:
        """Take messages for ever."""
        while True:
            while not self.inbox:
                yield None
            message = self.inbox.popleft()
            if isinstance(message, RunTasks):
                yield from self._run_chunk(message)
            else:
                yield from self.serve(message)

    def die(self, lost: bool = False) -> None:
        """End at once; ``lost`` says that it is not the fault of the running task."""
        if self.dead:
            return
        del self._pool.alive[self.number]
        running = None
        if self._frames and self._frames[-1].runs:
            top = self._frames[-1]
            running = (top.chunk.lease, top.chunk.chunk, top.task, top.began)
        for plan in self._innocent(lost):
            plan.losses += 1
        death = Death("killed", -9, running=running, lost=lost)
        self.clock.after(DEATH, lambda: self._listener.ended(self.number, death))

    def _innocent(self, lost: bool) -> Iterator[Plan]:
        """Yield the plans of tasks which may count as lost when this process ends."""
        for current in self._frames if lost else self._frames[:-1]:
            yield self._pool.plans[current.item(min(current.task, current.end - 1)).plan]
        for message in self.inbox:
            if isinstance(message, RunTasks):
                current = Current(message, 0, 0, 0)
                yield self._pool.plans[current.item(message.first).plan]

    # --- messages --------------------------------------------------------------------------------

    def serve(self, message: Message) -> Work:
        """Take a message which may come at any time."""
        match message:
            case Define(digest=digest, forget=True):
                self._functions.discard(digest)
            case Define(digest=digest):
                self._functions.add(digest)
            case Forget(scope=scope):
                self.caches.pop(scope, None)
            case RunTasks(executor=executor) if executor != ANY_EXECUTOR:
                yield from self._run_on_top(message)
            case RunTasks():
                self.say(Current(message, 0, message.first, 0).report(back=message.count))
            case _:
                raise AssertionError(f"an executor can't take {message}")

    def before_waiting(self) -> None:
        """Send what is done, and give back what the running task would hold up."""
        current = self._frames[-1]
        back = current.end - current.task - 1
        if back or current.unsent:
            self.say(current.report(back))
        current.end = current.task + 1

    # --- chunks ----------------------------------------------------------------------------------

    def _run_on_top(self, chunk: RunTasks) -> Work:
        below = self.lease, self.within, self.task
        yield from self._run_chunk(chunk)
        self.lease, self.within, self.task = below

    def _run_chunk(self, chunk: RunTasks) -> Work:
        assert chunk.digest in self._functions, "a function is not there"
        current = Current(chunk, chunk.first + chunk.count, chunk.first, chunk.first)
        self._frames.append(current)
        self.lease, self.within = chunk.lease, chunk.scatter
        while current.task < current.end:
            self.task = current.task
            current.began, current.runs = self.clock.now, True
            item = current.item(current.task)
            outcome = yield from self._attempt(current, item)
            current.runs = False
            current.unsent.append(outcome)
            self._send_some(current, outcome.entry.wall)
            current.task += 1
        self._frames.pop()
        if current.unsent:
            self.say(current.report(back=0))

    def _send_some(self, current: Current, wall: float) -> None:
        following = current.task + 1
        due = sum(outcome.entry.wall for outcome in current.unsent) > FLUSH
        if due and following < current.end:
            back = current.end - following if wall > LONG else 0
            self.say(current.report(back))
            current.end -= back

    def _rebuild(self, current: Current) -> Work:
        """Make the cache of a task again by running its earlier calls."""
        lineage = current.chunk.lineage
        for level in range(len(lineage) // DIGEST):
            digest = lineage[level * DIGEST : (level + 1) * DIGEST]
            assert digest in self._functions, "the function of an earlier call is not there"
            packed = current.packed(current.task, level + 1)
            if not packed:
                continue  # this call has left nothing
            item = unpack(packed)
            plan = self._pool.plans[item.plan]
            assert plan.touched, f"plan {plan.number} has left nothing, and is run again"
            try:
                yield from self._compute(current, plan, item)
            except Raised:
                self.caches.get(current.chunk.scope, {}).pop(current.task, None)
                self._pool.plans[current.item(current.task).plan].spoiled = True
                raise
            self._touch(current, plan)

    # --- tasks -----------------------------------------------------------------------------------

    def _attempt(self, current: Current, item: Item) -> Attempt:
        """Run a task; return its outcome."""
        plan, attempt = self._pool.plans[item.plan], current.chunk.attempt
        if attempt <= plan.deaths:
            yield plan.seconds
            self.die()
            yield None
        raised = attempt <= plan.deaths + plan.failures
        touched = False
        try:
            yield from self._rebuild(current)
            yield from self._compute(current, plan, item)
            touched = self._touch(current, plan)
        except Raised:
            raised = True
        if touched or (current.chunk.lineage and self._has_cache(current)):
            current.cached.append(current.task)
            plan.touched = True
        return outcome_of(plan, raised, current.began, self.clock.now - current.began)

    def _compute(self, current: Current, plan: Plan, item: Item) -> Work:
        self._look(current, item)
        if item.data != NO_DATA:
            yield from self.fetch(item.data, item.value, copies=plan.number % 2 > 0)
        yield plan.seconds
        yield from self.lead(plan)

    def _look(self, current: Current, item: Item) -> None:
        """Make sure that what earlier tasks have left in the cache is there."""
        there = self.caches.get(current.chunk.scope, {}).get(current.task, {})
        for serial in item.caches:
            assert serial in there, f"task {current.task} has lost its cache of scatter {serial}"
            plan = self._pool.plans[there[serial]]
            assert plan.of, "the script leaves no marks"
            assert plan.of.tasks.index(plan) == current.task, "a cache is another task's"

    def _has_cache(self, current: Current) -> bool:
        return current.task in self.caches.get(current.chunk.scope, {})

    def _touch(self, current: Current, plan: Plan) -> bool:
        """Leave a mark in the cache, if the plan says so."""
        scatter = plan.of
        if scatter is None or not scatter.touches:
            return False
        cache = self.caches.setdefault(current.chunk.scope, {}).setdefault(current.task, {})
        cache[scatter.serial] = plan.number
        return True


class VirtualHere(VirtualExecutor):
    """The main thread of a simulated rank; see `inline.Inline` and `seated.Seated`.

    Parameters
    ----------
    pool : VirtualExecutors
        Those of the rank.
    listener : Listening
        The agent.
    rank : Rank
        Which rank it is.
    """

    refusal = ""

    def __init__(self, pool: VirtualExecutors, listener: Listening, rank: Rank) -> None:
        super().__init__(HERE, pool)
        self.due = False
        self._agent, self._rank = listener, rank
        self._ranks: Sequence[int] = ()
        self.begin(self.run())

    @property
    def dead(self) -> bool:
        """Whether it has ended: the simulation ends no rank."""
        return False

    def send(self, message: Message) -> None:
        """Send a message to the task, or to what is between tasks."""
        self.clock.after(PASS, lambda: self.take(message))

    def enter(self, gang: GangId, ranks: Sequence[int], chunk: RunTasks) -> None:
        """Have the main thread run a chunk of one task."""
        assert not self.due, f"gang {gang} enters where another one is"
        self._ranks, self.due = ranks, True
        self.send(chunk)

    def close(self) -> None:
        """Nothing in it waits for ever."""

    def _run_chunk(self, chunk: RunTasks) -> Work:
        yield from super()._run_chunk(chunk)
        self.caches.clear()
        self.due = False
        self.clock.after(PASS, self._agent.ganging.main_thread_is_free)

    def _attempt(self, current: Current, item: Item) -> Attempt:
        plan = self._pool.plans[item.plan]
        if plan.everywhere or self._ranks[0] == self._rank:
            return (yield from super()._attempt(current, item))
        yield plan.seconds
        return outcome_of(plan, False, current.began, plan.seconds)
