"""Submitting calls: which lane a call goes into, and what it waits for before.

A call whose arguments are futures, or which comes after some, is *held* in this process until they
are over. Their results take their places; if one failed or was cancelled, the call is *blocked*:
it never runs. So a graph may grow while it runs, and what is held costs no rank anything.

What a task has submitted ends with it: its end waits for the calls that it has not cancelled; if
it raises, they are dropped.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future as AnyFuture
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mpipool.errors import Blocked, WorldLost
from mpipool.executor.caller import Caller
from mpipool.executor.invoking import invoke
from mpipool.executor.post import ARRIVED, Post
from mpipool.executor.stream import Call
from mpipool.futures.arguments import futures_in, one_by_one, substituted
from mpipool.futures.entries import PLAIN_TERMS, Entry, Terms
from mpipool.futures.functions import packable
from mpipool.futures.future import CANCEL, BrokenPool, Future, settle
from mpipool.futures.lane import Lane
from mpipool.futures.submissions import submissions
from mpipool.task import dump_details


@dataclass(frozen=True, slots=True)
class Kind:
    """The options of a call; calls of one kind share a lane."""

    stage: str = ""
    retries: int = 0
    needs: str = ""
    """As `needs.Needs.packed` writes them."""
    context: str = ""
    priced: bool = False
    """Whether it is known how long each call takes."""
    keyed: bool = False
    """Whether each call has a key in the checkpoint."""
    options: tuple[tuple[str, Any], ...] = ()
    """What executors and agents must know: names and values."""

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Call:
        """Return the scatter in which such calls are items of a function."""
        return Call(
            function=function,
            arguments=arguments,
            stage=self.stage,
            retries=self.retries,
            needs=self.needs,
            context=self.context,
            cost=_unused if self.priced else None,
            prefixes=[] if self.keyed else None,
            options=dict(self.options),
        )


def _unused(index: int, item: Any) -> float:
    raise AssertionError("the cost of a call is given with it")


PLAIN: Final = Kind()
AS_RAISED: Final = Kind(options=(("as_raised", True),))
"""Of an executor: what can't be pickled raises what the pickler raised, with a note."""


@dataclass(slots=True, eq=False)
class Submission:
    """A call that was not sent yet."""

    future: Future
    kind: Kind
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    terms: Terms = PLAIN_TERMS
    missing: int = 0
    """How many futures it waits for."""

    @property
    def name(self) -> str:
        """What the call is called in errors."""
        return self.kind.stage or getattr(self.function, "__name__", type(self.function).__name__)

    def entry(self) -> Entry:
        """Return it as a lane takes it."""
        called = packable(self.function), self.arguments, self.keywords
        return Entry(called, self.name, self.terms)


