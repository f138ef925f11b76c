"""What simulated processes have in common: they wait, compute, and lead scatters.

A process is a generator, which yields how many seconds it computes, or None where it waits for a
message; whatever in it may wait is a generator too.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, Final

from mpipool.executor.process import Listener
from mpipool.executor.virtual.observer import Observer
from mpipool.executor.virtual.plan import LAZY, SUBMIT, Plan, ScatterPlan
from mpipool.executor.virtual.streams import Marks, Stream, items_of
from mpipool.ids import NO_LEASE, NO_SCATTER, DataId, ExecutorId, LeaseId
from mpipool.messages import (
    Abandon,
    Answer,
    Ask,
    Cancel,
    Fetch,
    Fetched,
    Items,
    Message,
    Open,
    Release,
    Resume,
    Wait,
)
from mpipool.task import DONE, KEPT, Outcome

PASS: Final = 1e-5
"""Seconds for a message between a process and its agent."""
AHEAD: Final = 4
"""Items of a lazy scatter which are sent ahead of the outcomes."""

Known = dict[int, int | None]
"""What an earlier session has left of tasks; see `Stream`."""
Clock = Any
"""A `transport.virtual.VirtualClock`; effects do not import each other."""
Work = Generator[float | None, None, None]
NOTHING: Final = -1.0
"""In place of seconds when a process has nothing to do any more."""
Waiting = Generator[float | None, None, Message]


class Raised(Exception):
    """A simulated task raises."""


class Drains(Exception):
    """The run drains, and so the script ends with this exit code."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


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
    slowness = 1.0
    """By how much longer it takes to compute something than the plan says."""

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
        self._marks: Marks = {}
        self._recorded: list[bytes] = []
        """The keys of tasks which the running one has heard to be done since its last question."""

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
            self.clock.after(pause * self.slowness, self._go_on)

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

    def _next_of(self, streams: Sequence[Stream], to_the_end: bool = False) -> Work:
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
                stream.settle(self._boxes[stream.request].popleft())

    def _block(self, streams: Sequence[Stream]) -> None:
        for stream in streams if self.blocks else ():
            if stream.request not in self._blocking:
                if not self._blocking:
                    self.before_waiting()
                self._blocking.add(stream.request)
                self.say(Wait(request=stream.request))

    def _unblock(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.request in self._blocking:
                self._blocking.discard(stream.request)
                self.say(Resume(request=stream.request))

    # --- questions -------------------------------------------------------------------------------

    def ask(self, question: str, **facts: Any) -> Waiting:
        """Ask the broker about the checkpoint; return its `Answer`."""
        before, self._recorded = self._recorded, []
        answer = yield from self._asked(
            Ask(
                request=next(self._requests),
                question=question,
                lease=self.lease,
                parts=(json.dumps(facts).encode(),),
            )
        )
        assert isinstance(answer, Answer)
        for key in before if answer.ok else ():
            self._observer.is_safe(key)
        return answer

    def _asked(self, message: Ask | Fetch) -> Waiting:
        self._boxes[message.request] = deque()
        self.say(message)
        answer = yield from self._next(message.request)
        del self._boxes[message.request]
        return answer

    def _find(self, plan: Plan, scatter: ScatterPlan) -> Generator[float | None, None, Known]:
        """Ask what is known of the tasks of a keyed scatter (see `resume`)."""
        if not (scatter.keyed and self._observer.checkpoint):
            return {}
        safe = self._observer.safe_of(scatter)
        digests = [scatter.key(index).hex() for index in range(len(scatter.tasks))]
        answer = yield from self.ask("find", digests=digests)
        assert isinstance(answer, Answer)
        if not answer.ok:
            self._observer.unanswered()
            plan.spoiled = True
            raise Raised
        found, results = json.loads(bytes(answer.parts[0])), iter(answer.parts[1:])
        known: Known = {}
        done = {}
        for index, entry in enumerate(found):
            result = bytes(next(results)) if entry else b""
            if entry and entry["state"] == "done":
                known[index], done[index] = None, result
            elif entry:
                known[index] = entry["attempts"]
        self._observer.found(scatter, done, safe)
        return known

    def fetch(self, data: DataId, value: int, copies: bool) -> Work:
        """Get kept data, which must have been made by this plan; a copy may stay on the rank.

        Raises
        ------
        Raised
            If they are gone.
        """
        fetched = yield from self._asked(
            Fetch(request=next(self._requests), data=data, copies=copies)
        )
        assert isinstance(fetched, Fetched)
        if not fetched.parts:
            self._observer.bereft()
            raise Raised
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
        streams = []
        for scatter in step:
            known = yield from self._find(plan, scatter)
            streams.append(self._open(scatter, known))
        for stream in streams:
            yield from self._feed(stream, plan.seconds)
        while opened := [stream for stream in streams if stream.open]:
            yield from self._next_of(opened, to_the_end=step[0].mode != LAZY)
            if step[0].mode == LAZY:
                if step[0].gives_up and opened[0].settled:
                    break
                yield from self._feed(opened[0], plan.seconds)
        self._close_all(plan, streams)

    def _close_all(self, plan: Plan, streams: Sequence[Stream]) -> None:
        for stream in streams:
            self._close(plan, stream)
        for stream in streams:
            if stream.halted:
                raise Drains(stream.halted.exit_code)
        if any(stream.refused for stream in streams) and plan.raises:
            raise Raised

    def _open(self, scatter: ScatterPlan, known: Known) -> Stream:
        request = next(self._requests)
        self._boxes[request] = deque()
        self.say(
            Open(
                lease=self.lease,
                within=self.within,
                task=self.task,
                request=request,
                digest=scatter.digest,
                stage=f"simulated {scatter.serial}",
                retries=scatter.retries,
                recorded=bool(self._observer.checkpoint),
                keyed=scatter.keyed,
                needs=scatter.needs.packed(),
                context=scatter.context,
                previous=scatter.previous,
                watched=scatter.mode == SUBMIT,
                keep=scatter.keeps,
                parts=(scatter.shared, bytes(scatter.size)),
            )
        )
        return Stream(request, scatter, known, items_of(scatter, self._marks, self._kept))

    def _feed(self, stream: Stream, pause: float) -> Work:
        """Send items, as many as the mode wants now."""
        mode, total = stream.scatter.mode, stream.total
        if mode == SUBMIT:
            while stream.fed < total:
                self._send(stream, 1)
                yield pause / total
            self._close_input(stream)
            if stream.scatter.cancels:
                self._cancel(stream)
        elif mode == LAZY:
            self._send(stream, AHEAD - stream.missing)
            if stream.fed == total and not stream.closed:
                self._close_input(stream)
        else:
            self._send(stream, total // 2)  # so that items come in two messages
            self._send(stream, total, last=True)

    def _send(self, stream: Stream, most: int, last: bool = False) -> None:
        before, stream.closed = stream.fed, last
        parts = stream.take(most)
        if stream.fed > before or last:
            self.say(Items(request=stream.request, last=last, parts=parts))

    def _close_input(self, stream: Stream) -> None:
        self._send(stream, 0, last=True)

    def _cancel(self, stream: Stream) -> None:
        first = stream.fed // 2
        stream.questions += 1
        self.say(Cancel(request=stream.request, first=first, count=stream.fed - first))

    def _close(self, plan: Plan, stream: Stream) -> None:
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
        if stream.halted is None:
            self._observer.all_settled(scatter, stream.settled.keys() | stream.done_before)
        if scatter.touches and not scatter.previous:
            self._marks.pop(scatter.context, None)  # these are let go for new ones
        for index, outcome in stream.settled.items():
            if outcome and outcome.entry.state == DONE:
                self._note(scatter, index, outcome)

    def _note(self, scatter: ScatterPlan, index: int, done: Outcome) -> None:
        """Remember what later steps need of a task which is done."""
        if scatter.keyed:
            self._recorded.append(scatter.key(index))
        if scatter.keeps:
            data, _ = KEPT.unpack(done.result)
            self._kept.append((DataId(data), scatter.tasks[index].number))
        if scatter.touches:
            self._mark(scatter, index)

    def _mark(self, scatter: ScatterPlan, index: int) -> None:
        marks = self._marks.setdefault(scatter.context, {})
        marks[index] = (*marks.get(index, ()), scatter.serial)
