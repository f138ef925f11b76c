"""A gang: ranks which run one task together, in their own processes, with a communicator.

Theory of operation. Each rank has one *seat*: the main thread of its own process. The first member
of a gang is given the chunks and conducts; it has all members enter each task in two phases. They
are *called*; each takes its seat as soon as no other gang has it, and says so; when all are seated
they *enter*. So nobody waits inside MPI, where it can't be interrupted, for a member which is not
coming, and two gangs which want the same seats one after the other can't block each other half
inside. Each task has a communicator of its own, made when they enter.

A task has ended when every member has left it. One that raises leaves alone: others may wait for it
in a collective, for ever. They get a grace; then the conductor gives up, and the run ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from mpipool.errors import InvalidEvent
from mpipool.ids import ChunkId, GangId, LeaseId, Rank, gang_id

GRACE: Final = 10.0
"""Seconds between an exception in one member and giving up on the others. What a member still has
to compute before it notices takes less, usually; and a collective with a member that has left it
hangs for ever, with all cores of the gang."""
LONG: Final = 0.05
"""Seconds. After so long a task the rest of the chunk goes back, as executors do it."""


@dataclass(frozen=True, slots=True)
class Given:
    """Event: the leader gave the gang tasks; this rank is the first member."""

    lease: LeaseId
    chunk: ChunkId
    ranks: tuple[Rank, ...]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Seated:
    """Event: a member has taken its seat."""

    gang: GangId
    rank: Rank


@dataclass(frozen=True, slots=True)
class Left:
    """Event: a member's call has ended."""

    gang: GangId
    rank: Rank
    failed: bool


@dataclass(frozen=True, slots=True)
class Recalled:
    """Event: the leader wants the tasks of this lease back."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class RankLost:
    """Event: a rank is gone."""

    rank: Rank


@dataclass(frozen=True, slots=True)
class Stopped:
    """Event: the run ends; no task is begun any more, and nobody wants any back."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Event: time went by."""


Event = Given | Seated | Left | Recalled | RankLost | Stopped | Ticked


@dataclass(frozen=True, slots=True)
class Begin:
    """Command: take this chunk up; its tasks follow."""

    given: Given


@dataclass(frozen=True, slots=True)
class Call:
    """Command: have all members take their seats."""

    gang: GangId
    ranks: tuple[Rank, ...]


@dataclass(frozen=True, slots=True)
class Enter:
    """Command: have all members run the first task of what is given."""

    gang: GangId
    given: Given


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Command: tell all members that the gang will not be."""

    gang: GangId
    ranks: tuple[Rank, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Command: tell the leader how the task ended, and that so many behind it come back."""

    given: Given
    """The chunk as it stood when the task began: it is the first one."""
    back: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Command: return all of a chunk unstarted."""

    given: Given
    begun: bool
    """Whether it was taken up (see `Begin`) already."""


@dataclass(frozen=True, slots=True)
class Bereave:
    """Command: tell the leader that the task was lost with a member, and return all behind it."""

    given: Given
    lost: Rank


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Command: end the run; these members will not come back from the first task."""

    given: Given
    missing: tuple[Rank, ...]


Command = Begin | Call | Enter | Dismiss | Report | GiveBack | Bereave | GiveUp


@dataclass(slots=True)
class _Calling:
    """Some members are not seated yet."""

    gang: GangId
    absent: set[Rank]


@dataclass(slots=True)
class _Inside:
    """Some members have not left yet."""

    gang: GangId
    inside: set[Rank]
    since: float
    deadline: float = inf
    lost: Rank | None = None
    """A member which is gone. The others come out of MPI, or their ranks are lost too."""


