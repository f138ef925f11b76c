"""One scatter as its caller sees it: items go in, outcomes come out."""

from __future__ import annotations

import contextlib
import pickle
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from mpipool.errors import (
    Drained,
    ExecutorDied,
    MemoryExceeded,
    RemoteTraceback,
    TaskError,
    UsageError,
    WorldLost,
)
from mpipool.executor.handle import Handle, taken_along
from mpipool.executor.pickling import OUT_OF_BAND, Packer, Pieces, loads
from mpipool.messages import Abandon, Halted, Items, Refused, Results
from mpipool.task import DONE, ENTRY, Outcome, load_details, outcomes

if TYPE_CHECKING:
    from mpipool.executor.caller import Caller

BLOCK_ITEMS: Final = 8192
BLOCK_BYTES: Final = 1 << 20
FIRST_BLOCK: Final = 256
"""The first items go early, so that ranks begin while the others are pickled."""

_UNLOADABLE: Final = (Exception, SystemExit)
"""What a result may raise that is being unpickled, to be told like any failure of its task."""


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
    memories: Sequence[int] = ()
    """How many MiB items are known to need, by index; 0 where nothing is known."""
    on_batch: Callable[[int, int, float], None] | None = None
    """Told after each batch: tasks done, failed, and seconds which they took."""
    needs: str = ""
    """As `needs.Needs.packed` writes them."""
    context: str = ""
    """To which the caches of its tasks belong."""
    previous: bool = False
    """Whether it goes on with the caches which the last call in the context has left."""
    options: dict[str, Any] = field(default_factory=dict)
    """What executors and agents must know of it: keep, timeout, threads, in_place."""

    cost: Callable[[int, Any], float] | None = None
    """Expected seconds of an item, given its index and itself; -1 where nothing is known."""
    mean: float = 0.0
    """Expected seconds of the others; 0 if nothing is known."""

    def name(self, index: int | None = None) -> str:
        """Name the call, or a task of it, in an error."""
        called = self.stage or getattr(self.function, "__name__", "the scatter")
        return called if index is None else f"task {index} of {called}"


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
        self._costs, self._homes, self._memories = array("d"), array("q"), array("q")
        self._load: Callable[[memoryview], Any] = loads
        if call.options.get("keep"):
            self._load = Handle.of
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
        packed = self._packer.pack(item, self._next, prefix)
        if self._call.cost:
            self._costs.append(self._call.cost(self.fed, item))
        if self._call.memories:
            self._memories.append(self._call.memories[self.fed])
        home = taken_along()
        if home is not None or self._homes:
            self._homes.extend([-1] * (len(self._sizes) - len(self._homes)))
            self._homes.append(-1 if home is None else home)
        self.fed += 1
        self.missing += 1
        if isinstance(packed, Pieces):
            self.flush()
            self._send_at_once(packed)
            return
        self._packer.put(packed)
        self._sizes.append(len(packed))
        if len(self._sizes) >= self._limit or self._packer.size > BLOCK_BYTES:
            self.flush()
            self._limit = BLOCK_ITEMS

    def _next(self) -> str:
        return f"the item of {self._call.name(self.fed)}"

    def flush(self) -> None:
        """Send the items which were not sent yet."""
        if self._sizes:
            self._send(last=False)

    def close(self) -> None:
        """Say that no items come any more."""
        self._send(last=True)
        self._closed = True

    def take(self, to_the_end: bool = False) -> Iterator[tuple[int, Any, Exception | None]]:
        """Wait for outcomes, and yield them: index, result, and what went wrong if it did.

        Parameters
        ----------
        to_the_end : bool
            Whether the caller does nothing else until it has all of them.
        """
        batch = self._caller.wait_in(self._request, to_the_end)
        if isinstance(batch, Refused):
            raise UsageError(f"{self._call.name()} can't run: {batch.reason}")
        if isinstance(batch, Halted):
            raise drained(self._call.name(), batch, self.fed, self.missing)
        assert isinstance(batch, Results)
        self.missing -= batch.count
        table, details, results = (memoryview(part) for part in batch.parts)
        if not len(details):  # only failures and recorded tasks have details
            yield from self._take_plain(batch.first, table, results)
            return
        for index, outcome in enumerate(outcomes(table, details, results), start=batch.first):
            self.busy += outcome.entry.wall
            if outcome.entry.state == DONE:
                try:
                    value = self._load(outcome.result)
                except _UNLOADABLE as error:
                    yield index, None, self._unloadable(index, error)
                else:
                    yield index, value, None
            else:
                yield index, None, failure(self._call.name(index), outcome)

    def take_busy(self) -> float:
        """Return how long the tasks took since the last call, together, in seconds."""
        busy, self.busy = self.busy, 0.0
        return busy

    def _take_plain(
        self, first: int, table: memoryview, results: memoryview
    ) -> Iterator[tuple[int, Any, TaskError | None]]:
        at, load = 0, pickle.loads if self._load is loads else self._load
        for index, fields in enumerate(ENTRY.iter_unpack(table), start=first):
            size = fields[6]
            result = results[at : at + size]
            at += size
            self.busy += fields[3]
            try:
                value = load(result) if size < OUT_OF_BAND else self._load(result)
            except _UNLOADABLE as error:
                yield index, None, self._unloadable(index, error)
            else:
                yield index, value, None

    def _unloadable(self, index: int, error: BaseException) -> TaskError:
        reason = f"its result can't be unpickled: {type(error).__name__}: {error}"
        failure = TaskError(self._call.name(index), reason)
        failure.__cause__ = error
        return failure

    def _send_at_once(self, packed: Pieces) -> None:
        """Send a large item by itself, from where it is, before it can be changed."""
        sizes = array("Q", [len(packed)]).tobytes()
        items = Items(request=self._request, last=False, parts=(sizes, *self._take_known()))
        self._caller.send(items, packed.buffers)

    def _send(self, last: bool) -> None:
        parts = (self._sizes.tobytes(), *self._take_known(), self._packer.take())
        self._caller.send(Items(request=self._request, last=last, parts=parts))
        self._sizes = array("Q")

    def _take_known(self) -> tuple[bytes, ...]:
        """Return what is known of the items that are sent: see `Items`."""
        known = (self._costs.tobytes(), self._homes.tobytes(), self._memories.tobytes())
        if not any(known):
            return ()
        self._costs, self._homes, self._memories = array("d"), array("q"), array("q")
        return known