class Submitter:
    """Calls which belong together: those of one task, or of one executor.

    Parameters
    ----------
    caller : Caller
        Of this process.
    invoking : callable
        Makes a call in the executor; see `executor.invoking`.
    further : tuple
        Its further arguments.
    most : int, optional
        How many calls are out at a time at most.

    Attributes
    ----------
    broken : BrokenPool or None
        Why no call can run any more.
    within, shared, forsaken
        As `submissions.Submitting` describes them.
    """

    def __init__(
        self,
        caller: Caller,
        invoking: Callable[..., Any] = invoke,
        further: tuple[Any, ...] = (),
        most: int | None = None,
    ) -> None:
        self._caller = caller
        self._invoking, self._further, self._most = invoking, further, most
        self.within = caller.within
        self.shared = False
        self.broken: BrokenPool | None = None
        self.forsaken = False
        self._lanes: dict[Kind, Lane] = {}
        self._open: dict[Lane, None] = {}
        """All whose calls are not all over; a dict serves as an ordered set."""
        self._held: dict[Future, None] = {}
        self._queue: deque[Submission] = deque()
        """What waits because ``most`` are out."""
        self._out = 0
        """Only counted where there is a ``most``."""
        self._lock = threading.RLock()
        self._process = submissions(caller)
        self._process.add(self)

    # --- what goes in ----------------------------------------------------------------------------

    def submit(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        kind: Kind = PLAIN,
        after: Iterable[AnyFuture[Any]] = (),
        terms: Terms = PLAIN_TERMS,
    ) -> Future:
        """Have a function called; return the future of what it returns.

        Parameters
        ----------
        function, arguments, keywords
            The call.
        kind : Kind
            Its options.
        after : iterable of Future
            For which it waits, besides those among its arguments.
        terms : Terms
            What is known of it beside its kind.

        Raises
        ------
        BrokenPool
            If no call can run any more.
        RuntimeError
            If the script has ended.
        """
        if self.broken:
            raise BrokenPool(*self.broken.args)
        if self._process.ended:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        future = Future()
        future._origin = self
        submission = Submission(future, kind, function, arguments, keywords, terms)
        awaited = {*after, *futures_in(arguments), *futures_in(tuple(keywords.values()))}
        if awaited:
            submission.missing = len(awaited)
            self._held[future] = None
            for one in awaited:
                one.add_done_callback(partial(self._one_less, submission))
        else:
            self._start(submission)
        return future

    def _start(self, submission: Submission) -> None:
        """Send a call, or let it wait until fewer are out."""
        if self._most is None:
            self._send(submission)
            return
        with self._lock:
            self._queue.append(submission)
        self._start_more()

    def _start_more(self, over: object = None) -> None:
        with self._lock:
            self._out -= over is not None
            while self._queue and self._most and self._out < self._most:
                submission = self._queue.popleft()
                if not submission.future.done():
                    self._out += 1
                    submission.future.add_done_callback(self._start_more)
                    self._send(submission)

    def _send(self, submission: Submission) -> None:
        entry = submission.entry()
        try:
            while not self._lane(submission.kind).add(submission.future, entry):
                pass  # it was closed just now; the next is open
        except BrokenPool:
            raise
        except WorldLost as error:
            self.break_down(BrokenPool(str(error)))
            raise BrokenPool(str(error)) from error
        self._caller.post.have_read()
        self._process.block_further()

    def _lane(self, kind: Kind) -> Lane:
        lane = self._lanes.get(kind)
        if lane is not None and not lane.full:
            return lane
        with self._lock:
            lane = self._lanes.get(kind)
            if lane is None or lane.full:
                if lane is not None:
                    lane.close()
                lane = Lane(self._caller, kind.call(self._invoking, self._further), self)
                self._lanes[kind] = lane
                self._open[lane] = None
            return lane

    # --- what is held ----------------------------------------------------------------------------

    def _one_less(self, held: Submission, over: AnyFuture[Any]) -> None:
        error = CANCEL if over.cancelled() else over.exception()
        with ARRIVED:
            held.missing -= 1
            if held.future not in self._held or (held.missing and not error):
                return
            del self._held[held.future]
        # Not at once: in a long chain each would be called by the one before it.
        one_by_one(lambda: self._release(held) if error is None else self._block(held, error))

    def _release(self, held: Submission) -> None:
        if held.future.done():
            return
        held.arguments = substituted(held.arguments)
        held.keywords = substituted(held.keywords)
        try:
            self._start(held)
        except BrokenPool as error:
            settle([(held.future, None, error)])

    def _block(self, held: Submission, cause: BaseException) -> None:
        said = "was cancelled" if cause is CANCEL else f"failed: {type(cause).__name__}: {cause}"
        error = Blocked(held.name, f"it was not run, since what it waited for {said}")
        error.__cause__ = cause
        if self._caller.attachment.recorded:
            self._record(held, error)
        settle([(held.future, None, error)])

    def _record(self, held: Submission, error: Blocked) -> None:
        details = dump_details({"error": "Blocked", "message": error.reason})
        with contextlib.suppress(WorldLost):
            while not self._lane(held.kind).skip(details):
                pass

    # --- what lanes and futures ask --------------------------------------------------------------

    @property
    def post(self) -> Post:
        """The messages of this process."""
        return self._caller.post

    def waits(self) -> AbstractContextManager[object]:
        """Say for the length of a block that a thread waits for futures."""
        return self._process.waits()

    def cancel(self, future: Future) -> bool:
        """Cancel a call that was not sent yet."""
        with ARRIVED:
            self._held.pop(future, None)
        settle([(future, None, CANCEL)])
        return future.cancelled()

    def over(self, lane: Lane) -> None:
        """Take in that a lane has ended."""
        self._open.pop(lane, None)

    def break_down(self, error: Exception) -> None:
        """Take in that no call can run any more."""
        self.broken = BrokenPool(str(error))
        for lane in self.lanes:
            lane.fail(self.broken)
        self._drop_unsent(self.broken)

    # --- the end ---------------------------------------------------------------------------------

    @property
    def lanes(self) -> list[Lane]:
        """All lanes whose calls are not all over."""
        return list(self._open)

    @property
    def outstanding(self) -> bool:
        """Whether some call is not over."""
        return bool(self._held or self._queue) or any(lane.out for lane in self.lanes)

    def cancel_all(self) -> None:
        """Cancel all calls which were not given to a rank yet."""
        self._drop_unsent(CANCEL)
        with contextlib.suppress(WorldLost):
            for lane in self.lanes:
                lane.cancel_all()

    def wait(self) -> None:
        """Wait until all calls are over."""
        with contextlib.suppress(WorldLost), self.waits():
            self.post.wait_until(lambda: not self.outstanding, serving=True)

    def close(self) -> None:
        """Let the lanes end when their calls have."""
        with contextlib.suppress(WorldLost):
            for lane in self.lanes:
                lane.close()
        self._lanes.clear()
        if self in self._process.submitters and not self._open:
            self._process.submitters.remove(self)

    def abandon(self) -> None:
        """Drop all calls which are not over."""
        self._drop_unsent(CANCEL)
        for lane in self.lanes:
            lane.abandon()
        self.close()

    def _drop_unsent(self, error: BaseException) -> None:
        with ARRIVED, self._lock:
            unsent = [*self._held, *(queued.future for queued in self._queue)]
            self._held.clear()
            self._queue.clear()
        settle([(future, None, error) for future in unsent])


def shared_submitter(caller: Caller) -> Submitter:
    """Return the submitter of the running task, or of the script."""
    there = submissions(caller).shared()
    if isinstance(there, Submitter):
        return there
    made = Submitter(caller)
    made.shared = True
    return made
