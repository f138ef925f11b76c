"""Simulated executors."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from mpipool.executor.memory import Excess
from mpipool.executor.process import Death, Listener
from mpipool.executor.virtual.calling import PASS, Clock, Process, Raised, Work
from mpipool.executor.virtual.chunks import Current, outcome_of, starved_outcome
from mpipool.executor.virtual.observer import Observer
from mpipool.executor.virtual.plan import NO_DATA, Item, Plan, unpack
from mpipool.ids import ANY_EXECUTOR, ChunkId, ExecutorId, LeaseId
from mpipool.messages import Define, Forget, Message, RunTasks
from mpipool.task import DIGEST, Outcome

FORK: Final = 0.005
"""Seconds until a new executor is there."""
DEATH: Final = 1e-3
"""Seconds until the agent hears of the end of a process; all that it had sent comes before."""
FLUSH: Final = 0.01
LONG: Final = 0.05
"""As in `runtime`."""
MOST_STEPS: Final = 13
"""Of a task that lacks memory, before it dies of it."""

Attempt = Generator[float | None, None, Outcome]


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
        self.keyed: dict[bytes, bool] = {}
        """Whether the items of a function have keys in front."""
        self.slowness = 1.0
        """By how much longer all of them take."""
        self.closed = False
        """Whether the rank has gone, and its main thread with it."""

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""
        if self.closed:
            return
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

    def hold(self, executor: ExecutorId, limit: int) -> None:
        """Let an executor use so much memory."""

    def excesses(self, busy: Iterable[ExecutorId], now: float) -> Iterator[Excess]:
        """Yield those which use more."""
        return iter(())

    def kill(self, executor: ExecutorId) -> None:
        """End a process at once."""
        if executor in self.alive:
            self.alive[executor].die()

    def end(self, executor: ExecutorId) -> None:
        """Let an idle process go."""
        self.kill(executor)

    def close(self) -> None:
        """Let all processes go."""
        self.closed = True
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
    def slowness(self) -> float:  # type: ignore[override]
        """By how much longer it takes, as its whole rank."""
        return self._pool.slowness

    @property
    def works(self) -> bool:
        """Whether it uses its core, or has not begun: it does also while it waits for an answer."""
        return self._work is None or (bool(self._frames) and not (self._rests and self._blocking))

    def place_of(self, lease: LeaseId, chunk: ChunkId) -> Current | None:
        """Return how far it is in a chunk, if it has begun with that."""
        for current in self._frames:
            if (current.chunk.lease, current.chunk.chunk) == (lease, chunk):
                return current
        return None

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

    def die(self, lost: bool = False, killed: bool = False, starved: bool = False) -> None:
        """End at once.

        Parameters
        ----------
        lost : bool
            Whether that is not the fault of the running task, and the agent knows it.
        killed : bool
            Whether somebody has killed it, and the agent does not know that.
        starved : bool
            Whether the running task has used more memory than it may.
        """
        if self.dead:
            return
        del self._pool.alive[self.number]
        running = None
        if self._frames and self._frames[-1].runs:
            top = self._frames[-1]
            running = (top.chunk.lease, top.chunk.chunk, top.task, top.began)
        for plan in self._innocent(lost):
            plan.losses += 1
        if running and killed:
            self._pool.plans[self._frames[-1].item(running[2]).plan].kills += 1
        peak = self._frames[-1].chunk.memory * 1024 if starved else 0
        death = Death("killed", -9, running=running, lost=lost, starved=starved, peak=peak)
        self.clock.after(DEATH, lambda: self._listener.ended(self.number, death))

    def _innocent(self, lost: bool) -> Iterator[Plan]:
        """Yield the plans of tasks which may count as lost when this process ends."""
        for current in self._frames if lost else self._frames[:-1]:
            yield self._pool.plans[current.item(min(current.task, current.end - 1)).plan]
        for message in self.inbox:
            if isinstance(message, RunTasks):
                current = Current.of(message, self._pool.keyed[message.digest])
                yield self._pool.plans[current.item(message.first).plan]

    # --- messages --------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message of the agent."""
        if isinstance(message, Define) and not message.forget:
            self._pool.keyed[message.digest] = json.loads(bytes(message.parts[0]))["keyed"]
        super().take(message)

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
                self.say(Current.of(message, False).report(back=message.count))
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
        below = self.lease, self.within, self.task, self._recorded
        yield from self._run_chunk(chunk)
        self.lease, self.within, self.task, self._recorded = below

    def _run_chunk(self, chunk: RunTasks) -> Work:
        assert chunk.digest in self._functions, "a function is not there"
        current = Current.of(chunk, self._pool.keyed[chunk.digest])
        self._frames.append(current)
        self.lease, self.within, self._recorded = chunk.lease, chunk.scatter, []
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
        plan = self._pool.plans[item.plan]
        memory, starved = current.chunk.memory, plan.starved.setdefault(current.chunk.scope, set())
        if 0 < memory < plan.memory:
            starved.add(current.chunk.attempt)
            yield plan.seconds
            if not plan.dies_of_it:
                return starved_outcome(current, plan.seconds)
            if plan.number % 2:
                yield from self._lead_in_vain(plan)
            self.die(starved=True)
            yield None
        attempt = current.chunk.attempt - len(starved)
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
        wall, key = self.clock.now - current.began, current.key(current.task)
        return outcome_of(plan, raised, current.began, wall, key)

    def _lead_in_vain(self, plan: Plan) -> Work:
        """Lead the scatters of a task which does not come to its end, up to some point."""
        with suppress(Raised):
            for step, pause in enumerate(self.lead(plan)):
                yield pause
                if step == plan.number % MOST_STEPS:
                    return

    def _compute(self, current: Current, plan: Plan, item: Item) -> Work:
        self._look(current, item)
        if item.data != NO_DATA:
            try:
                yield from self.fetch(item.data, item.value, copies=plan.number % 2 > 0)
            except Raised:
                plan.spoiled = True
                raise
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
