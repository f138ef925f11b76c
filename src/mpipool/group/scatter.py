"""The leader's side of one scatter: which of its tasks goes to which rank it was lent.

Theory of operation. Every task is in exactly one place: waiting, in a chunk under a lease, or
delivered. Ranks come as leases. While the queue has tasks, a lease gets another chunk whenever one
comes back; when the queue is empty, the quantum over or the member wants to leave, the lease is
returned as soon as its chunks have come back, so each lease holds a chunk and an event looks at no
other lease than its own. A failed task goes to the queue again, alone, while
it has retries left; its last outcome is delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mpipool.errors import InvalidEvent
from mpipool.group.events import (
    Abandoned,
    Cancelled,
    Command,
    Deliver,
    Demand,
    Done,
    Drop,
    End,
    Event,
    Extended,
    Give,
    Lent,
    Release,
    Skipped,
)
from mpipool.group.pace import Pace
from mpipool.group.waiting import Run, Waiting
from mpipool.ids import ChunkId, LeaseId, Rank, is_own

MAX_LOSSES: Final = 3
"""So often a task may be lost through no fault of its own before it counts as failed."""


@dataclass(slots=True)
class Chunk:
    """Consecutive tasks which a member has and has not reported yet."""

    first: int
    count: int
    attempt: int


@dataclass(slots=True)
class Lease:
    """A rank which the scatter has."""

    rank: Rank
    until: float
    chunks: dict[ChunkId, Chunk] = field(default_factory=dict)
    leaving: bool = False


class Scatter:
    """The state of one scatter; see the module's docstring.

    Parameters
    ----------
    retries : int
        How often a task that failed is tried again.
    mixed : bool
        Whether the tasks are single calls, of which one says little about the next.
    """

    def __init__(self, retries: int = 0, mixed: bool = False, mean: float | None = None) -> None:
        self.retries = retries
        self.waiting = Waiting()
        self.leases: dict[LeaseId, Lease] = {}
        self.tasks = 0
        self.delivered = 0
        self.all_in = False
        self.abandoned = False
        self.pace = Pace(mixed=mixed, mean=mean)
        self._losses: dict[int, int] = {}
        self._last_chunk = ChunkId(0)
        self._believed = 0
        """How many queued tasks the scheduler reckons with at least: as last reported, less one for
        each rank that it has lent since."""
        self._believed_pins: set[Rank] = set()
        """Likewise, for which ranks with pinned tasks."""
        self._closed = False

    @property
    def complete(self) -> bool:
        """Whether every task has a final outcome, or nobody waits for them."""
        return self.abandoned or (self.all_in and self.delivered == self.tasks)

    @property
    def over(self) -> bool:
        """Whether it is complete and every rank was returned."""
        return self.complete and not self.leases

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in what happened and decide who gets which task."""
        match event:
            case Extended():
                commands = self._extend(event)
            case Lent(lease, rank, quantum):
                commands = self._add(lease, rank, now + quantum) + self._supply(lease, now)
            case Done():
                commands = self._take_in(event) + self._supply(event.lease, now)
            case Cancelled(first, count):
                commands = self._cancel(first, count)
            case Skipped():
                commands = self._skip()
            case Abandoned():
                commands = self._abandon()
        return commands + self._report()

    def attempt(self, lease: LeaseId, chunk: ChunkId) -> int:
        """Return at which attempt the tasks of a chunk are."""
        return self.leases[lease].chunks[chunk].attempt

    # --- events --------------------------------------------------------------------------------

    def _extend(self, event: Extended) -> list[Command]:
        self.all_in = event.last
        self.waiting.know(self.tasks, event.costs, event.homes)
        for index, rank, executor in event.pins:
            self.waiting.pins[index] = (rank, executor)
        if event.count and not self.abandoned:
            self.waiting.add(Run(self.tasks, event.count, 1))
        self.tasks += event.count
        self.pace.saw_items(event.count, event.size)
        return []

    def _add(self, lease: LeaseId, rank: Rank, until: float) -> list[Command]:
        if lease in self.leases:
            raise InvalidEvent("scatter", f"Lent({lease})", "the lease is here already")
        self.leases[lease] = Lease(rank, until)
        if not is_own(lease):
            self._believed = max(self._believed - 1, 0)
            self._believed_pins.discard(rank)
        return []

    def _take_in(self, done: Done) -> list[Command]:
        lease = self.leases.get(done.lease)
        chunk = lease.chunks.get(done.chunk) if lease else None
        if lease is None or chunk is None:
            raise InvalidEvent("scatter", f"{done}", "the chunk is not with this lease")
        if done.first != chunk.first or done.count + done.back > chunk.count:
            raise InvalidEvent("scatter", f"{done}", f"these tasks are not next in {chunk}")
        # What comes back with nothing done was for a process that is blocked, and would be again.
        lease.leaving |= done.leave or (done.back > 0 and not done.count and not done.gone)
        self.pace.saw_tasks(done.count - len(done.lost) - len(done.redo), done.busy)
        attempt = chunk.attempt
        chunk.first += done.count
        chunk.count -= done.count + done.back
        if done.back and not self.abandoned:
            self._take_back(Run(chunk.first + chunk.count, done.back, attempt), done.gone)
        if not chunk.count:
            del lease.chunks[done.chunk]
        return [] if self.abandoned else self._deliver(done, attempt)

    def _take_back(self, run: Run, gone: bool) -> None:
        for index in range(run.first, run.first + run.count) if gone else ():
            self.waiting.pins.pop(index, None)
        self.waiting.add(run, in_front=True)

    def _cancel(self, first: int, count: int) -> list[Command]:
        dropped = self.waiting.cancel(first, count)
        self.waiting.forget(dropped)
        self.delivered += len(dropped)
        return [Drop(tuple(dropped))]

    def _skip(self) -> list[Command]:
        self.tasks += 1
        self.delivered += 1
        # The scheduler is to hear of the scatter, be that its only task.
        self._believed, self._believed_pins = self.waiting.open, set(self._unserved())
        return [Demand(self.waiting.open, self._seconds, self.tasks, pins=self._unserved())]

    def _abandon(self) -> list[Command]:
        self.abandoned = True
        self.waiting.clear()
        return [End(lease_id, lease.rank) for lease_id, lease in self.leases.items()]

    # --- outcomes ------------------------------------------------------------------------------

    def _deliver(self, done: Done, attempt: int) -> list[Command]:
        """Deliver runs of final outcomes; what is tried again goes back to the queue."""
        commands: list[Command] = []
        pins = {index: (rank, executor) for index, rank, executor in done.pins}
        start = done.first
        for index in sorted(done.failed + done.lost + done.redo):
            again = attempt if index in done.redo else self._next_attempt(done, index, attempt)
            if again is None:
                continue
            if index in pins:
                self.waiting.pins[index] = pins[index]
            # It goes alone, for it may take its process along once more.
            self.waiting.add(Run(index, 1, again, alone=True))
            commands += self._final(start, index)
            start = index + 1
        return commands + self._final(start, done.first + done.count)

    def _final(self, start: int, end: int) -> list[Command]:
        if start == end:
            return []
        self.delivered += end - start
        self.waiting.forget(range(start, end))
        return [Deliver(start, end - start)]

    def _next_attempt(self, done: Done, index: int, attempt: int) -> int | None:
        if index in done.lost:
            self._losses[index] = self._losses.get(index, 0) + 1
            return attempt if self._losses[index] < MAX_LOSSES else None
        return attempt + 1 if attempt <= self.retries else None

    # --- supply --------------------------------------------------------------------------------

    def _supply(self, lease_id: LeaseId, now: float) -> list[Command]:
        """Give the lease what it may hold, or return it when it has nothing to wait for."""
        commands: list[Command] = []
        lease = self.leases[lease_id]
        staying = not lease.leaving and now < lease.until
        while staying and self.waiting.has_for(lease.rank) and self._has_room(lease):
            commands.append(self._give(lease_id, lease))
        if not lease.chunks:
            del self.leases[lease_id]
            commands.append(Release(lease_id, self.waiting.open, self._seconds, self._unserved()))
            if not is_own(lease_id):
                self._believed, self._believed_pins = self.waiting.open, set(self._unserved())
        return commands

    def _has_room(self, lease: Lease) -> bool:
        return len(lease.chunks) < self.pace.ahead(len(self.waiting), len(self.leases))

    def _give(self, lease_id: LeaseId, lease: Lease) -> Give:
        most = self.pace.chunk(len(self.waiting), len(self.leases))
        run = self.waiting.take(lease.rank, most)
        self._last_chunk = ChunkId(self._last_chunk + 1)
        lease.chunks[self._last_chunk] = Chunk(run.first, run.count, run.attempt)
        return Give(
            lease_id, lease.rank, self._last_chunk, run.first, run.count, run.attempt, run.executor
        )

    @property
    def _seconds(self) -> float:
        """Expected time of what may go anywhere, on one rank; 0 while nothing is known."""
        return self.waiting.cost + self.pace.seconds(self.waiting.open - self.waiting.priced)

    def _unserved(self) -> tuple[Rank, ...]:
        """Return the ranks for which pinned tasks wait and which are not here."""
        if not self.waiting.pinned:
            return ()
        here = {lease.rank for lease in self.leases.values()}
        return tuple(rank for rank in self.waiting.pinned if rank not in here)

    def _report(self) -> list[Command]:
        """Tell the scheduler when there is more to do than it reckons with, nothing, or no more."""
        if self._closed:
            return []
        if self.over:
            self._closed = True
            return [Demand(0, 0.0, self.tasks, closed=True)]
        queued, pins = self.waiting.open, self._unserved()
        known = queued <= self._believed and (queued or not self._believed)
        if known and self._believed_pins.issuperset(pins):
            return []
        self._believed, self._believed_pins = queued, set(pins)
        return [Demand(queued, self._seconds, self.tasks, pins=pins)]
