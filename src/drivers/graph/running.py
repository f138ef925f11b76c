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


Poll = Callable[[float], bool]
"""Given for how long it may wait [s]; may add nodes, and returns whether more may come."""
LOOK = 1.0
"""Seconds between two looks at whether there is more."""


def nothing(node: NodeId, call: Call) -> None:
    """Recall nothing of other runs."""


def run(
    pool: Submits,
    graph: Graph,
    ended: Ended,
    *,
    recall: Recall = nothing,
    fail_fast: bool = False,
    poll: Poll | None = None,
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
    poll : callable, optional
        Adds nodes as they come up, until it says that no more will.

    Raises
    ------
    Drained
        If the run drains: what is done is recorded.
    BrokenPool
        If the world was lost.
    """
    loop = _Loop(pool, graph, ended, recall)
    more = poll is not None
    while more or not graph.is_over:
        if poll and more:
            more = poll(0.0 if loop.out else LOOK) and not (fail_fast and loop.failed)
        if not (fail_fast and loop.failed):
            loop.start()
        if loop.out:
            loop.wait(LOOK if more else None)
        elif not more:
            return


class _Loop:
    """What of a graph is out on the pool.

    Attributes
    ----------
    out : dict of Future to _Running
        What was submitted and has not ended.
    failed : bool
        Whether any task has.
    """

    def __init__(self, pool: Submits, graph: Graph, ended: Ended, recall: Recall) -> None:
        self._pool, self._graph, self._ended, self._recall = pool, graph, ended, recall
        self.out: dict[Future, _Running] = {}
        self.failed = False

    def start(self) -> None:
        """Submit what may start, up to so many at a time."""
        while len(self.out) <= AHEAD * self._pool.size and (started := self._graph.next()):
            running = _Running(*started)
            known = self._recall(*started) or running.submit(self._pool)
            if isinstance(known, Done | Empty):
                self._end(running.node, known)
            else:
                self.out[known] = running

    def wait(self, timeout: float | None) -> None:
        """Wait until something ends, or for a time [s], and take in what has ended."""
        over = wait(self.out, timeout, FIRST_COMPLETED).done
        for future in [each for each in self.out if each in over]:
            running = self.out.pop(future)
            self._end(running.node, running.outcome(future))

    def _end(self, node: NodeId, outcome: Outcome) -> None:
        self.failed |= isinstance(outcome, Failed)
        self._graph.end(node, outcome)
        self._ended(node, outcome)


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
