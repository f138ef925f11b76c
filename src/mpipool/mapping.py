"""One map from its items to its results: what is resumed, what is run, and what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from math import inf, nan
from typing import Any

from mpipool import keys
from mpipool.errors import TaskError, UsageError
from mpipool.executor.caller import Caller
from mpipool.executor.stream import Call
from mpipool.options import Wanted
from mpipool.resume import Resumed, identify, resume


@dataclass(slots=True)
class MapSummary:
    """What a map did."""

    tasks: int = 0
    reused: int = 0
    """Tasks which the checkpoint knew as done."""
    done: int = 0
    failed: int = 0
    wall: float = 0.0
    """Seconds."""
    busy: float = 0.0
    """Seconds which the tasks took, together."""
    ranks: int = 1

    @property
    def utilisation(self) -> float:
        """Fraction of the ranks' time in which tasks ran."""
        return self.busy / (self.wall * self.ranks) if self.wall else 0.0


def make_call(
    function: Callable[..., Any],
    wanted: Wanted,
    context: str,
    arguments: tuple[Any, ...] = (),
    keywords: dict[str, Any] | None = None,
) -> Call:
    """Make the call which options describe."""
    return Call(
        function=function,
        arguments=arguments,
        keywords=keywords or {},
        stage=wanted["stage"],
        retries=wanted["retries"],
        needs=wanted.needs.packed(),
        context=context if wanted["context"] is None else wanted["context"],
        previous=wanted["previous"],
        options=wanted.shared,
        cost=_cost(wanted["cost"]),
    )


def _cost(cost: Any) -> Callable[[int, Any], float] | None:
    """Make a function of an item's index and the item from whatever was given."""
    if cost is None:
        return None
    if callable(cost):
        return lambda index, item: _seconds(cost(item), index)
    if isinstance(cost, Sequence):
        return partial(_listed, cost)
    return lambda *_: float(cost)


def _listed(costs: Sequence[Any], index: int, _: Any) -> float:
    if index >= len(costs):
        raise UsageError(f"cost= has {len(costs)} numbers, and there are more items")
    return _seconds(costs[index], index)


def _seconds(cost: Any, index: int) -> float:
    """Return an item's cost as a number; tasks could not be put in order by anything else."""
    try:
        seconds = float(cost)
    except (TypeError, ValueError, OverflowError):
        seconds = nan
    if not 0 <= seconds < inf:
        raise UsageError(f"cost= of item {index} is {cost!r}: that is a number of seconds")
    return seconds


def run(
    caller: Caller, call: Call, items: Iterable[Any], wanted: Wanted, summary: MapSummary
) -> list[Any]:
    """Run a map; return the results in the order of its items, and tell the summary.

    Raises
    ------
    Exception
        What the first failed task raised, with ``errors="raise"``.
    """
    wait_for(wanted["after"], call.name())
    if wanted["key"] is None:
        return _run(caller, call, items, wanted, summary)
    every = list(items)
    _require_costs(wanted, len(every))
    stage, version, config = wanted["stage"], wanted["version"], wanted["config"]
    identities = identify(stage, wanted["key"], every)
    digests = [keys.digest(stage, version, config, identity) for identity in identities]
    resumed = resume(caller, digests, identities, limited=wanted.needs.memory > 0)
    call.prefixes = resumed.prefixes
    call.memories = resumed.memories if any(resumed.memories) else ()
    call.mean = resumed.mean
    if call.cost:
        of_all = call.cost
        call.cost = lambda index, item: of_all(resumed.waiting[index], item)
    elif any(seconds >= 0 for seconds in resumed.seconds):
        call.cost = lambda index, item: resumed.seconds[index]
    waiting = [every[index] for index in resumed.waiting]
    return _run(caller, call, waiting, wanted, summary, resumed)


def wait_for(after: Iterable[Future[Any]], call: str) -> None:
    """Wait for what a call is to come after.

    Raises
    ------
    TaskError
        If one of these failed.
    """
    before = list(after)
    if before:
        wait(before)
    for future in before:
        if future.cancelled() or future.exception():
            reason = "it is blocked: what it is to come after has failed"
            cause = None if future.cancelled() else future.exception()
            raise TaskError(call, reason) from cause


def _run(
    caller: Caller,
    call: Call,
    items: Iterable[Any],
    wanted: Wanted,
    summary: MapSummary,
    resumed: Resumed | None = None,
) -> list[Any]:
    kept: Sequence[Any] = items if isinstance(items, Sequence) else list(items)
    summary.reused = len(resumed.results) if resumed else 0
    summary.ranks, summary.tasks = caller.size, len(kept) + summary.reused
    if resumed is None:
        _require_costs(wanted, len(kept))

    def on_batch(done: int, failed: int, busy: float) -> None:
        summary.done, summary.failed = done, failed
        summary.busy += busy
        if wanted["progress"]:
            wanted["progress"](done + summary.reused, failed, summary.tasks)

    call.on_batch = on_batch
    on_batch(0, 0, 0.0)
    began = time.perf_counter()
    values, failures = caller.scatter(call, kept)
    summary.wall = time.perf_counter() - began
    if failures and wanted["errors"] == "raise":
        raise failures[min(failures)]
    for index, error in failures.items():
        values[index] = error
    return resumed.merged_with(values) if resumed else values


def _require_costs(wanted: Wanted, items: int) -> None:
    cost = wanted["cost"]
    if isinstance(cost, Sequence) and len(cost) != items:
        raise UsageError(f"cost= has {len(cost)} numbers for {items} items")
