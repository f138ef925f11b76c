"""The messages which come for a process of the user's: who reads them, and who waits for them.

Theory of operation. One thread at a time *reads*: it takes messages from the socket and puts each
where it belongs. What is about a request goes into that request's box, or to its *taker*, if it has
one, in the reading thread; everything else is for the executor, and goes into the inbox. As long as
nobody has a taker, whoever waits reads. While somebody has one, a thread of its own does, since
messages must be taken also while nobody waits; it ends when there was nothing to do for a moment.
All others wait on one condition, `ARRIVED`.
"""

from __future__ import annotations

# What `signal` wraps: that takes 15 µs for its enumerations, this one 1.
import _signal  # type: ignore[import-not-found]
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from mpipool.errors import WorldLost
from mpipool.executor.channel import BlockingChannel
from mpipool.messages import Buffer, Message

ARRIVED: Final = threading.Condition(threading.RLock())
"""Guards what a process knows of its requests, and is notified when that has changed."""

SIGINT: Final = int(signal.SIGINT)
SPIN: Final = 250e-6
"""Seconds for which the script looks again at once, when it waits after it has sent something. To
be woken takes 50 µs, of 300 in which a short task is there and back."""
LINGER: Final = 0.5
"""Seconds after which a thread that reads for takers ends, if they wait for nothing."""


class Taker(Protocol):
    """Who wants messages about a request at once."""

    def take(self, message: Message) -> None:
        """Take a message; called in the thread which reads, without a lock."""

    def tick(self) -> float | None:
        """Do what is due; return in how many seconds something is due again, None if nothing is."""

    def lose(self, error: WorldLost) -> None:
        """Take in that no message will come any more."""

    @property
    def expects(self) -> bool:
        """Whether there are still messages to come."""


