"""What simulated processes have in common: they wait, compute, and lead scatters.

A process is a generator, which yields how many seconds it computes, or None where it waits for a
message; whatever in it may wait is a generator too.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, Final, Protocol

from mpipool.executor.process import Listener
from mpipool.executor.virtual.plan import (
    LAZY,
    NO_DATA,
    SUBMIT,
    Item,
    Plan,
    ScatterPlan,
    Settled,
)
from mpipool.ids import NO_LEASE, NO_SCATTER, DataId, ExecutorId, LeaseId, home_of
from mpipool.messages import (
    Abandon,
    Began,
    Cancel,
    Cancelled,
    Fetch,
    Fetched,
    Items,
    Message,
    Open,
    Refused,
    Release,
    Results,
    Resume,
    Wait,
)
from mpipool.outcomes import Outcomes
from mpipool.task import DONE, KEPT

PASS: Final = 1e-5
"""Seconds for a message between a process and its agent."""
AHEAD: Final = 4
"""Items of a lazy scatter which are sent ahead of the outcomes."""

Clock = Any
"""A `transport.virtual.VirtualClock`; effects do not import each other."""
Work = Generator[float | None, None, None]
NOTHING: Final = -1.0
"""In place of seconds when a process has nothing to do any more."""
Waiting = Generator[float | None, None, Message]


class Observer(Protocol):
    """Who checks what comes of plans."""

    def settled(self, scatter: ScatterPlan, outcomes: Settled) -> None:
        """Take in the outcomes of a scatter."""

    def refused(self, scatter: ScatterPlan, reason: str) -> None:
        """Take in that a scatter was refused."""


class Raised(Exception):
    """A simulated task raises."""


class _Stream:
    """One open scatter, as its leader sees it."""

    def __init__(self, request: int, scatter: ScatterPlan, items: Sequence[Item]) -> None:
        self.request, self.scatter, self.items = request, scatter, items
        self.settled: Settled = {}
        self.fed = 0
        self.closed = False
        self.refused = ""
        self.questions = 0

    @property
    def missing(self) -> int:
        return 0 if self.refused else self.fed - len(self.settled)

    @property
    def open(self) -> bool:
        return bool(self.missing or (self.questions and not self.refused))


class Process:
    """A simulated process, and the scatters which it leads.

    Parameters
    ----------
    number : ExecutorId
        Its number.
    clock : VirtualClock
        Simulated time.
    listener : Listener
        The agent.
    observer : Observer
        Checks what comes of its scatters.
    """

    blocks = True
    """Whether its agent is told when it waits."""

    def __init__(
        self, number: ExecutorId, clock: Clock, listener: Listener, observer: Observer
    ) -> None:
        self.number, self.clock = number, clock
        self.inbox: deque[Message] = deque()
        self.lease: LeaseId = NO_LEASE
        """Under which the running task runs."""
        self.within, self.task = NO_SCATTER, 0
        """The scatter of the running task, and its index there."""
        self._listener, self._observer = listener, observer
        self._boxes: dict[int, deque[Message]] = {}
        self._requests = count(1)
        self._blocking: set[int] = set()
        self._work: Work | None = None
        self._rests = False
        self._kept: list[tuple[DataId, int]] = []
        """What the running task has had kept, and which plans made it."""
        self._marks: dict[str, dict[int, tuple[int, ...]]] = {}
        """By context and index, the scatters whose marks are in the caches."""

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return False

    def begin(self, work: Work) -> None:
        """Begin to work."""
        self._work = work
        self._go_on()

    def say(self, message: Message) -> None:
        """Send a message to the agent."""
        self.clock.after(PASS, lambda: self._listener.heard(self.number, message))

    def take(self, message: Message) -> None:
        """Take a message of the agent."""
        if self.dead:
            return
        request = getattr(message, "request", None)
        if request is None:
            self.inbox.append(message)
        elif request in self._boxes:
            self._boxes[request].append(message)
        if self._rests:
            self._go_on()

    def _go_on(self) -> None:
        if self.dead or self._work is None:
            return
        self._rests = False
        pause = next(self._work, NOTHING)
        if pause is None:
            self._rests = True
        elif pause != NOTHING:
            self.clock.after(pause, self._go_on)

    def before_waiting(self) -> None:
        """Give back what would wait behind the running task."""

    def serve(self, message: Message) -> Work:
        """Take a message which came while the running task waits."""
        raise AssertionError(f"process {self.number} can't take {message}")
        yield

    # --- waiting ---------------------------------------------------------------------------------

    def _next(self, request: int) -> Waiting:
        """Wait for a message about a request."""
        while not self._boxes[request]:
            yield None
        return self._boxes[request].popleft()

    def _next_of(self, streams: Sequence[_Stream], to_the_end: bool = False) -> Work:
        """Take what comes next about some scatters; meanwhile the process is blocked in them."""
        if not any(self._boxes[stream.request] for stream in streams):
            self._block(streams)
            while not any(self._boxes[stream.request] for stream in streams):
                if self.inbox:
                    yield from self.serve(self.inbox.popleft())
                else:
                    yield None
            if not to_the_end:
                self._unblock(streams)
        for stream in streams:
            while self._boxes[stream.request]:
                self._settle(stream, self._boxes[stream.request].popleft())

    def _block(self, streams: Sequence[_Stream]) -> None:
        for stream in streams if self.blocks else ():
            if stream.request not in self._blocking:
                if not self._blocking:
                    self.before_waiting()
                self._blocking.add(stream.request)
                self.say(Wait(request=stream.request))

    def _unblock(self, streams: Sequence[_Stream]) -> None:
        for stream in streams:
            if stream.request in self._blocking:
                self._blocking.discard(stream.request)
                self.say(Resume(request=stream.request))

    # --- data ------------------------------------------------------------------------------------

    def fetch(self, data: DataId, value: int, copies: bool) -> Work:
        """Get kept data, which must have been made by this plan; a copy may stay on the rank."""
        request = next(self._requests)
        self._boxes[request] = deque()
        self.say(Fetch(request=request, data=data, copies=copies))
        fetched = yield from self._next(request)
        del self._boxes[request]
        assert isinstance(fetched, Fetched)
        assert fetched.parts, f"data {data} were let go"
        assert bytes(fetched.parts[0]) == b"%d" % value, f"data {data} are another's"

    def _let_go(self) -> None:
        if self._kept:
            self.say(Release(data=tuple(data for data, _ in self._kept)))
            self._kept = []

    # --- scatters --------------------------------------------------------------------------------

    def lead(self, plan: Plan) -> Work:
        """Take the steps of a plan; raises `Raised` if a scatter is refused and it minds."""
        kept, marks, blocking = self._kept, self._marks, self._blocking
        self._kept, self._blocking = [], set()
        self._marks = {}
        try:
            for step in plan.steps:
                yield from self._step(plan, step)
                yield plan.seconds
        finally:
            if not self.dead:
                self._let_go()
            self._kept, self._marks, self._blocking = kept, marks, blocking

    def _step(self, plan: Plan, step: list[ScatterPlan]) -> Work:
        streams = [self._open(scatter) for scatter in step]
        for stream in streams:
            yield from self._feed(stream, plan.seconds)
        while opened := [stream for stream in streams if stream.open]:
            yield from self._next_of(opened, to_the_end=step[0].mode != LAZY)
            if step[0].mode == LAZY:
                if step[0].gives_up and opened[0].settled:
                    break
                yield from self._feed(opened[0], plan.seconds)
        for stream in streams:
            self._close(plan, stream)
        if any(stream.refused for stream in streams) and plan.raises:
            raise Raised

    def _open(self, scatter: ScatterPlan) -> _Stream:
        request = next(self._requests)
        self._boxes[request] = deque()
        self.say(
            Open(
                lease=self.lease,
                within=self.within,
                task=self.task,
                request=request,
                digest=scatter.digest,
                stage="simulated",
                retries=scatter.retries,
                recorded=False,
                keyed=False,
                needs=scatter.needs.packed(),
                context=scatter.context,
                previous=scatter.previous,
                watched=scatter.mode == SUBMIT,
                parts=(scatter.shared, bytes(scatter.size)),
            )
        )
        return _Stream(request, scatter, [*self._items(scatter)])

    def _items(self, scatter: ScatterPlan) -> Generator[Item, None, None]:
        marks = self._marks.get(scatter.context, {}) if scatter.previous else {}
        for index, plan in enumerate(scatter.tasks):
            data, value = NO_DATA, 0
            if scatter.fetches and self._kept:
                data, value = self._kept[index % len(self._kept)]
            yield Item(plan.number, data, value, marks.get(index, ()))

    def _feed(self, stream: _Stream, pause: float) -> Work:
        """Send items, as many as the mode wants now."""
        scatter, total = stream.scatter, len(stream.items)
        if scatter.mode == SUBMIT:
            while stream.fed < total:
                self._send(stream, 1)
                yield pause / total
            self._close_input(stream)
            if scatter.cancels:
                self._cancel(stream)
        elif scatter.mode == LAZY:
            self._send(stream, AHEAD - stream.missing)
            if stream.fed == total and not stream.closed:
                self._close_input(stream)
        else:
            self._send(stream, total // 2)  # so that items come in two messages
            self._send(stream, total, last=True)

    def _send(self, stream: _Stream, most: int, last: bool = False) -> None:
        some = stream.items[stream.fed : stream.fed + max(most, 0)]
        stream.fed += len(some)
        stream.closed = last
        if some or last:
            self.say(Items(request=stream.request, last=last, parts=self._packed(stream, some)))

    def _packed(self, stream: _Stream, some: Sequence[Item]) -> tuple[bytes, ...]:
        packed = [item.packed() for item in some]
        sizes, together = array("Q", map(len, packed)).tobytes(), b"".join(packed)
        homes = array("q", [home_of(item.data) if item.data else -1 for item in some])
        at = stream.fed - len(some)
        costs = array("d", [task.seconds for task in stream.scatter.tasks[at : stream.fed]])
        if not (stream.scatter.priced or any(home >= 0 for home in homes)):
            return sizes, together
        priced = costs.tobytes() if stream.scatter.priced else b""
        return sizes, priced, homes.tobytes() if stream.scatter.fetches else b"", together

    def _close_input(self, stream: _Stream) -> None:
        self._send(stream, 0, last=True)

    def _cancel(self, stream: _Stream) -> None:
        first = stream.fed // 2
        stream.questions += 1
        self.say(Cancel(request=stream.request, first=first, count=stream.fed - first))

    def _settle(self, stream: _Stream, message: Message) -> None:
        match message:
            case Refused(reason=reason):
                stream.refused = reason
            case Cancelled(tasks=tasks):
                stream.questions -= 1
                stream.settled.update(dict.fromkeys(tasks))
            case Results():
                outcomes = Outcomes(message.first, message.parts)
                for index, outcome in enumerate(outcomes, start=message.first):
                    assert index not in stream.settled, f"task {index} was delivered twice"
                    stream.settled[index] = outcome
            case _:
                assert isinstance(message, Began), f"{message} is not about a scatter"

    def _close(self, plan: Plan, stream: _Stream) -> None:
        if stream.missing or stream.refused or not stream.closed:
            self.say(Abandon(request=stream.request))
        self._blocking.discard(stream.request)
        del self._boxes[stream.request]
        scatter = stream.scatter
        if stream.refused:
            plan.refusals += 1
            self._observer.refused(scatter, stream.refused)
            return
        self._observer.settled(scatter, stream.settled)
        if scatter.touches and not scatter.previous:
            self._marks.pop(scatter.context, None)  # these are let go for new ones
        for index, outcome in stream.settled.items():
            if outcome is None or outcome.entry.state != DONE:
                continue
            if scatter.keeps:
                data, _ = KEPT.unpack(outcome.result)
                self._kept.append((DataId(data), scatter.tasks[index].number))
            if scatter.touches:
                self._mark(scatter, index)

    def _mark(self, scatter: ScatterPlan, index: int) -> None:
        marks = self._marks.setdefault(scatter.context, {})
        marks[index] = (*marks.get(index, ()), scatter.serial)
