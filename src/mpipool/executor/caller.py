"""The calling side of a scatter, in the script and in executors alike.

There is one `Caller` in a process. It talks to the agent of its rank, which leads the scatters.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from mpipool.executor.channel import BlockingChannel
from mpipool.executor.pickling import dumps
from mpipool.executor.stream import Call, Stream
from mpipool.messages import Answer, Ask, Message, Open, Results

if TYPE_CHECKING:
    from mpipool.ids import ScatterId


class Blockable(Protocol):
    """The executor around a caller, if there is one."""

    def before_waiting(self) -> None:
        """Give back what would wait behind the running task."""

    def take(self, message: Message) -> None:
        """Take a message that is not for the caller."""


class Attachment:
    """The run's checkpoint, as tasks and callers know of it."""

    def __init__(self, token: int = 0, results: str = "", recorded: bool = False) -> None:
        self.token, self.results, self.recorded = token, results, recorded


class Caller:
    """Opens scatters and asks questions; one call at a time, other threads wait.

    Parameters
    ----------
    channel : BlockingChannel
        To the agent.
    executor : Blockable, optional
        The executor in whose process this is; None in the script.
    size : int
        Number of ranks.
    """

    def __init__(
        self, channel: BlockingChannel, executor: Blockable | None = None, size: int = 1
    ) -> None:
        self._channel = channel
        self._executor = executor
        self._turn = threading.RLock()
        self._requests = 0
        self._mail: dict[int, deque[Message]] = {}
        self.size = size
        self.attachment = Attachment()
        self.path: tuple[ScatterId, ...] = ()

    @property
    def in_task(self) -> bool:
        """Whether a task calls, not the script."""
        return self._executor is not None

    # --- questions -------------------------------------------------------------------------------

    def ask(self, question: str, **facts: Any) -> tuple[Any, list[memoryview]]:
        """Ask the broker; return its answer and what comes with it.

        Raises
        ------
        MpipoolError
            Whatever the broker refused with.
        """
        with self._turn:
            request = self._next_request()
            asked = json.dumps(facts).encode()
            self.send(Ask(request=request, question=question, parts=(asked,)))
            answer = self.wait_for(request)
            self.forget(request)
            assert isinstance(answer, Answer)
            if not answer.ok:
                raise pickle.loads(answer.parts[0])
            found = json.loads(bytes(answer.parts[0]))
            return found, [memoryview(part) for part in answer.parts[1:]]

    # --- scatters --------------------------------------------------------------------------------

    def scatter(self, call: Call, items: Iterable[Any]) -> tuple[list[Any], dict[int, Exception]]:
        """Run a call over items; return results in their order, and the failures by index.

        Raises
        ------
        UnpicklableError
            If the function or an item can't be sent. Tasks which ran already are dropped.
        """
        with self._turn, Stream(self, call) as stream:
            for item in items:
                stream.feed(item)
            stream.close()
            values: list[Any] = [None] * stream.fed
            failures: dict[int, Exception] = {}
            while stream.missing:
                for index, value, error in stream.take():
                    if error is None:
                        values[index] = value
                    else:
                        failures[index] = error
                if call.on_batch:
                    done = stream.fed - stream.missing - len(failures)
                    call.on_batch(done, len(failures), stream.take_busy())
            return values, failures

    def open(self, call: Call) -> int:
        """Begin a scatter, and return the number by which its messages are known."""
        function = dumps((call.function, call.arguments, call.keywords), "the function")
        shared = json.dumps(
            {
                "stage": call.stage,
                "keyed": call.prefixes is not None,
                "recorded": self.attachment.recorded,
                "token": self.attachment.token,
                "results": self.attachment.results,
                "size": self.size,
                "sys_path": [os.path.abspath(folder) for folder in sys.path],
            }
        ).encode()
        if self._executor:
            self._executor.before_waiting()
        request = self._next_request()
        self.send(
            Open(
                request=request,
                digest=blake2b(shared + function, digest_size=16).digest(),
                stage=call.stage,
                retries=call.retries,
                recorded=self.attachment.recorded,
                keyed=call.prefixes is not None,
                parts=(shared, function),
            )
        )
        return request

    # --- messages --------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Send a message to the agent."""
        self._channel.send(message)

    def wait_for(self, request: int) -> Message:
        """Wait for the next message about a request; keep those about others."""
        mail = self._mail[request]
        while not mail:
            message = self._channel.receive()
            if isinstance(message, (Results, Answer)):
                if message.request in self._mail:  # or it is about a call that was given up
                    self._mail[message.request].append(message)
            elif self._executor:
                self._executor.take(message)
        return mail.popleft()

    def forget(self, request: int) -> None:
        """Drop what still comes about a request."""
        self._mail.pop(request, None)

    def _next_request(self) -> int:
        self._requests += 1
        self._mail[self._requests] = deque()
        return self._requests


# --- the one of this process ---------------------------------------------------------------------

_installed: list[Caller] = []


def install(caller: Caller) -> None:
    """Make this the caller of the process."""
    _installed[:] = [caller]


def installed() -> Caller | None:
    """Return the caller of this process, if there is one."""
    return _installed[0] if _installed else None


def inherit(shared: dict[str, Any], path: tuple[ScatterId, ...]) -> None:
    """Take over what the running task's scatter says of the run: nested scatters belong to it."""
    caller = _installed[0]
    caller.attachment = Attachment(shared["token"], shared["results"], shared["recorded"])
    caller.size, caller.path = shared["size"], path
