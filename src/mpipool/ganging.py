"""What a rank does for gangs: as their first member, which conducts, and as any member.

The machines in `group.gang` decide; this performs what they say. See there how a gang enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, Protocol

from mpipool.definitions import Definitions
from mpipool.group import Entry, Member
from mpipool.group import gang as machine
from mpipool.group.member import Assigned
from mpipool.group.patience import Patience
from mpipool.group.seat import Seat, Take
from mpipool.ids import BROKER, HERE, ChunkId, GangId, LeaseId, Rank, first_of
from mpipool.joining import as_chunk, has_failed, item_of, joined, lost_with, refusal_of, report_on
from mpipool.messages import (
    Assemble,
    Assembled,
    Define,
    Despair,
    Enter,
    Left,
    Message,
    Missed,
    RunTasks,
    TasksDone,
)
from mpipool.outcomes import Outcomes, pack
from mpipool.serving import NO_OUTCOMES, Serving
from mpipool.task import DONE, Outcome, load_details
from mpipool.transport import Transport

NEEDS_MPI: Final = (
    "tasks with ranks= run on several ranks of MPI at once: start the run with mpiexec, or leave "
    "ranks= out"
)
NEEDS_MAIN_THREAD: Final = (
    "tasks with ranks= run in the main thread of each rank, which is the script's where MPI was "
    "initialised before Pool(): make the Pool before importing mpi4py.MPI"
)


class Here(Protocol):
    """The rank's own process, as a place for tasks."""

    refusal: str
    due: bool
    joined: bool

    def send(self, message: Message) -> None:
        """Send a message to the task, or to what is between tasks."""

    def enter(self, gang: GangId, ranks: Sequence[int], chunk: RunTasks) -> None:
        """Have the main thread run a chunk of one task."""

    def run(self) -> None:
        """Run the task that is due; in the main thread."""

    def close(self) -> None:
        """Let a task that waits for something learn that nothing will come."""


class NotHere:
    """A process which can't run tasks itself.

    Parameters
    ----------
    refusal : str
        Why.
    """

    due = joined = False

    def __init__(self, refusal: str) -> None:
        self.refusal = refusal

    def send(self, message: Message) -> None:
        """Forget it: there is no task."""

    def enter(self, gang: GangId, ranks: Sequence[int], chunk: RunTasks) -> None:
        """Be told by mistake."""
        raise AssertionError(f"gang {gang} can't enter here: {self.refusal}")

    run = close = lambda self: None


@dataclass(slots=True)
class _Conducted:
    """A chunk of which this rank is the first member."""

    leader: Rank
    chunk: RunTasks
    definition: Define
    """Kept here: the rank forgets it if the leader dies meanwhile."""
    ends: dict[Rank, Outcome] = field(default_factory=dict)
    """What the members have said of the running task."""

    def assigned(self) -> Assigned:
        chunk = self.chunk
        return Assigned(
            self.leader, chunk.scatter, chunk.first, chunk.count, chunk.attempt, chunk.scope,
            chunk.digest,
        )  # fmt: skip


