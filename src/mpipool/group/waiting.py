"""The tasks of a scatter that wait for a rank, and in which order a rank takes them.

Most scatters are one run of alike tasks, which may go anywhere: these stand in a queue of runs. A
task may besides be *pinned* to the executor which holds its cache, be *near* a rank which keeps its
data, or have a known *cost*. A rank takes first what is pinned to it, then what is near it, then
the costliest, then the queue; and when nothing else is left, what is near others, from the longest
of their queues.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mpipool.ids import ANY_EXECUTOR, ExecutorId, Rank


@dataclass(slots=True)
class Run:
    """Consecutive tasks which wait, all at the same attempt."""

    first: int
    count: int
    attempt: int
    executor: ExecutorId = ANY_EXECUTOR
    """To which they are pinned."""
    alone: bool = False
    """Whether it must go alone: it took its process along, or it failed."""


class _Line:
    """Runs in the order in which they are taken, and how many tasks they hold."""

    def __init__(self) -> None:
        self.runs: deque[Run] = deque()
        self.tasks = 0

    def push(self, run: Run, in_front: bool) -> None:
        """Add a run, as a part of its neighbour if that goes on where it ends."""
        self.tasks += run.count
        if in_front:
            if self.runs and _follows(run, self.runs[0]):
                run.count += self.runs.popleft().count
            self.runs.appendleft(run)
        elif self.runs and _follows(self.runs[-1], run):
            self.runs[-1].count += run.count
        else:
            self.runs.append(run)

    def cut(self, most: int) -> Run:
        """Take up to so many tasks of the first run."""
        run = self.runs[0]
        if run.count <= most:
            self.tasks -= run.count
            return self.runs.popleft()
        self.tasks -= most
        taken = Run(run.first, most, run.attempt, run.executor)
        run.first += most
        run.count -= most
        return taken

    def drop(self, doomed: range) -> list[int]:
        """Drop those of some tasks which are here; return their indices."""
        dropped: list[int] = []
        kept: deque[Run] = deque()
        for run in self.runs:
            end = run.first + run.count
            within = range(max(run.first, doomed.start), min(end, doomed.stop))
            dropped += within
            for first, last in ((run.first, within.start), (within.stop, end)):
                if within and first < last:
                    kept.append(replace(run, first=first, count=last - first))
            if not within:
                kept.append(run)
        self.runs = kept
        self.tasks -= len(dropped)
        return dropped

    def clear(self) -> None:
        """Drop all."""
        self.runs.clear()
        self.tasks = 0


class Waiting:
    """See the module's docstring.

    Attributes
    ----------
    open : int
        How many tasks wait which may go anywhere.
    priced : int
        Of how many of these the cost is known.
    pins : dict
        Where tasks are pinned, by index: rank and executor.
    """

    def __init__(self) -> None:
        self.open = self.priced = 0
        self.pins: dict[int, tuple[Rank, ExecutorId]] = {}
        self._bound = 0
        """How many tasks wait which are pinned."""
        self._queue = _Line()
        self._costly: list[tuple[float, int, int]] = []
        self._pinned: dict[Rank, _Line] = {}
        self._near: dict[Rank, _Line] = {}
        self._costs: dict[int, float] = {}
        self._homes: dict[int, Rank] = {}
        self._cost = 0.0

    def __len__(self) -> int:
        """How many tasks wait."""
        return self.open + self._bound

    @property
    def pinned(self) -> tuple[Rank, ...]:
        """The ranks for which pinned tasks wait."""
        return tuple(self._pinned)

    @property
    def cost(self) -> float:
        """Expected seconds of the waiting tasks whose cost is known, and which may go anywhere."""
        return self._cost

    def cost_of(self, index: int) -> float | None:
        """Return the expected seconds of a task, if they are known."""
        return self._costs.get(index)

    def know(self, first: int, costs: Sequence[float], homes: Sequence[int]) -> None:
        """Learn costs (seconds) and homes of consecutive tasks, where given; -1 for none."""
        for index, cost in enumerate(costs, start=first):
            if cost >= 0:
                self._costs[index] = cost
        for index, home in enumerate(homes, start=first):
            if home >= 0:
                self._homes[index] = Rank(home)

    def add(self, run: Run, in_front: bool = False) -> None:
        """Let tasks wait; each where it belongs."""
        if not (self.pins or self._homes or self._costs):
            self.open += run.count
            self._queue.push(run, in_front)
            return
        indices = range(run.first, run.first + run.count)
        for index in reversed(indices) if in_front else indices:
            self._add_one(Run(index, 1, run.attempt, alone=run.alone), in_front)

    def _add_one(self, run: Run, in_front: bool) -> None:
        index = run.first
        if index in self.pins:
            rank, run.executor = self.pins[index]
            self._bound += 1
            self._pinned.setdefault(rank, _Line()).push(run, in_front)
            return
        self.open += 1
        if index in self._costs:
            self._cost += self._costs[index]
            self.priced += 1
        if index in self._homes:
            self._near.setdefault(self._homes[index], _Line()).push(run, in_front)
        elif index in self._costs:
            heapq.heappush(self._costly, (-self._costs[index], index, run.attempt))
        else:
            self._queue.push(run, in_front)

    def has_for(self, rank: Rank) -> bool:
        """Whether some task waits which the rank may take."""
        return self.open > 0 or rank in self._pinned

    def take(self, rank: Rank, most: int) -> Run:
        """Take up to ``most`` consecutive tasks for a rank; see `has_for`."""
        if rank in self._pinned:
            run = _cut(self._pinned, rank, most)
            self._bound -= run.count
            return run
        if rank in self._near:
            return self._taken(_cut(self._near, rank, most))
        if self._costly:
            _, first, attempt = heapq.heappop(self._costly)
            return self._taken(Run(first, 1, attempt))
        if self._queue.tasks:
            return self._taken(self._queue.cut(most))
        longest = max(self._near, key=lambda home: self._near[home].tasks)
        return self._taken(_cut(self._near, longest, most))

    def _taken(self, run: Run) -> Run:
        self._leave(range(run.first, run.first + run.count))
        return run

    def _leave(self, tasks: Sequence[int]) -> None:
        """Count tasks out which could go anywhere."""
        self.open -= len(tasks)
        for index in tasks if self._costs else ():
            if index in self._costs:
                self._cost -= self._costs[index]
                self.priced -= 1
        if not self.priced:
            self._cost = 0.0  # and not what is left of rounding

    def cancel(self, first: int, count: int) -> list[int]:
        """Drop those of consecutive tasks which wait; return their indices."""
        doomed = range(first, first + count)
        bound = _drop(self._pinned, doomed)
        self._bound -= len(bound)
        free = self._queue.drop(doomed) + _drop(self._near, doomed)
        free += [index for _, index, _ in self._costly if index in doomed]
        self._costly = [costly for costly in self._costly if costly[1] not in doomed]
        heapq.heapify(self._costly)
        self._leave(free)
        return sorted(bound + free)

    def unpin(self, rank: Rank) -> None:
        """Let the tasks go anywhere whose caches were on a rank that is lost."""
        for index in [index for index, (where, _) in self.pins.items() if where == rank]:
            del self.pins[index]
        line = self._pinned.pop(rank, _Line())
        self._bound -= line.tasks
        for run in line.runs:
            self.add(replace(run, executor=ANY_EXECUTOR))

    def forget(self, tasks: Iterable[int]) -> None:
        """Forget what is known of tasks which will not wait again."""
        for known in (self.pins, self._costs, self._homes):
            for index in tasks if known else ():
                known.pop(index, None)

    def runs(self) -> Iterator[Run]:
        """Yield all that waits."""
        for line in (self._queue, *self._near.values(), *self._pinned.values()):
            yield from line.runs
        for _, index, attempt in self._costly:
            yield Run(index, 1, attempt)

    def clear(self) -> None:
        """Drop all tasks."""
        self.open = self._bound = self.priced = 0
        self._cost = 0.0
        for waiting in (self._costly, self._queue, self._near, self._pinned):
            waiting.clear()


def _follows(last: Run, run: Run) -> bool:
    """Whether two runs are one; a task that is tried again stays alone."""
    return (
        last.first + last.count == run.first
        and last.attempt == run.attempt == 1
        and last.executor == run.executor
        and not (last.alone or run.alone)
    )


def _cut(lines: dict[Rank, _Line], rank: Rank, most: int) -> Run:
    """Take tasks of one of several lines; none of them is ever empty."""
    run = lines[rank].cut(most)
    if not lines[rank].tasks:
        del lines[rank]
    return run


def _drop(lines: dict[Rank, _Line], doomed: range) -> list[int]:
    """Drop those of some tasks which are in one of several lines; return their indices."""
    dropped: list[int] = []
    for rank, line in list(lines.items()):
        dropped += line.drop(doomed)
        if not line.tasks:
            del lines[rank]
    return dropped
