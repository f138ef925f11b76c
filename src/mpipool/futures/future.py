"""Futures: what stands for the result of a submitted call until it is there.

A `Future` is one of `concurrent.futures`, and works with everything which takes those. It is a
sixth of the size, since all of them share one condition, and callbacks and waiters have room only
where there are some. Who waits for one, in whatever way, first says so (`Waits`): what was not sent
yet is sent, and inside a task the core is given up meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Final, Protocol

from mpipool.errors import UsageError, WorldLost
from mpipool.executor.post import ARRIVED, Post

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
CANCELLED: Final = "CANCELLED_AND_NOTIFIED"
FINISHED: Final = "FINISHED"
"""As the standard library names them. Nothing is ever cancelled without everybody being told."""
_OVER: Final = frozenset({"CANCELLED", CANCELLED, FINISHED})
CANCEL: Final = CancelledError()
"""What went wrong with a future that is cancelled; what a task raises is never this object."""


class BrokenPool(WorldLost, concurrent.futures.BrokenExecutor):
    """The world was lost, or no process can be initialised: what was submitted will never run."""


class Origin(Protocol):
    """Who settles a future."""

    @property
    def post(self) -> Post:
        """The messages of this process."""

    def waits(self) -> AbstractContextManager[object]:
        """Say for the length of a block that a thread waits for futures."""

    def cancel(self, future: Future) -> bool:
        """Have a pending future cancelled, if it did not begin; return whether it is."""


class _Extras:
    """What few futures have: those who are told when it is settled."""

    __slots__ = ("callbacks", "waiters")

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], object]] = []
        self.waiters = _Waiters()


class Future(concurrent.futures.Future[Any]):
    """The result of a submitted call, some time.

    `result`, `exception`, `cancel`, `cancelled`, `running`, `done` and `add_done_callback` are as
    the standard library describes them; `concurrent.futures.wait`, `as_completed` and
    ``asyncio.wrap_future`` take it. Given to another `submit` as an argument, also inside lists,
    tuples and dictionaries, it stands for its result.

    ``running()`` is true once the call was given to a rank; from then on it can't be cancelled.
    """

    __slots__ = ("_exception", "_extras", "_index", "_origin", "_result", "_state")

    def __init__(self) -> None:
        # Not the base's: it would make a condition and two lists, of 900 bytes.
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._origin: Origin | None = None
        self._index = -1
        self._extras: _Extras | None = None

    # --- what the base's methods, and the functions of the standard library, look at -------------

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        return ARRIVED

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        return self._more().callbacks

    @property
    def _waiters(self) -> _Waiters:  # type: ignore[override]
        extras = self._more()
        extras.waiters.origin = self._origin
        return extras.waiters

    def _more(self) -> _Extras:
        if self._extras is None:
            self._extras = _Extras()
        return self._extras

    def __reduce__(self) -> Any:
        raise UsageError(
            "a Future can't be sent to another process, only be an argument of submit: there it "
            "stands for its result, also inside lists, tuples and dictionaries"
        )

    # --- asking ----------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
            If it is not there in time.
        CancelledError
            If it was cancelled.
        Exception
            What the call raised, with the remote traceback as its cause.
        BrokenPool
            If the world was lost.
        Blocked
            If something that it waited for failed.
        """
        try:
            self._wait(timeout)
            if self._exception is not None:
                raise self._exception
            return self._result
        finally:
            self = None  # type: ignore[assignment]  # else the traceback holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return what was raised, or None; otherwise as `result`."""
        self._wait(timeout)
        return self._exception

    @property
    def reused(self) -> bool:
        """Whether the run's database had the result: nothing was run."""
        return self._origin is None and self._state == FINISHED and self._exception is None

    def cancel(self) -> bool:
        """Cancel it if it was not given to a rank yet; return whether it is cancelled."""
        if self._state != PENDING or self._origin is None:
            return super().cancel()
        return self._origin.cancel(self)

    def _wait(self, timeout: float | None) -> None:
        if self._state not in _OVER and not self._comes(timeout):
            raise TimeoutError
        if self._state != FINISHED:
            raise CancelledError

    def _comes(self, timeout: float | None) -> bool:
        origin = self._origin
        if origin is None:
            with ARRIVED:
                return ARRIVED.wait_for(self._is_over, timeout)
        try:
            with origin.waits():
                return origin.post.wait_until(self._is_over, timeout, serving=True)
        except BrokenPool:
            raise
        except WorldLost as error:
            raise BrokenPool(str(error)) from error

    def _is_over(self) -> bool:
        return self._state in _OVER


Settlement = tuple[Future, Any, BaseException | None]
"""A future, its result, and what went wrong if it did; `CANCEL` if it was cancelled."""


def settle(settlements: list[Settlement]) -> int:
    """Settle futures, and tell everybody who wants to know; return how many were not before."""
    noticed: list[Future] = []
    settled = 0
    with ARRIVED:
        for future, value, error in settlements:
            if future._state in _OVER:
                continue
            settled += 1
            if error is CANCEL:
                future._state = CANCELLED
            else:
                future._result, future._exception = value, error
                future._state = FINISHED
            if future._extras is not None:
                noticed.append(future)
                _tell_waiters(future)
        ARRIVED.notify_all()
    if settled and (origin := settlements[0][0]._origin) is not None:
        origin.post.poke()
    for future in noticed:
        future._invoke_callbacks()  # type: ignore[attr-defined]
    return settled


def _tell_waiters(future: Future) -> None:
    assert future._extras
    for waiter in future._extras.waiters:
        if future._state == CANCELLED:
            waiter.add_cancelled(future)
        elif future._exception is not None:
            waiter.add_exception(future)
        else:
            waiter.add_result(future)


# --- those who wait through the standard library -------------------------------------------------


class _Waiters(list[Any]):
    """The waiters of `concurrent.futures.wait` and `as_completed` for one future."""

    __slots__ = ("origin",)

    def __init__(self) -> None:
        super().__init__()
        self.origin: Origin | None = None

    def append(self, waiter: Any) -> None:
        """Add a waiter, which is to say when it really waits."""
        if self.origin is not None and type(waiter.event) is threading.Event:
            waiter.event = _Event(waiter.event.is_set(), self.origin)
        super().append(waiter)


class _Event(threading.Event):
    """An event in whose `wait` messages are read and the core is given up."""

    def __init__(self, is_set: bool, origin: Origin) -> None:
        super().__init__()
        self._origin = origin
        if is_set:
            super().set()

    def set(self) -> None:
        """Set it; any thread may, holding any lock."""
        super().set()
        if not self._origin.post.is_read_here:
            self._origin.post.ring()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; return whether it is."""
        if self.is_set():
            return True
        deadline = None if timeout is None else monotonic() + timeout
        with self._origin.waits():
            try:
                left = None if deadline is None else deadline - monotonic()
                return self._origin.post.wait_until(self.is_set, left, serving=True)
            except WorldLost:
                return super().wait(timeout)  # every future is being told
