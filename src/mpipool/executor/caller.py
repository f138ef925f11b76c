"""The calling side of a scatter, in the script and in executors alike.

There is one `Caller` in a process. It talks to the agent of its rank, which leads the scatters.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import threading
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Protocol

from mpipool.errors import ExecutorDied, RemoteTraceback, TaskError, WorldLost
from mpipool.executor.channel import BlockingChannel
from mpipool.executor.pickling import Packer, dumps
from mpipool.messages import Abandon, Answer, Ask, Items, Message, Open, Results
from mpipool.task import DONE, ENTRY, Outcome, load_details, outcomes

if TYPE_CHECKING:
    from mpipool.ids import ScatterId

BLOCK_ITEMS: Final = 8192
BLOCK_BYTES: Final = 1 << 20
FIRST_BLOCK: Final = 256
"""The first items go early, so that ranks begin while the others are pickled."""


class Blockable(Protocol):
    """The executor around a caller, if there is one."""

    def before_waiting(self) -> None:
        """Give back what would wait behind the running task."""

    def take(self, message: Message) -> None:
        """Take a message that is not for the caller."""


@dataclass(slots=True, kw_only=True)
class Call:
    """What one scatter is to do."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    retries: int = 0
    prefixes: list[bytes] | None = None
    """Keys in front of the items, where the call is checkpointed."""
    on_batch: Callable[[int, int, float], None] | None = None
    """Told after each batch: tasks done, failed, and seconds which they took."""

    def name(self, index: int) -> str:
        """Name a task in an error."""
        return f"task {index} of {self.stage or getattr(self.function, '__name__', 'the scatter')}"


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
            self._channel.send(Ask(request=request, question=question, parts=(asked,)))
            answer = self._wait_for(Answer, request)
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
        with self._turn:
            request = self._next_request()
            self._open(request, call)
            try:
                count = self._send_items(request, call, items)
                return self._collect(request, call, count)
            except BaseException:
                with contextlib.suppress(WorldLost):
                    self._channel.send(Abandon(request=request))
                raise

    def _open(self, request: int, call: Call) -> None:
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
        self._channel.send(
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

    def _send_items(self, request: int, call: Call, items: Iterable[Any]) -> int:
        packer, sizes, count, limit = Packer(), array("Q"), 0, FIRST_BLOCK
        for count, item in enumerate(items, start=1):
            prefix = call.prefixes[count - 1] if call.prefixes else b""
            sizes.append(packer.add(item, f"the item of {call.name(count - 1)}", prefix))
            if len(sizes) >= limit or packer.size > BLOCK_BYTES:
                self._send_block(request, sizes, packer, last=False)
                sizes, limit = array("Q"), BLOCK_ITEMS
        self._send_block(request, sizes, packer, last=True)
        return count

    def _send_block(self, request: int, sizes: array[int], packer: Packer, last: bool) -> None:
        self._channel.send(
            Items(request=request, last=last, parts=(sizes.tobytes(), packer.take()))
        )

    def _collect(
        self, request: int, call: Call, count: int
    ) -> tuple[list[Any], dict[int, Exception]]:
        values: list[Any] = [None] * count
        failures: dict[int, Exception] = {}
        missing = count
        while missing:
            batch = self._wait_for(Results, request)
            assert isinstance(batch, Results)
            busy = _settle(call, batch, values, failures)
            missing -= batch.count
            if call.on_batch:
                call.on_batch(count - missing - len(failures), len(failures), busy)
        return values, failures

    # --- messages --------------------------------------------------------------------------------

    def _wait_for(self, kind: type[Results] | type[Answer], request: int) -> Message:
        while True:
            message = self._channel.receive()
            if isinstance(message, (Results, Answer)):
                if isinstance(message, kind) and message.request == request:
                    return message
                # It answers a call that was given up.
            elif self._executor:
                self._executor.take(message)

    def _next_request(self) -> int:
        self._requests += 1
        return self._requests


def _settle(
    call: Call, batch: Results, values: list[Any], failures: dict[int, Exception]
) -> float:
    """Put a batch of outcomes in their places; return how long they took in seconds."""
    table, details, results = (memoryview(part) for part in batch.parts)
    if not len(details):  # only failures and recorded tasks have details
        return _settle_plain(table, results, values, batch.first)
    busy = 0.0
    for index, outcome in enumerate(outcomes(table, details, results), start=batch.first):
        busy += outcome.entry.wall
        if outcome.entry.state == DONE:
            values[index] = pickle.loads(outcome.result)
        else:
            failures[index] = _failure(call.name(index), outcome)
    return busy


def _settle_plain(
    table: memoryview, results: memoryview, values: list[Any], first: int
) -> float:
    busy, at = 0.0, 0
    loads = pickle.loads
    for index, (_, _, _, wall, _, _, size) in enumerate(ENTRY.iter_unpack(table), start=first):
        values[index] = loads(results[at : at + size])
        at += size
        busy += wall
    return busy


def _failure(task: str, outcome: Outcome) -> Exception:
    """Make the exception of a task that failed for good."""
    details = load_details(outcome.details)
    if "traceback" not in details:
        return ExecutorDied(task, details["message"], details.get("stderr", ""))
    error = _unpickled(outcome.result)
    if error is None:
        error = TaskError(task, f"{details['error']}: {details['message']}")
    error.__cause__ = RemoteTraceback(details["traceback"])
    return error


def _unpickled(pickled: memoryview) -> Exception | None:
    """Load an exception; None if it can't be, or is one that would end the caller (sys.exit)."""
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None
    return error if isinstance(error, Exception) else None


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
