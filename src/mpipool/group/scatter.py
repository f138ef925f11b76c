"""The leader's side of one scatter: which of its tasks goes to which rank it was lent.

Theory of operation. Every task is in exactly one place: waiting, in a chunk under a lease, or
delivered. Ranks come as leases. While the queue has tasks, a lease gets another chunk whenever one
comes back; when the queue is empty, the quantum over or the member wants to leave, the lease is
returned as soon as its chunks have come back, so each lease holds a chunk and an event looks at no
other lease than its own. A failed task goes to the queue again, alone, while
it has retries left; its last outcome is delivered.

All tasks of a scatter need the same. One that has failed for want of memory moves to a *branch* of
the scatter: another such machine, whose tasks need more. There it is delivered, or moves on.

When the run drains, all that waits is *left*: it is not begun. What runs may end, up to a limit;
then it is ended, and is *interrupted*. Near the limit what would not end before it is left too. A
scatter of which nothing runs any more and something was left is *halted*: its caller is told.
"""

from __future__ import annotations

from math import inf
from typing import Final

from mpipool.errors import InvalidEvent
from mpipool.group.events import (
    Abandoned,
    Cancelled,
    Command,
    Deliver,
    Demand,
    Done,
    Drained,
    Drop,
    End,
    Event,
    Extended,
    Fail,
    Give,
    Halt,
    Hopeless,
    Joined,
    Lent,
    Limited,
    Move,
    RankLost,
    Release,
    Settled,
    Skipped,
    TimeUp,
)
from mpipool.group.leases import Chunk, Lease
from mpipool.group.pace import Pace
from mpipool.group.waiting import Run, Waiting
from mpipool.ids import ChunkId, LeaseId, Rank, is_own

MAX_LOSSES: Final = 3
"""So often a task may be lost through no fault of its own before it counts as failed."""


