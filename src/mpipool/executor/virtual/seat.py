"""The main threads of simulated ranks, in which gangs run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mpipool.executor.process import Listener
from mpipool.executor.virtual.calling import PASS, Work
from mpipool.executor.virtual.chunks import Current, outcome_of
from mpipool.executor.virtual.plan import Item
from mpipool.executor.virtual.processes import Attempt, VirtualExecutor, VirtualExecutors
from mpipool.ids import HERE, GangId, Rank
from mpipool.messages import Message, RunTasks


class Listening(Listener, Protocol):
    """The agent, which also has gangs."""

    ganging: Seats


class Seats(Protocol):
    """Who is told when the main thread of a rank is free again."""

    def main_thread_is_free(self) -> None:
        """Take in that the main thread has nothing to do any more."""


class VirtualHere(VirtualExecutor):
    """The main thread of a simulated rank; see `inline.Inline` and `seated.Seated`.

    Parameters
    ----------
    pool : VirtualExecutors
        Those of the rank.
    listener : Listening
        The agent.
    rank : Rank
        Which rank it is.
    """

    refusal = ""
    joined = True

    def __init__(self, pool: VirtualExecutors, listener: Listening, rank: Rank) -> None:
        super().__init__(HERE, pool)
        self.due = False
        self._agent, self._rank = listener, rank
        self._ranks: Sequence[int] = ()
        self.begin(self.run())

    @property
    def dead(self) -> bool:
        """Whether it has ended: with its rank."""
        return self._pool.closed

    def send(self, message: Message) -> None:
        """Send a message to the task, or to what is between tasks."""
        self.clock.after(PASS, lambda: self.take(message))

    def enter(self, gang: GangId, ranks: Sequence[int], chunk: RunTasks) -> None:
        """Have the main thread run a chunk of one task."""
        assert not self.due, f"gang {gang} enters where another one is"
        self._ranks, self.due = ranks, True
        self.send(chunk)

    def close(self) -> None:
        """Nothing in it waits for ever."""

    def _run_chunk(self, chunk: RunTasks) -> Work:
        yield from super()._run_chunk(chunk)
        self.caches.clear()
        self.due = False
        self.clock.after(PASS, self._agent.ganging.main_thread_is_free)

    def _attempt(self, current: Current, item: Item) -> Attempt:
        plan = self._pool.plans[item.plan]
        if plan.everywhere or self._ranks[0] == self._rank:
            return (yield from super()._attempt(current, item))
        yield plan.seconds
        key = current.key(current.task)
        return outcome_of(plan, False, current.began, plan.seconds, key)
