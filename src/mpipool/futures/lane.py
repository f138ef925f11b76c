"""A lane: one scatter without end, into which submitted calls go.

All calls of one task (or of the script) which have the same options go through one lane, so that
ranks are lent to it, and tasks given out in chunks, as in any other scatter. A call is sent at once
while few are out. When many are, nobody waits for this one: it goes with others, at the latest
when somebody waits for any future, or a millisecond later.
"""

from __future__ import annotations

import contextlib
import threading
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from mpipool.errors import UnpicklableError, UsageError, WorldLost
from mpipool.executor.caller import Caller
from mpipool.executor.pickling import CALL, Packer, Pieces, as_raised
from mpipool.executor.post import ARRIVED, Post
from mpipool.executor.stream import BLOCK_BYTES, Call, drained
from mpipool.futures.entries import Entry, Foreknown, Terms
from mpipool.futures.future import CANCEL, PENDING, RUNNING, BrokenPool, Future, Settlement, settle
from mpipool.futures.unpacking import Unpacker, runs
from mpipool.messages import (
    Abandon,
    Began,
    Cancel,
    Cancelled,
    Halted,
    Items,
    Message,
    Refused,
    Results,
    Skip,
)

FEW: Final = 2
"""So many calls out for each rank are few: the next is sent at once."""
SHORT: Final = 1e-3
"""Seconds. Shorter calls are sent together once some are out."""
AHEAD: Final = 5.0
"""Seconds of work for each rank, of longer calls, which are sent one by one."""
BLOCK: Final = 256
"""So many calls are sent together at most."""
FLUSH: Final = 0.001
"""Seconds after which they are sent anyway."""
ROUNDS: Final = 5
"""So often the agent is asked something before all is cancelled; a lease takes one or two."""
LONGEST: Final = 65536
"""Calls after which a lane is closed, and another opened: what it keeps of each is let go then."""


class Group(Protocol):
    """What a lane belongs to."""

    def waits(self) -> AbstractContextManager[object]:
        """Say for the length of a block that a thread waits for futures."""

    def over(self, lane: Lane) -> None:
        """Take in that the last call of a lane that was closed has ended."""

    def break_down(self, error: Exception) -> None:
        """Take in that no call can run."""


