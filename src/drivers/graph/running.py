"""Has the nodes of a graph run on a pool: only so many at a time, in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, Protocol

from drivers.graph.graph import Graph
from drivers.graph.node import Call, Done, Empty, Failed, NodeId, Outcome
from mpipool import BrokenPool, Drained, Future

AHEAD = 3
"""Calls which are out for each rank: enough that none is idle while this process is busy, and few
enough that what becomes ready later, and is to go first, does not wait long."""


NOT_DONE = Empty("it was not done before, and is not to be run by this command")


class Submits(Protocol):
    """What is needed of a pool; see `mpipool.Pool`."""

    @property
    def size(self) -> int:
        """Number of ranks."""
        ...

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have a function called."""
        ...

    def recorded(self, *, stage: str, key: dict[str, Any]) -> Future | None:
        """Return the future of a call that is done; None if it is not."""
        ...


Ended = Callable[[NodeId, Outcome], None]
Recall = Callable[[NodeId, Call], Done | None]


def nothing(node: NodeId, call: Call) -> None:
    """Recall nothing of other runs."""


def run(
    pool: Submits,
    graph: Graph,
    ended: Ended,
    *,
    recall: Recall = nothing,
    fail_fast: bool = False,
) -> None:
    """Run a graph to its end.

    Parameters
    ----------
    pool : Pool
        Where the tasks run.
    graph : Graph
        What to run; ``ended`` may add to it.
    ended : callable
        Told of each node whose task has ended, before those behind it start.
    recall : callable
        What is known of a node that is about to start, from elsewhere than the pool's database.
    fail_fast : bool
        Start nothing more once a task has failed; what runs is waited for.

    Raises
    ------
    Drained
        If the run drains: what is done is recorded.
    BrokenPool
        If the world was lost.
    """
    out: dict[Future, _Running] = {}
    stopped = False

    def end(node: NodeId, outcome: Outcome) -> None:
        graph.end(node, outcome)
        ended(node, outcome)

    while not graph.is_over:
        while not stopped and len(out) <= AHEAD * pool.size and (started := graph.next()):
            running = _Running(*started)
            known = recall(*started) or running.submit(pool)
            if isinstance(known, Done | Empty):
                end(running.node, known)
            else:
                out[known] = running
        if not out:
            return
        over = wait(out, return_when=FIRST_COMPLETED).done
        for future in [each for each in out if each in over]:
            running = out.pop(future)
            outcome = running.outcome(future)
            end(running.node, outcome)
            stopped |= fail_fast and isinstance(outcome, Failed)


class _Running:
    """A node whose task is out."""

    def __init__(self, node: NodeId, call: Call) -> None:
        self.node, self._call = node, call

    def submit(self, pool: Submits) -> Future | Empty:
        """Have the task run, unless it is done already or is not to be run."""
        call, stage = self._call, self.node.stage
        if not call.run:
            return pool.recorded(stage=stage, key=call.key) or NOT_DONE
        options = dict(call.options)
        if call.cost is not None:
            options["cost"] = call.cost
        return pool.submit(call.function, *call.arguments, stage=stage, key=call.key, **options)

    def outcome(self, future: Future) -> Done | Failed:
        """Return what came of it; raise what ends the whole run."""
        error = future.exception()
        if isinstance(error, Drained | BrokenPool):
            raise error
        if error is not None:
            return Failed(error)
        return Done(future.result(), self._call.key, future.reused)
