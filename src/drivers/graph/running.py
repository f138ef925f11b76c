"""Has the nodes of a graph run on a pool: only so many at a time, in the graph's order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, Protocol

from drivers.graph.graph import Graph
from drivers.graph.node import Call, Done, Failed, NodeId
from mpipool import BrokenPool, Drained, Future

AHEAD = 3
"""Calls which are out for each rank: enough that none is idle while this process is busy, and few
enough that what becomes ready later, and is to go first, does not wait long."""


class Submits(Protocol):
    """What is needed of a pool."""

    @property
    def size(self) -> int:
        """Number of ranks."""
        ...

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have a function called; see `mpipool.Pool.submit`."""
        ...


Ended = Callable[[NodeId, Done | Failed], None]


def run(pool: Submits, graph: Graph, ended: Ended, *, fail_fast: bool = False) -> None:
    """Run a graph to its end.

    Parameters
    ----------
    pool : Pool
        Where the tasks run.
    graph : Graph
        What to run; ``ended`` may add to it.
    ended : callable
        Told of each node whose task has ended, before those behind it start.
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
    while not graph.is_over:
        while not stopped and len(out) <= AHEAD * pool.size and (started := graph.next()):
            running = _Running(*started)
            out[running.submit(pool)] = running
        if not out:
            return
        over = wait(out, return_when=FIRST_COMPLETED).done
        for future in [each for each in out if each in over]:
            running = out.pop(future)
            outcome = running.outcome(future)
            graph.end(running.node, outcome)
            ended(running.node, outcome)
            stopped |= fail_fast and isinstance(outcome, Failed)


class _Running:
    """A node whose task is out."""

    def __init__(self, node: NodeId, call: Call) -> None:
        self.node, self._call = node, call

    def submit(self, pool: Submits) -> Future:
        """Have the task run, unless it is done already."""
        call = self._call
        return pool.submit(
            call.function,
            *call.arguments,
            stage=self.node.stage,
            key=call.key,
            **({} if call.cost is None else {"cost": call.cost}),
            **call.options,
        )

    def outcome(self, future: Future) -> Done | Failed:
        """Return what came of it; raise what ends the whole run."""
        error = future.exception()
        if isinstance(error, Drained | BrokenPool):
            raise error
        if error is not None:
            return Failed(error)
        return Done(future.result(), self._call.key, future.reused)