class Scatter:
    """The state of one scatter; see the module's docstring.

    Parameters
    ----------
    retries : int
        How often a task that failed is tried again.
    mixed : bool
        Whether the tasks are single calls, of which one says little about the next.
    mean : float, optional
        Seconds which such tasks have taken before.
    branch : bool
        Whether it tries tasks of another scatter, to which what moves on from here goes back.
    """

    def __init__(
        self,
        retries: int = 0,
        mixed: bool = False,
        mean: float | None = None,
        branch: bool = False,
    ) -> None:
        self.retries = retries
        self.branch = branch
        self.waiting = Waiting()
        self.leases: dict[LeaseId, Lease] = {}
        self.tasks = 0
        self.delivered = 0
        self.away = 0
        """How many tasks are in branches."""
        self.all_in = False
        self.abandoned = self.halted = False
        self.left = self.interrupted = 0
        """How many tasks were left, and interrupted."""
        self._draining = self._hopeless = False
        self._limit = inf
        self.pace = Pace(mixed=mixed, mean=mean)
        self._losses: dict[int, int] = {}
        self._excused: dict[int, int] = {}
        """How many attempts of a task do not count, since it lacked memory or was lost."""
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
        return self.abandoned or self.halted or (self.all_in and self.delivered == self.tasks)

    @property
    def over(self) -> bool:
        """Whether it is complete and every rank was returned."""
        return self.complete and not self.leases

    def handle(self, event: Event, now: float) -> list[Command]:  # noqa: C901 - a table
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
            case Joined(move):
                commands = self._join(move)
            case Settled(delivered, left, interrupted):
                commands = self._settle(delivered, left, interrupted)
            case Hopeless():
                self._hopeless = True
                commands = []
            case RankLost(rank):
                self.waiting.unpin(rank)
                commands = []
            case Skipped():
                commands = self._skip()
            case Abandoned():
                commands = self._abandon()
            case Limited(until):
                self._limit = until
                commands = []
            case Drained():
                commands = self._drain()
            case TimeUp():
                commands = self._drain() + self._end_all()
        if self._hopeless and len(self.waiting):
            commands = commands + self._fail()
        return commands + self._halt_if_at_rest() + self._report()

    def attempt(self, lease: LeaseId, chunk: ChunkId) -> int:
        """Return at which attempt the tasks of a chunk are."""
        return self.leases[lease].chunks[chunk].attempt

    def expected(self, index: int) -> float:
        """Return the expected seconds of a task; 0 while nothing is known."""
        cost = self.waiting.cost_of(index)
        return self.pace.seconds(1) if cost is None else cost

    # --- events --------------------------------------------------------------------------------

    def _extend(self, event: Extended) -> list[Command]:
        self.all_in = event.last
        self.waiting.know(self.tasks, event.costs, event.homes)
        for index, rank, executor in event.pins:
            self.waiting.pins[index] = (rank, executor)
        if event.count and not self.abandoned:
            self._queue(Run(self.tasks, event.count, 1))
        self.tasks += event.count
        self.pace.saw_items(event.count, event.size)
        commands: list[Command] = []
        for index, memory in event.starved:
            if self.waiting.cancel(index, 1):
                commands += self._move(index, 1, memory)
        return commands

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
        self._queue(run, in_front=True)

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
        return self._end_all()

    def _end_all(self) -> list[Command]:
        return [End(lease_id, lease.rank) for lease_id, lease in self.leases.items()]

    # --- draining ------------------------------------------------------------------------------

    def _queue(self, run: Run, in_front: bool = False) -> None:
        """Let tasks wait, unless nothing is begun any more."""
        if self._draining:
            self.left += run.count
        else:
            self.waiting.add(run, in_front)

    def _drain(self) -> list[Command]:
        self._draining = True
        self.left += len(self.waiting)
        self.waiting.clear()
        return []

    def _ends_in_time(self, run: Run, now: float) -> bool:
        """Whether tasks which were just taken from the queue may be begun; else they are left."""
        if now + self.expected(run.first) <= self._limit:
            return True
        self.left += run.count
        return False

    def _halt_if_at_rest(self) -> list[Command]:
        unfinished = self.left + self.interrupted
        at_rest = not (self.leases or len(self.waiting) or self.away)
        at_rest = at_rest and (self.all_in or self._draining)
        if self.complete or not (unfinished and at_rest):
            return []
        self.halted = True
        return [Halt(self.interrupted)]

    # --- outcomes ------------------------------------------------------------------------------

    def _deliver(self, done: Done, attempt: int) -> list[Command]:
        """Deliver runs of final outcomes; what is tried again goes back to the queue, or moves."""
        commands: list[Command] = []
        pins = {index: (rank, executor) for index, rank, executor in done.pins}
        start = done.first
        undone, more = done.redo + done.interrupted, dict(done.starved)
        for index in sorted((*done.failed, *done.lost, *undone, *more)):
            again = attempt if index in undone else self._next_attempt(done, index, attempt)
            if again is None and index not in more:
                continue
            if index in pins:
                self.waiting.pins[index] = pins[index]
            commands += self._final(start, index)
            start = index + 1
            if index in more:
                self._excused[index] = self._excused.get(index, 0) + 1
                commands += self._move(index, attempt + 1, more[index])
            elif index in done.interrupted and self._draining:
                self.interrupted += 1
            elif again is not None:  # it goes alone, for it may take its process along once more
                self._queue(Run(index, 1, again, alone=True))
        return commands + self._final(start, done.first + done.count)

    def _final(self, start: int, end: int) -> list[Command]:
        if start == end:
            return []
        self.delivered += end - start
        self.waiting.forget(range(start, end))
        return [Deliver(start, end - start)]

    def _next_attempt(self, done: Done, index: int, attempt: int) -> int | None:
        if index in done.lost:
            # Another attempt: a rank that counts as dead may yet be writing what this one puts out.
            self._losses[index] = self._losses.get(index, 0) + 1
            self._excused[index] = self._excused.get(index, 0) + 1
            return attempt + 1 if self._losses[index] < MAX_LOSSES else None
        return attempt + 1 if attempt <= self.retries + self._excused.get(index, 0) else None

    # --- branches ------------------------------------------------------------------------------

    def _move(self, index: int, attempt: int, memory: int) -> list[Command]:
        """Have a task tried with more memory, unless nothing is begun any more."""
        if self._draining:
            self.left += 1
            return []
        cost, pin = self.waiting.cost_of(index), self.waiting.pins.get(index)
        self.waiting.forget([index])
        if self.branch:
            self.tasks -= 1
        else:
            self.away += 1
        return [Move(index, memory, attempt, self._excused.pop(index, 0), cost, pin)]

    def _join(self, move: Move) -> list[Command]:
        self.all_in = True  # it is over once it has none
        self.tasks += 1
        self._excused[move.index] = move.excused
        if move.cost is not None:
            self.waiting.know(move.index, (move.cost,), ())
        if move.pin:
            self.waiting.pins[move.index] = move.pin
        self._queue(Run(move.index, 1, move.attempt, alone=True))
        return []

    def _settle(self, delivered: int, left: int, interrupted: int) -> list[Command]:
        self.away -= delivered + left + interrupted
        self.delivered += delivered
        self.left += left
        self.interrupted += interrupted
        return []

    def _fail(self) -> list[Command]:
        indices = sorted(
            i for run in self.waiting.runs() for i in range(run.first, run.first + run.count)
        )
        self.waiting.forget(indices)
        self.waiting.clear()
        self.delivered += len(indices)
        return [Fail(tuple(indices))] if indices else []

    # --- supply --------------------------------------------------------------------------------

    def _supply(self, lease_id: LeaseId, now: float) -> list[Command]:
        """Give the lease what it may hold, or return it when it has nothing to wait for."""
        commands: list[Command] = []
        lease = self.leases[lease_id]
        staying = not lease.leaving and now < lease.until
        while staying and self.waiting.has_for(lease.rank) and self._has_room(lease):
            commands += self._give(lease_id, lease, now)
        if not lease.chunks:
            del self.leases[lease_id]
            commands.append(Release(lease_id, self.waiting.open, self._seconds, self._unserved()))
            if not is_own(lease_id):
                self._believed, self._believed_pins = self.waiting.open, set(self._unserved())
        return commands

    def _has_room(self, lease: Lease) -> bool:
        return len(lease.chunks) < self.pace.ahead(len(self.waiting), len(self.leases))

    def _give(self, lease_id: LeaseId, lease: Lease, now: float) -> list[Command]:
        most = self.pace.chunk(len(self.waiting), len(self.leases))
        run = self.waiting.take(lease.rank, most)
        if not self._ends_in_time(run, now):
            return []
        self._last_chunk = chunk = ChunkId(self._last_chunk + 1)
        lease.chunks[chunk] = Chunk(run.first, run.count, run.attempt)
        given = run.first, run.count, run.attempt, run.executor
        return [Give(lease_id, lease.rank, chunk, *given)]

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