class Ganging:
    """All gangs of one rank.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    member : Member
        Which process of this rank runs which tasks.
    serving : Serving
        Passes outcomes on to leaders.
    definitions : Definitions
        The functions which this rank has sent.
    here : Here
        Where the tasks run.
    """

    def __init__(
        self,
        transport: Transport,
        member: Member,
        serving: Serving,
        definitions: Definitions,
        here: Here,
    ) -> None:
        self.here = here
        self._transport = transport
        self._member = member
        self._serving = serving
        self._definitions = definitions
        self._conductor = machine.Conductor(transport.rank)
        self._conducted: dict[tuple[LeaseId, ChunkId], _Conducted] = {}
        self._running: _Conducted | None = None
        """The one whose tasks are being run."""
        self._seat = Seat()
        self._entry: Entry | None = None
        """Of the running task, where another rank is the first member."""
        self._reported = self._got_up = False
        """Whether the running task was reported, and has left the main thread."""
        self._sent: set[bytes] = set()
        """The functions which the process itself has."""
        self._patience = Patience()
        self._stopped = inf
        """When the run began to end, seconds."""

    # --- from the leader -------------------------------------------------------------------------

    def takes(self, chunk: RunTasks) -> bool:
        """Whether a chunk is a gang's."""
        if not chunk.cores:
            return False
        shared = self._serving.shared(chunk.digest)
        # What one rank may do alone it may do in an ordinary process, where there is no MPI.
        alone = bool(self.here.refusal) and shared.get("fewest") == 1
        return bool(shared.get("in_place")) and not alone

    def run(self, leader: Rank, chunk: RunTasks, now: float) -> None:
        """Take a chunk of which this rank is the first member."""
        if self.here.refusal:
            self._transport.send(leader, refusal_of(chunk, self.here.refusal))
            return
        if not self._transport.gone.isdisjoint(chunk.cores):  # the lease is to end
            self._transport.send(leader, report_on(chunk, chunk.first, NO_OUTCOMES, chunk.count))
            return
        definition = self._serving.definition(chunk.digest)
        self._conducted[chunk.lease, chunk.chunk] = _Conducted(leader, chunk, definition)
        ranks = tuple(Rank(rank) for rank in chunk.cores)
        given = machine.Given(chunk.lease, chunk.chunk, ranks, chunk.first, chunk.count)
        self._conduct(given, now)

    def recall(self, lease: LeaseId, now: float) -> None:
        """Return what has not begun; what runs can't be ended."""
        self._conduct(machine.Recalled(lease), now)

    # --- from members, and the first of them -----------------------------------------------------

    def take(self, sender: Rank, message: Message, now: float) -> None:
        """Take a message about a gang."""
        match message:
            case Assemble(gang=gang, dismissed=False):
                self._sit(self._seat.called(gang))
            case Assemble(gang=gang):
                self._sit(self._seat.dismissed(gang))
            case Assembled(gang=gang):
                self._conduct(machine.Seated(gang, sender), now)
            case Enter():
                self._enter(message, now)
            case Left():
                self._left(sender, message, now)

    def lose(self, rank: Rank, now: float) -> None:
        """Do without a rank which is gone."""
        self._patience.lost(rank, now)
        self._sit(self._seat.lost(rank))
        self._conduct(machine.RankLost(rank), now)

    def forget(self, definition: Define) -> None:
        """Let the process itself forget a function."""
        if definition.digest in self._sent:
            self._sent.discard(definition.digest)
            self.here.send(definition)

    def _enter(self, enter: Enter, now: float) -> None:
        self._seat.entered(enter.gang)
        self._reported = self._got_up = False
        self._patience.entered(enter.ranks, self._transport.gone, now)
        if first_of(enter.gang) != self._transport.rank:
            self._entry = self._member.sit(enter.lease, enter.path)
        if enter.digest not in self._sent:
            self._sent.add(enter.digest)
            running = self._running if first_of(enter.gang) == self._transport.rank else None
            known = running.definition if running else self._serving.definition(enter.digest)
            self.here.send(known)
        self.here.enter(enter.gang, enter.ranks, as_chunk(enter))

    # --- from this process -----------------------------------------------------------------------

    def ended(self, report: TasksDone) -> None:
        """Tell the first member that the task has ended here."""
        gang = self._seat.holder
        assert gang is not None, f"{report} is of no gang"
        if self._entry:
            self._member.stand(self._entry)
            self._entry = None
        left = Left(gang=gang, failed=report.failures > 0, parts=report.parts)
        self._transport.send(first_of(gang), left)
        self._reported = True
        self._get_up()

    def main_thread_is_free(self) -> None:
        """Take in that the main thread has nothing to do any more."""
        self._got_up = True
        self._get_up()

    def _get_up(self) -> None:
        if self._got_up and self._reported:  # in either order
            self._patience.left()
            self._sit(self._seat.freed())

    # --- the end ---------------------------------------------------------------------------------

    def stop(self, now: float) -> None:
        """Begin no task any more, as the run ends."""
        self._stopped = now
        self._conduct(machine.Stopped(), now)
        if self.here.due:
            self.here.close()

    def detains(self, now: float) -> bool:
        """Whether the rank should not leave yet, since a task may end by itself."""
        return self.here.due and now < self._stopped + machine.GRACE

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._conducted:
            self._conduct(machine.Ticked(), now)
        if reason := self._patience.verdict(self.here.joined, now):
            self._lose_this_rank(reason)

    def _lose_this_rank(self, reason: str) -> None:
        rank = self._transport.rank
        despair, missed = Despair(reason=f"rank {rank}: {reason}"), Missed(rank=rank, reason=reason)
        self._transport.send(BROKER, despair if rank == BROKER else missed)

    # --- what machines decide --------------------------------------------------------------------

    def _sit(self, commands: Sequence[Take]) -> None:
        if self._stopped < inf:
            return  # the first member will not call any more, and may have left
        for command in commands:
            self._transport.send(first_of(command.gang), Assembled(gang=command.gang))

    def _conduct(self, event: machine.Event, now: float) -> None:
        for command in self._conductor.handle(event, now):
            self._perform(command, now)

    def _perform(self, command: machine.Command, now: float) -> None:  # noqa: C901 - a table
        match command:
            case machine.Begin(given):
                self._begin(given)
            case machine.Call(gang, ranks):
                self._tell(ranks, Assemble(gang=gang))
            case machine.Dismiss(gang, ranks):
                self._tell(ranks, Assemble(gang=gang, dismissed=True))
            case machine.Enter(gang, given):
                self._let_enter(gang, given)
            case machine.Report(given, back):
                self._report(given, back, now)
            case machine.GiveBack(given, begun):
                self._give_back(given, begun, now)
            case machine.Bereave(given, lost):
                self._bereave(given, lost, now)
            case machine.GiveUp(given, missing):
                self._give_up(given, missing, now)

    def _tell(self, ranks: Sequence[Rank], message: Message) -> None:
        for rank in ranks:
            self._transport.send(rank, message)

    def _begin(self, given: machine.Given) -> None:
        conducted = self._running = self._conducted[given.lease, given.chunk]
        entry, _ = self._member.place(given.lease, conducted.chunk.path, HERE)
        entry.chunks[given.chunk], entry.wide = conducted.assigned(), len(given.ranks) > 1
        self._definitions.use(conducted.chunk.digest)

    def _let_enter(self, gang: GangId, given: machine.Given) -> None:
        assert self._running
        chunk = self._running.chunk
        enter = Enter(
            gang=gang,
            lease=chunk.lease,
            chunk=chunk.chunk,
            scatter=chunk.scatter,
            path=chunk.path,
            digest=chunk.digest,
            task=given.first,
            attempt=chunk.attempt,
            ranks=chunk.cores,
            parts=item_of(chunk, given.first),
        )
        for rank in given.ranks:
            if rank != self._transport.rank:
                self._definitions.send(rank, self._running.definition)
        self._tell(given.ranks, enter)

    def _left(self, sender: Rank, left: Left, now: float) -> None:
        if self._running:  # or it was given up
            (self._running.ends[sender],) = Outcomes(0, left.parts)
        self._conduct(machine.Left(left.gang, sender, left.failed), now)

    def _report(self, given: machine.Given, back: int, now: float) -> None:
        if self._running is None:
            return  # it was given up
        ends = [self._running.ends[rank] for rank in given.ranks]
        self._running.ends.clear()
        self._pass_on(given, joined(ends), back, now)

    def _pass_on(self, given: machine.Given, end: Outcome, back: int, now: float) -> None:
        assert self._running
        chunk = self._running.chunk
        failed = end.entry.state != DONE
        report = report_on(chunk, given.first, pack([end]), back, failed, end.entry.wall)
        self._serving.done(HERE, report, now)
        if given.count == 1 + back:
            self._finish()

    def _give_back(self, given: machine.Given, begun: bool, now: float) -> None:
        conducted = self._conducted[given.lease, given.chunk]
        report = report_on(conducted.chunk, given.first, NO_OUTCOMES, given.count)
        if begun:
            self._serving.done(HERE, report, now)
            self._finish()
        else:
            del self._conducted[given.lease, given.chunk]
            self._transport.send(conducted.leader, report)

    def _bereave(self, given: machine.Given, lost: Rank, now: float) -> None:
        if self._running:
            self._running.ends.clear()
            self._pass_on(given, lost_with(lost), given.count - 1, now)

    def _finish(self) -> None:
        """Forget the running chunk."""
        assert self._running
        ended, self._running = self._running, None
        del self._conducted[ended.chunk.lease, ended.chunk.chunk]
        self._definitions.end_use(ended.definition)

    def _give_up(self, given: machine.Given, missing: tuple[Rank, ...], now: float) -> None:
        assert self._running
        ends = self._running.ends
        failed = next(rank for rank in given.ranks if rank in ends and has_failed(ends[rank]))
        self._pass_on(given, ends[failed], given.count - 1, now)
        said = load_details(ends[failed].details)
        others = ", ".join(map(str, missing))
        reason = (
            f"a task of a gang raised {said['error']} on rank {failed} ({said['message']}), and "
            f"ranks {others} did not end theirs within {machine.GRACE:g} s: they wait for it in "
            "MPI, perhaps, where nothing can interrupt them"
        )
        self._transport.send(BROKER, Despair(reason=reason))
