"""Maps over endless input: items are taken as they are needed, results given as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from mpipool.executor.caller import Caller
from mpipool.executor.stream import Call, Stream

Settled = tuple[int, Any, Exception | None]
"""Index, result, and what went wrong if it did."""

AHEAD_SECONDS: Final = 0.2
"""So much work for all ranks is taken ahead of the results."""
MOST_AHEAD: Final = 65536
"""Items."""


def settle(caller: Caller, call: Call, items: Iterable[Any], ordered: bool) -> Iterator[Settled]:
    """Run a call over items, and yield outcomes as they come, or in the order of the items.

    Never more items are taken from the input ahead of the results than the ranks can work on for a
    moment, and no more results are held back for the sake of order; so the input may be endless.
    """
    with Stream(caller, call) as stream:
        source, ahead = iter(items), 2 * caller.size
        held: dict[int, Settled] = {}
        due, more = 0, True
        while True:
            more = more and _feed(stream, source, ahead - stream.missing - len(held))
            if not stream.missing:
                return
            before = stream.missing
            for settled in stream.take():
                if ordered:
                    held[settled[0]] = settled
                else:
                    yield settled
            while due in held:
                yield held.pop(due)
                due += 1
            mean = stream.take_busy() / (before - stream.missing)
            wanted = caller.size * AHEAD_SECONDS / max(mean, 1e-9)
            ahead = int(min(max(wanted, 2 * caller.size), 2 * ahead, MOST_AHEAD))


def _feed(stream: Stream, source: Iterator[Any], count: int) -> bool:
    """Feed so many items; return whether there may be more."""
    for _ in range(count):
        try:
            stream.feed(next(source))
        except StopIteration:
            stream.close()
            return False
    stream.flush()
    return True