class Conductor:
    """What the first member of gangs decides; see the module's docstring.

    Parameters
    ----------
    rank : Rank
        This rank.
    """

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._serial = 0
        self._chunks: deque[Given] = deque()
        """The first of them is being run, if there is a state."""
        self._state: _Calling | _Inside | None = None
        self._wanted_back: set[LeaseId] = set()
        """Leases which were recalled while a task of theirs was running."""
        self._stopped = False

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take an event in; return what is to be done.

        Parameters
        ----------
        event : Event
            What happened.
        now : float
            Seconds, monotonic.

        Raises
        ------
        InvalidEvent
            If it can't be in this state: a bug.
        """
        match event:
            case Given():
                return self._take(event)
            case Seated():
                return self._seated(event, now)
            case Left():
                return self._left(event, now)
            case Recalled(lease):
                return self._recall(lease)
            case RankLost(rank):
                return self._lose(rank, now)
            case Stopped():
                return self._stop()
            case Ticked():
                return self._expire(now)

    def _take(self, given: Given) -> list[Command]:
        if self._stopped:
            return []  # nobody listens any more
        self._chunks.append(given)
        return self._begin() if self._state is None else []

    def _begin(self) -> list[Command]:
        """Begin with the next chunk, if there is one."""
        if not self._chunks:
            return []
        return [Begin(self._chunks[0]), *self._call()]

    def _call(self) -> list[Command]:
        """Call the members for the next task of the first chunk."""
        ranks = self._chunks[0].ranks
        self._serial += 1
        self._state = _Calling(gang_id(self._rank, self._serial), set(ranks))
        return [Call(self._state.gang, ranks)]

    def _seated(self, event: Seated, now: float) -> list[Command]:
        state = self._state
        if not isinstance(state, _Calling) or state.gang != event.gang:
            return []  # it was dismissed meanwhile
        state.absent.discard(event.rank)
        if state.absent:
            return []
        given = self._chunks[0]
        self._state = _Inside(state.gang, set(given.ranks), now)
        return [Enter(state.gang, given)]

    def _left(self, event: Left, now: float) -> list[Command]:
        state = self._state
        if not isinstance(state, _Inside) or state.gang != event.gang:
            raise InvalidEvent("the conductor", repr(event), f"the state is {state}")
        state.inside.discard(event.rank)
        if state.inside:
            if event.failed and state.lost is None:
                state.deadline = min(state.deadline, now + GRACE)
            return []
        return self._ended(now - state.since)

    def _ended(self, took: float) -> list[Command]:
        given = self._chunks[0]
        assert isinstance(self._state, _Inside)
        if self._state.lost is not None:
            bereft = Bereave(given, self._state.lost)
            return [bereft, *self._next()]
        rest = given.count - 1
        gives_back = took > LONG or given.lease in self._wanted_back or self._stopped
        report = Report(given, rest if gives_back else 0)
        if rest and not gives_back:
            self._state = None
            self._chunks[0] = replace(given, first=given.first + 1, count=rest)
            return [report, *self._call()]
        return [report, *self._next()]

    def _next(self) -> list[Command]:
        """Be done with the first chunk."""
        self._state = None
        self._wanted_back.discard(self._chunks.popleft().lease)
        return self._begin()

    def _recall(self, lease: LeaseId) -> list[Command]:
        running = self._running
        commands = self._give_back([given for given in self._chunks if given.lease == lease])
        if running and running.lease == lease and isinstance(self._state, _Inside):
            self._wanted_back.add(lease)  # code inside MPI can't be interrupted
        return commands

    def _lose(self, rank: Rank, now: float) -> list[Command]:
        state, running = self._state, self._running
        if running and rank in running.ranks and isinstance(state, _Inside):
            state.lost, state.deadline = rank, inf
            state.inside.discard(rank)
        commands = self._give_back([given for given in self._chunks if rank in given.ranks])
        if isinstance(state, _Inside) and not state.inside:
            commands += self._ended(now - state.since)
        return commands

    @property
    def _running(self) -> Given | None:
        return self._chunks[0] if self._state else None

    def _give_back(self, chunks: list[Given]) -> list[Command]:
        """Return those of these chunks of which no task is being run."""
        running = self._chunks.popleft() if self._state else None
        commands: list[Command] = [
            GiveBack(given, begun=False) for given in self._chunks if given in chunks
        ]
        self._chunks = deque(given for given in self._chunks if given not in chunks)
        if running and running in chunks and isinstance(self._state, _Calling):
            commands += [*self._dismiss(running), GiveBack(running, begun=True)]
            return commands + self._begin()
        if running:
            self._chunks.appendleft(running)
        return commands

    def _stop(self) -> list[Command]:
        self._stopped = True
        running = self._chunks[0] if self._state else None
        self._chunks.clear()
        if running and isinstance(self._state, _Inside):
            self._chunks.append(running)
            return []
        return self._dismiss(running) if running else []

    def _dismiss(self, running: Given) -> list[Command]:
        assert self._state
        gang, self._state = self._state.gang, None
        return [Dismiss(gang, running.ranks)]

    def _expire(self, now: float) -> list[Command]:
        state = self._state
        if not isinstance(state, _Inside) or now < state.deadline:
            return []
        state.deadline = inf
        self._stopped = True
        return [GiveUp(self._chunks[0], tuple(sorted(state.inside)))]
