"""One scatter as its caller sees it: items go in, outcomes come out."""

from __future__ import annotations

import contextlib
import pickle
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from mpipool.errors import ExecutorDied, RemoteTraceback, TaskError, WorldLost
from mpipool.executor.pickling import Packer
from mpipool.messages import Abandon, Items, Results
from mpipool.task import DONE, ENTRY, Outcome, load_details, outcomes

if TYPE_CHECKING:
    from mpipool.executor.caller import Caller

BLOCK_ITEMS: Final = 8192
BLOCK_BYTES: Final = 1 << 20
FIRST_BLOCK: Final = 256
"""The first items go early, so that ranks begin while the others are pickled."""


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


class Stream:
    """A scatter which is fed and read piece by piece; leaving it early abandons the rest.

    Attributes
    ----------
    fed : int
        How many items it was given.
    missing : int
        How many of them have no outcome yet.
    busy : float
        Seconds which the tasks took since the last `take_busy`, together.
    """

    def __init__(self, caller: Caller, call: Call) -> None:
        self.fed = self.missing = 0
        self.busy = 0.0
        self._caller, self._call = caller, call
        self._request = caller.open(call)
        self._packer, self._sizes, self._limit = Packer(), array("Q"), FIRST_BLOCK
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.missing or not self._closed:
            with contextlib.suppress(WorldLost):
                self._caller.send(Abandon(request=self._request))
        self._caller.forget(self._request)

    def feed(self, item: Any) -> None:
        """Give it an item, which is sent with the next block.

        Raises
        ------
        UnpicklableError
            If the item can't be sent.
        """
        prefix = self._call.prefixes[self.fed] if self._call.prefixes else b""
        what = f"the item of {self._call.name(self.fed)}"
        self._sizes.append(self._packer.add(item, what, prefix))
        self.fed += 1
        self.missing += 1
        if len(self._sizes) >= self._limit or self._packer.size > BLOCK_BYTES:
            self.flush()
            self._limit = BLOCK_ITEMS

    def flush(self) -> None:
        """Send the items which were not sent yet."""
        if self._sizes:
            self._send(last=False)

    def close(self) -> None:
        """Say that no items come any more."""
        self._send(last=True)
        self._closed = True

    def take(self) -> Iterator[tuple[int, Any, Exception | None]]:
        """Wait for outcomes, and yield them: index, result, and what went wrong if it did."""
        batch = self._caller.wait_for(self._request)
        assert isinstance(batch, Results)
        self.missing -= batch.count
        table, details, results = (memoryview(part) for part in batch.parts)
        if not len(details):  # only failures and recorded tasks have details
            yield from self._take_plain(batch.first, table, results)
            return
        for index, outcome in enumerate(outcomes(table, details, results), start=batch.first):
            self.busy += outcome.entry.wall
            if outcome.entry.state == DONE:
                yield index, pickle.loads(outcome.result), None
            else:
                yield index, None, _failure(self._call.name(index), outcome)

    def take_busy(self) -> float:
        """Return how long the tasks took since the last call, together, in seconds."""
        busy, self.busy = self.busy, 0.0
        return busy

    def _take_plain(
        self, first: int, table: memoryview, results: memoryview
    ) -> Iterator[tuple[int, Any, None]]:
        at, loads = 0, pickle.loads
        for index, fields in enumerate(ENTRY.iter_unpack(table), start=first):
            end = at + fields[6]
            yield index, loads(results[at:end]), None
            at = end
            self.busy += fields[3]

    def _send(self, last: bool) -> None:
        parts = (self._sizes.tobytes(), self._packer.take())
        self._caller.send(Items(request=self._request, last=last, parts=parts))
        self._sizes = array("Q")


def _failure(task: str, outcome: Outcome) -> Exception:
    """Make the exception of a task that failed for good."""
    details = load_details(outcome.details)
    if "traceback" not in details:
        return ExecutorDied(task, details["message"], details.get("stderr", ""))
    error = _unpickled(outcome.result)
    if error is None:
        error = TaskError(task, f"{details['error']}: {details['message']}")
    if details["traceback"]:
        error.__cause__ = RemoteTraceback(details["traceback"])
    return error


def _unpickled(pickled: memoryview) -> Exception | None:
    """Load an exception; None if it can't be, or is one that would end the caller (sys.exit)."""
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None
    return error if isinstance(error, Exception) else None