class Post:
    """See the module's docstring.

    Parameters
    ----------
    channel : BlockingChannel
        To the agent.
    on_inbox : callable, optional
        Takes a message which is not about a request, in a thread that waits; None if none come.
    """

    def __init__(
        self, channel: BlockingChannel, on_inbox: Callable[[Message], None] | None = None
    ) -> None:
        self._channel = channel
        self._on_inbox = on_inbox
        self._inbox: deque[Message] = deque()
        self._boxes: dict[int, deque[Message]] = {}
        self._takers: dict[int, Taker] = {}
        self._may_spin = on_inbox is None  # an executor shares its core with others
        self._has_asked = False
        """Whether something was sent since it was waited last."""
        # In an executor there is no Ctrl-C.
        self._whole: Callable[[], AbstractContextManager[None]] = (
            nullcontext if on_inbox else Uninterrupted
        )
        self._reads: int | None = None
        """Which thread does."""
        self._thread: threading.Thread | None = None
        self._lost: WorldLost | None = None
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready = select.poll()
        for descriptor in (channel.end.fileno(), self._bell):
            self._ready.register(descriptor, select.POLLIN)

    # --- requests --------------------------------------------------------------------------------

    def expect(self, request: int, taker: Taker | None = None) -> None:
        """Keep messages about a request, or give them to a taker."""
        with ARRIVED:
            if taker is None:
                self._boxes[request] = deque()
            else:
                self._takers[request] = taker

    def forget(self, request: int) -> None:
        """Drop what is there, and what still comes, about a request."""
        with ARRIVED:
            self._boxes.pop(request, None)
            self._takers.pop(request, None)

    def has(self, request: int) -> bool:
        """Whether a message about the request is there."""
        return bool(self._boxes[request])

    def next(self, request: int, serving: bool = False) -> Message:
        """Wait for the next message about a request; ``serving`` as in `wait_until`.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        box = self._boxes[request]
        self.wait_until(lambda: bool(box), serving=serving)
        return box.popleft()

    def next_for_executor(self) -> Message:
        """Wait for the next message which is not about a request.

        Raises
        ------
        WorldLost
            If the agent is gone.
        """
        self.wait_until(lambda: bool(self._inbox))
        return self._inbox.popleft()

    # --- waiting ---------------------------------------------------------------------------------

    def wait_until(
        self, there: Callable[[], bool], timeout: float | None = None, serving: bool = False
    ) -> bool:
        """Wait until something is there, reading if nobody else does.

        Parameters
        ----------
        there : callable
            Says whether it is; called with `ARRIVED` held.
        timeout : float, optional
            Seconds.
        serving : bool
            Whether this thread meanwhile takes what is for the executor: it is blocked.

        Returns
        -------
        bool
            Whether it is there.

        Raises
        ------
        WorldLost
            If the agent is gone, and with it what was waited for.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else max(deadline - monotonic(), 0.0)
            try:
                with ARRIVED:
                    if there():
                        return True
                    if self._lost or left == 0.0:
                        return self._give_up()
                    step = self._next_step(left, serving)
                step()
            finally:
                self._stop_reading()

    def _give_up(self) -> bool:
        if self._lost:
            raise WorldLost(*self._lost.args)
        return False

    def _next_step(self, left: float | None, serving: bool) -> Callable[[], object]:
        """Wait, or return what a thread which waits is to do without the lock."""
        if serving and self._inbox and self._on_inbox:
            return partial(self._on_inbox, self._inbox.popleft())
        if self._may_read():
            self._reads = threading.get_ident()
            return partial(self._read, left)
        ARRIVED.wait(left)
        return int  # nothing, and look again

    def _may_read(self) -> bool:
        me = threading.get_ident()
        if self._thread is not None and self._thread.ident != me:
            return False
        return self._reads in (None, me)

    def _stop_reading(self) -> None:
        me = threading.get_ident()
        if self._reads != me or (self._thread is not None and self._thread.ident == me):
            return  # or a taker waits in the thread that reads: it goes on afterwards
        with ARRIVED:
            self._reads = None
            ARRIVED.notify_all()

    # --- reading ---------------------------------------------------------------------------------

    def _read(self, timeout: float | None) -> bool:
        """Take what has come; return False if nothing did within ``timeout`` seconds."""
        pause = self._pause(timeout) if self._takers else timeout
        if not self._channel.pending and not self._is_ready(pause):
            return False
        # A Ctrl-C in the middle of a message would lose the rest of it.
        with self._whole():
            try:
                messages = list(self._channel.receive_ready())
            except WorldLost as error:
                self._lose(error)
                return True
            for taker, message in self._sort(messages):
                taker.take(message)
        return True

    def _pause(self, timeout: float | None) -> float | None:
        """Let takers do what is due; return for how many seconds to wait at most."""
        due = [pause for taker in self._all_takers() if (pause := taker.tick()) is not None]
        return min([*due, *([] if timeout is None else [timeout])], default=None)

    def _is_ready(self, pause: float | None) -> bool:
        """Wait until there is something to read; False if there is not."""
        ready = dict(self._spin(pause) or self._sleep(pause))
        if ready.pop(self._bell, None):
            os.eventfd_read(self._bell)
            with ARRIVED:
                ARRIVED.notify_all()
        return bool(ready)

    def _spin(self, pause: float | None) -> list[tuple[int, int]]:
        """Look again and again for a moment: an answer that comes soon is taken soon.

        Once for what was sent: the results of a long map are not urgent, and its tasks need the
        cores. Not while a thread of its own reads for takers: the others need the interpreter.
        """
        asked, self._has_asked = self._has_asked, False
        end = monotonic() + (SPIN if pause is None else min(pause, SPIN))
        while asked and self._may_spin and not self._takers and monotonic() < end:
            if ready := self._ready.poll(0):
                return ready
            os.sched_yield()
        return []

    def _sleep(self, pause: float | None) -> list[tuple[int, int]]:
        return self._ready.poll(None if pause is None else 1000 * pause)

    def _sort(self, messages: list[Message]) -> list[tuple[Taker, Message]]:
        taken: list[tuple[Taker, Message]] = []
        with ARRIVED:
            for message in messages:
                request: Any = getattr(message, "request", None)
                if request is None:
                    self._inbox.append(message)
                elif request in self._boxes:
                    self._boxes[request].append(message)
                elif request in self._takers:
                    taken.append((self._takers[request], message))
            ARRIVED.notify_all()
        return taken

    def _all_takers(self) -> list[Taker]:
        return list(dict.fromkeys(self._takers.values())) if self._takers else []

    def _lose(self, error: WorldLost) -> None:
        with ARRIVED:
            self._lost = error
            ARRIVED.notify_all()
        for taker in self._all_takers():
            taker.lose(error)

    # --- a thread that reads ---------------------------------------------------------------------

    def have_read(self) -> None:
        """Have messages read, although nobody waits, as long as a taker expects some."""
        with ARRIVED:
            if self._thread is not None or self._lost:
                return
            self._thread = threading.Thread(target=self._go_on, name="mpipool-post", daemon=True)
            self._thread.start()

    @property
    def is_read_here(self) -> bool:
        """Whether it is this thread that reads."""
        return self._reads == threading.get_ident()

    def poke(self) -> None:
        """Wake those who wait, one of whom may read, after something has changed here."""
        if self._reads is not None and not self.is_read_here:
            self.ring()

    def ring(self) -> None:
        """Have the thread that reads, and all who wait, look what is due."""
        os.eventfd_write(self._bell, 1)

    def _go_on(self) -> None:
        with ARRIVED:
            while self._reads is not None:
                self.ring()  # who reads now is to leave it to us
                ARRIVED.wait()
            self._reads = threading.get_ident()
        idle = 0.0
        while not self._is_over(idle):
            began = monotonic()
            idle = 0.0 if self._read(LINGER) else idle + monotonic() - began

    def _is_over(self, idle: float) -> bool:
        with ARRIVED:
            waited_for = any(taker.expects for taker in self._takers.values())
            if not self._lost and (waited_for or idle < LINGER):
                return False
            self._reads = self._thread = None
            ARRIVED.notify_all()
            return True

    # --- sending ---------------------------------------------------------------------------------

    def send(
        self, message: Message, payload: Sequence[Buffer] | None = None, more: bool = False
    ) -> None:
        """Send a message to the agent; the arguments are those of `BlockingChannel.send`.

        Raises
        ------
        WorldLost
            If it is gone.
        """
        if more:
            self._channel.send(message, payload, more)
            return
        with self._whole():
            self._channel.send(message, payload)
        self._has_asked = True


class Uninterrupted:
    """Holds a Ctrl-C back until the end of the block; it comes in the main thread only."""

    __slots__ = ("_came", "_handler")

    def __enter__(self) -> None:
        self._handler: Any = None
        if threading.get_ident() != threading.main_thread().ident:
            return
        handler = _signal.getsignal(SIGINT)
        if callable(handler):  # and not ignored, the system's default, or not Python's
            self._came: list[tuple[Any, ...]] = []
            self._handler = handler
            _signal.signal(SIGINT, self._hold)

    def _hold(self, *came: Any) -> None:
        self._came.append(came)

    def __exit__(self, *_: object) -> None:
        if self._handler is None:
            return
        _signal.signal(SIGINT, self._handler)
        if self._came:
            self._handler(*self._came[0])
