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

# --- the conductor -------------------------------------------------------------------------------


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
class Stopped:
    """Event: the run ends; no task is begun any more, and nobody wants any back."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Event: time went by."""


Event = Given | Seated | Left | Recalled | Stopped | Ticked


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
class GiveUp:
    """Command: end the run; these members will not come back from the first task."""

    given: Given
    missing: tuple[Rank, ...]


Command = Begin | Call | Enter | Dismiss | Report | GiveBack | GiveUp


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
            if event.failed:
                state.deadline = min(state.deadline, now + GRACE)
            return []
        return self._ended(now - state.since)

    def _ended(self, took: float) -> list[Command]:
        given = self._chunks[0]
        rest = given.count - 1
        gives_back = took > LONG or given.lease in self._wanted_back or self._stopped
        report = Report(given, rest if gives_back else 0)
        self._state = None
        if rest and not gives_back:
            self._chunks[0] = replace(given, first=given.first + 1, count=rest)
            return [report, *self._call()]
        self._chunks.popleft()
        self._wanted_back.discard(given.lease)
        return [report, *self._begin()]

    def _recall(self, lease: LeaseId) -> list[Command]:
        running = self._chunks.popleft() if self._state else None
        commands: list[Command] = [
            GiveBack(given, begun=False) for given in self._chunks if given.lease == lease
        ]
        self._chunks = deque(given for given in self._chunks if given.lease != lease)
        if running is None:
            return commands
        if running.lease == lease and isinstance(self._state, _Calling):
            commands += [*self._dismiss(running), GiveBack(running, begun=True)]
            return commands + self._begin()
        if running.lease == lease:  # code inside MPI can't be interrupted
            self._wanted_back.add(lease)
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


# --- a member ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Take:
    """Command: the seat is this gang's; tell its conductor."""

    gang: GangId


class Seat:
    """Who has the main thread of this rank, and who waits for it.

    Attributes
    ----------
    holder : GangId or None
        The gang which has it.
    inside : bool
        Whether it has entered.
    """

    def __init__(self) -> None:
        self.holder: GangId | None = None
        self.inside = False
        self._waiting: deque[GangId] = deque()

    def called(self, gang: GangId) -> list[Take]:
        """Give the seat to a gang, now or when it is free."""
        self._waiting.append(gang)
        return self._next()

    def dismissed(self, gang: GangId) -> list[Take]:
        """Drop a gang which will not be."""
        if gang in self._waiting:
            self._waiting.remove(gang)
        if self.holder == gang and not self.inside:
            self.holder = None
        return self._next()

    def entered(self, gang: GangId) -> None:
        """Note that the gang has begun.

        Raises
        ------
        InvalidEvent
            If the seat is not this gang's: a bug.
        """
        if self.holder != gang or self.inside:
            raise InvalidEvent("the seat", f"the entry of gang {gang}", f"{self.holder} has it")
        self.inside = True

    def freed(self) -> list[Take]:
        """Note that the main thread has nothing to do any more."""
        self.holder, self.inside = None, False
        return self._next()

    def _next(self) -> list[Take]:
        if self.holder is not None or not self._waiting:
            return []
        self.holder = self._waiting.popleft()
        return [Take(self.holder)]
