"""All that a process has submitted, and the threads in it which wait for that."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future as AnyFuture
from typing import Any, Protocol

from mpipool.errors import WorldLost
from mpipool.executor.caller import Caller, Within
from mpipool.executor.post import ARRIVED
from mpipool.executor.signals import at_a_prompt
from mpipool.futures.future import PENDING, Future
from mpipool.futures.lane import Lane


class Submitting(Protocol):
    """What is asked of a submitter."""

    within: Within
    """What the task is in, whose calls these are."""
    shared: bool
    """Whether its calls are those which were not submitted through an executor."""
    forsaken: bool
    """Whether nobody can submit anything: the executor whose it is is garbage."""

    @property
    def lanes(self) -> list[Lane]:
        """All lanes whose calls are not all over."""

    @property
    def outstanding(self) -> bool:
        """Whether some call is not over."""

    def wait(self) -> None:
        """Wait until all calls are over."""

    def close(self) -> None:
        """Let the lanes end when their calls have."""

    def abandon(self) -> None:
        """Drop all calls which are not over."""


class Submissions:
    """All submitters of a process.

    Parameters
    ----------
    caller : Caller
        Of this process.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.submitters: list[Submitting] = []
        self._threads = 0
        """How many wait for futures."""
        self._blocked: dict[Lane, None] = {}
        self.ended = False
        """Whether the script is over."""
        caller.at_end = self._end_task
        if not caller.in_task:
            with contextlib.suppress(AttributeError):
                # Where `concurrent.futures` waits too: before anything else is torn down.
                threading._register_atexit(self.end)  # type: ignore[attr-defined]

    def add(self, submitter: Submitting) -> None:
        """Add a submitter; those which are of no use any more go."""
        for old in list(self.submitters):
            if old.forsaken and not old.outstanding:
                old.close()
        self.submitters.append(submitter)

    def shared(self) -> Submitting | None:
        """Return the submitter of the running task, or of the script, if there is one."""
        for submitter in self.submitters:
            if submitter.shared and submitter.within is self._caller.within:
                return submitter
        return None

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """Say for the length of a block that a thread waits for futures."""
        with ARRIVED:
            self._threads += 1
            further = self._threads > 1
        try:
            for lane in self._lanes():
                lane.flush()
            self._block(further)
            yield
        except KeyboardInterrupt:
            if at_a_prompt():
                # The session goes on, and is to have its ranks back. A script's end drops them.
                for submitter in list(self.submitters):
                    submitter.abandon()
            raise
        finally:
            self._unblock()

    def block_further(self) -> None:
        """Be blocked in lanes, too, which were opened while threads wait."""
        if self._threads:
            self._block(further=True)

    def _lanes(self) -> list[Lane]:
        return [lane for submitter in self.submitters for lane in submitter.lanes]

    def _block(self, further: bool) -> None:
        for lane in self._lanes() if self._caller.in_task else ():
            if lane.out and lane not in self._blocked:
                self._blocked[lane] = None
                self._caller.block(lane.request, further)
                further = True

    def _unblock(self) -> None:
        with ARRIVED:
            self._threads -= 1
            if self._threads:
                return
            blocked, self._blocked = self._blocked, {}
        with contextlib.suppress(WorldLost):
            for lane in blocked:
                self._caller.unblock(lane.request)

    def _end_task(self, returned: bool) -> None:
        for submitter in list(self.submitters):
            if submitter.within is not self._caller.within:
                continue  # it belongs to a task which waits below this one
            if returned:
                submitter.wait()
                submitter.close()
            else:
                submitter.abandon()
            if submitter in self.submitters:
                self.submitters.remove(submitter)

    def end(self) -> None:
        """Wait until all calls are over: the script ends. Not if a Ctrl-C has ended it."""
        self.ended = True
        for submitter in list(self.submitters):
            if _interrupted():
                submitter.abandon()
            else:
                submitter.wait()
                submitter.close()


def _interrupted() -> bool:
    """Whether an uncaught Ctrl-C ends the script; a session at a prompt goes on after one."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not at_a_prompt()


_of_process: dict[Caller, Submissions] = {}


def submissions(caller: Caller) -> Submissions:
    """Return all that a process has submitted."""
    if caller not in _of_process:
        _of_process[caller] = Submissions(caller)
    return _of_process[caller]


def cancel_all_of(futures: Iterable[AnyFuture[Any]]) -> None:
    """Cancel those futures which did not begin, together."""
    lanes: dict[Lane, list[int]] = {}
    for future in futures:
        origin = future._origin if isinstance(future, Future) else None
        if isinstance(future, Future) and isinstance(origin, Lane) and future._state == PENDING:
            lanes.setdefault(origin, []).append(future._index)
        elif not future.done():
            future.cancel()
    with contextlib.suppress(WorldLost):
        for lane, indices in lanes.items():
            lane.cancel_some(indices)