class Lane:
    """See the module's docstring.

    Parameters
    ----------
    caller : Caller
        Of this process.
    call : Call
        The scatter; its items are calls.
    group : Group
        All lanes of this process, or those of one executor.
    """

    def __init__(self, caller: Caller, call: Call, group: Group) -> None:
        self._caller = caller
        self._call = call
        self._group = group
        self._lock = threading.RLock()
        self._futures: list[Future | None] = []
        """By index; None when it is over."""
        self._unsent: list[bytes] = []
        self._bytes = 0
        """Of these."""
        self._known = Foreknown(priced=call.cost is not None)
        self._settled = 0
        self._as_raised = bool(call.options.get("as_raised"))
        self._unpacker = Unpacker(call)
        self._few = FEW * caller.size
        self._packer = Packer()
        self._closed = False
        self._alarmed = False
        self._begun = False
        """Whether a rank was there for some call."""
        self._answers = 0
        self._questions = 0
        self.request = caller.open(call, taker=self)

    @property
    def out(self) -> int:
        """How many calls are not over."""
        return len(self._futures) - self._settled

    @property
    def expects(self) -> bool:
        """Whether there are still messages to come."""
        return self.out > 0 or self._answers < self._questions

    @property
    def full(self) -> bool:
        """Whether it takes no further calls."""
        return self._closed or len(self._futures) >= LONGEST

    # --- what goes in ----------------------------------------------------------------------------

    def add(self, future: Future, entry: Entry) -> bool:
        """Send a call, some time; return False if no call is taken any more.

        Parameters
        ----------
        future : Future
            To be settled with what comes of it.
        entry : Entry
            The call.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        with self._lock:
            if self.full:
                return False
            try:
                packed = self._packer.pack(
                    entry.called, f"the call of {entry.name}", entry.terms.prefix, names=CALL
                )
            except UnpicklableError as error:
                settle([(future, None, as_raised(error) if self._as_raised else error)])
                return True
            future._origin = self
            if isinstance(packed, Pieces):
                self._send_at_once(future, packed, entry)
                return True
            self._enter(future, entry.terms)
            self._unsent.append(packed)
            self._bytes += len(packed)
            full = len(self._unsent) >= BLOCK or self._bytes > BLOCK_BYTES
            if full or self._is_urgent:
                self.flush()
            elif not self._alarmed:
                self._alarmed = True
                self._caller.post.ring()
            return True

    @property
    def _is_urgent(self) -> bool:
        """Whether the call just added is to be sent at once.

        Not of short ones: a message of its own takes longer than such a call. Of others all that
        ranks need soon, for this process may be busy from now on, and send nothing.
        """
        mean = self._unpacker.mean
        if mean is None:
            return self.out <= BLOCK
        if mean < SHORT:
            return self.out <= self._few
        return self.out * mean <= AHEAD * self._caller.size

    def _enter(self, future: Future, terms: Terms) -> None:
        future._index = len(self._futures)
        self._futures.append(future)
        self._known.note(future._index, terms)

    def _send_at_once(self, future: Future, packed: Pieces, entry: Entry) -> None:
        """Send a large call by itself, from where it is, before it can be changed."""
        self.flush()
        self._enter(future, entry.terms)
        parts = (array("Q", [len(packed)]).tobytes(), *self._known.take(future._index, 1))
        self._caller.send(Items(request=self.request, last=False, parts=parts), packed.buffers)

    def skip(self, details: bytes) -> bool:
        """Have it recorded that a call never runs; return False if the lane takes none any more."""
        with self._lock:
            if self.full:
                return False
            self.flush()
            self._futures.append(None)
            self._settled += 1
            self._caller.send(Skip(request=self.request, parts=(details,)))
            return True

    def flush(self) -> None:
        """Send the calls which were not sent yet."""
        with self._lock:
            self._alarmed = False
            if not self._unsent:
                return
            unsent, self._unsent, self._bytes = self._unsent, [], 0
            sizes = array("Q", map(len, unsent)).tobytes()
            known = self._known.take(len(self._futures) - len(unsent), len(unsent))
            parts = (sizes, *known, b"".join(unsent))
            self._caller.send(Items(request=self.request, last=False, parts=parts))

    def close(self) -> None:
        """Say that no further calls come."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.flush()
                self._caller.send(Items(request=self.request, last=True, parts=(b"", b"")))
        self._end_if_over()

    def abandon(self) -> None:
        """Drop all calls which are not over."""
        with self._lock:
            self._closed = True
            self._unsent = []
            with contextlib.suppress(WorldLost):
                self._caller.send(Abandon(request=self.request))
        self._settle([(future, None, CANCEL) for future in self._pending()])

    # --- cancelling ------------------------------------------------------------------------------

    @property
    def post(self) -> Post:
        """The messages of this process."""
        return self._caller.post

    def waits(self) -> AbstractContextManager[object]:
        """Say for the length of a block that a thread waits for futures."""
        return self._group.waits()

    def cancel(self, future: Future) -> bool:
        """Have a call cancelled if it was not given to a rank yet; return whether it is."""
        with contextlib.suppress(WorldLost):
            self.cancel_some([future._index])
        return future.cancelled()

    def cancel_some(self, indices: Sequence[int]) -> None:
        """Cancel those of some calls which were not given to a rank yet, and wait until it is so.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        with self._lock:
            sent = len(self._futures) - len(self._unsent)
            doomed = self._take_unsent({index for index in indices if index >= sent})
            ticket = self._ask(runs(index for index in indices if index < sent))
        settle(doomed)
        self._wait_for_answer(ticket)

    def cancel_all(self) -> None:
        """Cancel all calls which were not given to a rank yet.

        What could begin just now does: calls which were submitted a moment ago are not all lost.
        """
        self.flush()
        for _ in range(ROUNDS):
            if self._begun or not self.out:
                break
            self._wait_for_answer(self._ask([(0, 0)]))
        self.cancel_some(range(len(self._futures)))

    def _ask(self, runs: list[tuple[int, int]]) -> int:
        """Ask for runs of calls to be cancelled; return how many questions were asked so far."""
        with self._lock:
            for first, count in runs:
                self._questions += 1
                self._caller.send(Cancel(request=self.request, first=first, count=count))
            return self._questions

    def _wait_for_answer(self, ticket: int) -> None:
        if self._answers < ticket:
            self._caller.post.wait_until(lambda: self._answers >= ticket)

    def _take_unsent(self, indices: set[int]) -> list[Settlement]:
        """Take calls out of those which were not sent; those behind them move up."""
        if not indices:
            return []
        sent = len(self._futures) - len(self._unsent)
        there = list(enumerate(zip(self._futures[sent:], self._unsent, strict=True), start=sent))
        self._known.move_up(sent, (index for index, _ in there if index not in indices))
        kept = [pair for index, pair in there if index not in indices]
        doomed = [self._futures[index] for index in indices]
        self._unsent = [packed for _, packed in kept]
        self._futures[sent:] = [future for future, _ in kept]
        for index, (future, _) in enumerate(kept, start=sent):
            if future:
                future._index = index
        return [(future, None, CANCEL) for future in doomed if future]

    # --- what comes back -------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message of the agent."""
        match message:
            case Began(first=first, count=count):
                self._begin(first, count)
            case Results():
                settlements, broken = self._unpacker.unpack(message, self._futures)
                if broken:
                    self._group.break_down(broken)
                self._settle(settlements)
            case Refused(reason=reason):
                self.fail(UsageError(f"{self._unpacker.name} can't run: {reason}"))
            case Halted():
                self.fail(drained(self._unpacker.name, message, len(self._futures), self.out))
            case Cancelled(tasks=tasks):
                dropped = [future for index in tasks if (future := self._futures[index])]
                self._settle([(future, None, CANCEL) for future in dropped])
                with ARRIVED:
                    self._answers += 1
                    ARRIVED.notify_all()

    def tick(self) -> float | None:
        """Send what has waited for long enough."""
        if not self._unsent:
            return None
        if not self._lock.acquire(blocking=False):
            return FLUSH
        try:
            if self._alarmed:  # it was not there the last time
                self._alarmed = False
                return FLUSH
            with contextlib.suppress(WorldLost):
                self.flush()
        finally:
            self._lock.release()
        return None

    def lose(self, error: WorldLost) -> None:
        """Take in that nothing will come back."""
        broken = BrokenPool(str(error))
        broken.__cause__ = error
        self.fail(broken)

    def fail(self, error: Exception) -> None:
        """Let all calls which are not over fail."""
        self._closed = True
        self._settle([(future, None, error) for future in self._pending()])

    def _pending(self) -> list[Future]:
        return [future for future in self._futures if future]

    def _begin(self, first: int, count: int) -> None:
        self._begun = True
        with ARRIVED:
            for future in self._futures[first : first + count]:
                if future and future._state == PENDING:
                    future._state = RUNNING

    def _settle(self, settlements: list[Settlement]) -> None:
        with ARRIVED:
            # Whoever comes second, of the agent, a cancellation and the end, is late.
            fresh = [each for each in settlements if self._futures[each[0]._index] is each[0]]
            for future, _, _ in fresh:
                self._futures[future._index] = None
            self._settled += len(fresh)
        settle(fresh)
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._closed and not self.expects:
            self._caller.forget(self.request)
            self._group.over(self)