def drained(call: str, halted: Halted, tasks: int, missing: int) -> Drained:
    """Make the exception of a call of which ``missing`` tasks are not run any more."""
    left = missing - halted.interrupted
    done = tasks - missing
    return Drained(call, halted.reason, done, halted.interrupted, left, halted.exit_code)


def failure(task: str, outcome: Outcome) -> Exception:
    """Make the exception of a task that failed for good."""
    details = load_details(outcome.details)
    if "traceback" not in details:
        return _death(task, outcome.entry.peak, details)
    error = _unpickled(outcome.result)
    if error is None:
        error = TaskError(task, f"{details['error']}: {details['message']}")
    if details["traceback"]:
        error.__cause__ = RemoteTraceback(details["traceback"])
    return error


def _death(task: str, peak: int, details: dict[str, Any]) -> Exception:
    """Make the exception of a task whose process ended; the peak is in KiB."""
    stderr = details.get("stderr", "")
    if details["error"] == MemoryExceeded.__name__:
        return MemoryExceeded(task, details["reason"], stderr, peak // 1024)
    return ExecutorDied(task, details["message"], stderr)


def _unpickled(pickled: memoryview) -> Exception | None:
    """Load an exception; None if it can't be, or is one that would end the caller (sys.exit)."""
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None
    return error if isinstance(error, Exception) else None
