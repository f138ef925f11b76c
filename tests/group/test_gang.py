"""Who enters a gang when: two phases, one seat per rank, and when to give up."""

import random
from functools import partial

import pytest

from mpipool.errors import InvalidEvent
from mpipool.group.gang import (
    GRACE,
    LONG,
    Begin,
    Call,
    Conductor,
    Dismiss,
    Enter,
    GiveBack,
    Given,
    GiveUp,
    Left,
    Recalled,
    Report,
    Seated,
    Stopped,
    Ticked,
)
from mpipool.group.seat import Seat, Take
from mpipool.ids import ChunkId, GangId, LeaseId, Rank, first_of, gang_id

FIRST = Rank(4)
RANKS = (Rank(4), Rank(2), Rank(7))
ONE, TWO, THREE = (gang_id(FIRST, serial) for serial in (1, 2, 3))


def given(lease=1, chunk=1, first=0, count=1, ranks=RANKS) -> Given:
    return Given(LeaseId(lease), ChunkId(chunk), ranks, first, count)


def seat_all(conductor, gang, ranks=RANKS, now=0.0):
    """Seat the members; only the last one has a consequence."""
    *early, last = ranks
    for rank in early:
        assert conductor.handle(Seated(gang, rank), now) == []
    return conductor.handle(Seated(gang, last), now)


def leave_all(conductor, gang, ranks=RANKS, now=0.0):
    *early, last = ranks
    for rank in early:
        assert conductor.handle(Left(gang, rank, False), now) == []
    return conductor.handle(Left(gang, last, False), now)


# --- the conductor -------------------------------------------------------------------------------


def test_members_are_called_enter_when_all_are_seated_and_the_task_ends_when_all_have_left():
    conductor, task = Conductor(FIRST), given()
    assert conductor.handle(task, 0.0) == [Begin(task), Call(ONE, RANKS)]
    assert seat_all(conductor, ONE) == [Enter(ONE, task)]
    assert leave_all(conductor, ONE) == [Report(task, 0)]


def test_the_id_of_a_gang_says_who_is_its_first_member_and_is_never_used_again():
    assert first_of(ONE) == first_of(TWO) == FIRST
    assert len({ONE, TWO, gang_id(Rank(2), 1)}) == 3


def test_each_task_of_a_chunk_is_a_gang_of_its_own():
    conductor, chunk = Conductor(FIRST), given(first=5, count=2)
    conductor.handle(chunk, 0.0)
    assert seat_all(conductor, ONE) == [Enter(ONE, chunk)]
    rest = given(first=6, count=1)
    assert leave_all(conductor, ONE) == [Report(chunk, 0), Call(TWO, RANKS)]
    assert seat_all(conductor, TWO) == [Enter(TWO, rest)]
    assert leave_all(conductor, TWO) == [Report(rest, 0)]


def test_after_a_long_task_the_rest_of_the_chunk_goes_back():
    conductor, chunk = Conductor(FIRST), given(count=5)
    conductor.handle(chunk, 0.0)
    seat_all(conductor, ONE, now=100.0)  # waiting for the members does not count
    assert leave_all(conductor, ONE, now=100.0 + LONG / 2) == [Report(chunk, 0), Call(TWO, RANKS)]
    rest = given(first=1, count=4)
    seat_all(conductor, TWO, now=200.0)
    assert leave_all(conductor, TWO, now=200.0 + 2 * LONG) == [Report(rest, 3)]


def test_a_chunk_waits_for_the_one_before():
    conductor, chunk, other = Conductor(FIRST), given(), given(lease=2, ranks=RANKS[:2])
    conductor.handle(chunk, 0.0)
    assert conductor.handle(other, 0.0) == []
    seat_all(conductor, ONE)
    begun = [Report(chunk, 0), Begin(other), Call(TWO, RANKS[:2])]
    assert leave_all(conductor, ONE) == begun


def test_a_member_alone_is_a_gang_too():
    conductor, task = Conductor(FIRST), given(ranks=(FIRST,))
    assert conductor.handle(task, 0.0) == [Begin(task), Call(ONE, (FIRST,))]
    assert seat_all(conductor, ONE, (FIRST,)) == [Enter(ONE, task)]
    assert leave_all(conductor, ONE, (FIRST,)) == [Report(task, 0)]


def test_what_is_recalled_while_members_are_called_is_dismissed_and_goes_back():
    conductor, chunk, same, other = Conductor(FIRST), given(), given(chunk=2), given(lease=2)
    for each in (chunk, same, other):
        conductor.handle(each, 0.0)
    conductor.handle(Seated(ONE, RANKS[0]), 0.0)
    assert conductor.handle(Recalled(LeaseId(1)), 0.0) == [
        GiveBack(same, begun=False), Dismiss(ONE, RANKS), GiveBack(chunk, begun=True),
        Begin(other), Call(TWO, RANKS),
    ]  # fmt: skip
    # It had sat down before it was dismissed.
    assert conductor.handle(Seated(ONE, RANKS[1]), 0.0) == []
    assert seat_all(conductor, TWO) == [Enter(TWO, other)]


def test_a_task_that_runs_can_not_be_recalled_but_what_is_behind_it_can():
    conductor, chunk = Conductor(FIRST), given(count=3)
    conductor.handle(chunk, 0.0)
    seat_all(conductor, ONE)
    assert conductor.handle(Recalled(LeaseId(1)), 0.0) == []
    assert leave_all(conductor, ONE) == [Report(chunk, 2)]


def test_a_recall_of_another_lease_changes_nothing():
    conductor, chunk = Conductor(FIRST), given(count=2)
    assert conductor.handle(Recalled(LeaseId(1)), 0.0) == []
    conductor.handle(chunk, 0.0)
    seat_all(conductor, ONE)
    assert conductor.handle(Recalled(LeaseId(9)), 0.0) == []
    assert leave_all(conductor, ONE) == [Report(chunk, 0), Call(TWO, RANKS)]


def test_members_who_do_not_come_back_after_an_exception_are_given_up():
    conductor, chunk = Conductor(FIRST), given(count=2)
    conductor.handle(chunk, 0.0)
    seat_all(conductor, ONE)
    assert conductor.handle(Ticked(), 1000.0) == []  # it may take as long as it likes
    assert conductor.handle(Left(ONE, RANKS[1], True), 1000.0) == []
    assert conductor.handle(Ticked(), 1000.0 + GRACE - 0.1) == []
    missing = (RANKS[0], RANKS[2])
    assert conductor.handle(Ticked(), 1000.0 + GRACE) == [GiveUp(chunk, missing)]
    assert conductor.handle(Ticked(), 1000.0 + 2 * GRACE) == []  # said once


def test_the_grace_begins_with_the_first_exception():
    conductor = Conductor(FIRST)
    conductor.handle(given(), 0.0)
    seat_all(conductor, ONE)
    conductor.handle(Left(ONE, RANKS[1], True), 10.0)
    conductor.handle(Left(ONE, RANKS[0], True), 10.0 + GRACE / 2)
    assert conductor.handle(Ticked(), 10.0 + GRACE) == [GiveUp(given(), (RANKS[2],))]


def test_members_who_return_while_others_compute_are_no_reason_to_give_up():
    conductor = Conductor(FIRST)
    conductor.handle(given(), 0.0)
    seat_all(conductor, ONE)
    conductor.handle(Left(ONE, RANKS[1], False), 0.0)
    assert conductor.handle(Ticked(), 10 * GRACE) == []


def test_when_the_run_ends_who_was_called_is_dismissed_and_nothing_begins():
    conductor = Conductor(FIRST)
    conductor.handle(given(count=2), 0.0)
    conductor.handle(given(lease=2), 0.0)
    assert conductor.handle(Stopped(), 0.0) == [Dismiss(ONE, RANKS)]
    assert conductor.handle(given(lease=3), 0.0) == []
    assert conductor.handle(Seated(ONE, RANKS[0]), 0.0) == []


def test_when_the_run_ends_a_running_task_may_end():
    conductor, chunk = Conductor(FIRST), given(count=2)
    conductor.handle(chunk, 0.0)
    conductor.handle(given(lease=2), 0.0)
    seat_all(conductor, ONE)
    assert conductor.handle(Stopped(), 0.0) == []
    assert leave_all(conductor, ONE) == [Report(chunk, 1)]


@pytest.mark.parametrize("gang", [ONE, THREE])
def test_nobody_leaves_what_has_not_been_entered(gang):
    conductor = Conductor(FIRST)
    conductor.handle(given(), 0.0)
    with pytest.raises(InvalidEvent):
        conductor.handle(Left(gang, RANKS[0], False), 0.0)


# --- the seat ------------------------------------------------------------------------------------

A, B, C = map(GangId, (1, 2, 3))


def test_a_seat_has_one_gang_at_a_time_in_the_order_of_the_calls():
    seat = Seat()
    assert seat.called(A) == [Take(A)]
    assert seat.called(B) == seat.called(C) == []
    seat.entered(A)
    assert seat.freed() == [Take(B)]
    seat.entered(B)
    assert seat.freed() == [Take(C)]


def test_a_dismissed_gang_makes_room():
    seat = Seat()
    seat.called(A)
    seat.called(B)
    seat.called(C)
    assert seat.dismissed(B) == []
    assert seat.dismissed(A) == [Take(C)]


def test_a_gang_that_was_dismissed_after_another_had_the_seat_changes_nothing():
    seat = Seat()
    seat.called(A)
    seat.dismissed(A)
    seat.called(B)
    assert seat.dismissed(A) == []
    seat.entered(B)
    assert seat.holder == B


@pytest.mark.parametrize("gang", [A, B])
def test_only_who_has_the_seat_enters_and_once(gang):
    seat = Seat()
    seat.called(A)
    if gang == A:
        seat.entered(A)
    with pytest.raises(InvalidEvent):
        seat.entered(gang)


# --- together ------------------------------------------------------------------------------------


class World:
    """Ranks with a conductor and a seat each, and messages which take any time.

    A gang begins as soon as those before it have been reported, as the broker lends ranks: a member
    may not have left its seat by then.
    """

    def __init__(self, chance: random.Random, size: int) -> None:
        self.chance = chance
        self.conductors = {Rank(rank): Conductor(Rank(rank)) for rank in range(size)}
        self.seats = {Rank(rank): Seat() for rank in range(size)}
        self.channels: dict[tuple[Rank, Rank], list] = {}
        self.inside: dict[GangId, set[Rank]] = {}
        self.leaving: dict[Rank, GangId] = {}
        """Main threads which have reported and are not free yet."""
        self.waiting = [self.any_gang(lease) for lease in range(1, 13)]
        self.running: dict[LeaseId, int] = {}
        """How many tasks of a lease are not back."""
        self.busy: dict[Rank, LeaseId] = {}

    def any_gang(self, lease: int) -> Given:
        width = self.chance.randint(1, len(self.seats))
        members = tuple(self.chance.sample(list(self.seats), width))
        return given(lease, count=self.chance.randint(1, 3), ranks=members)

    def send(self, sender, to, message):
        self.channels.setdefault((sender, to), []).append(message)

    def conduct(self, rank, event):
        for command in self.conductors[rank].handle(event, 0.0):
            if isinstance(command, Enter):
                self.inside[command.gang] = set(command.given.ranks)
            if isinstance(command, Report):
                self.end(command.given, 1 + command.back)
            elif isinstance(command, GiveBack):
                self.end(command.given, command.given.count)
            elif not isinstance(command, Begin):
                ranks = command.given.ranks if isinstance(command, Enter) else command.ranks
                for to in ranks:
                    self.send(rank, to, command)

    def end(self, task, count):
        self.running[task.lease] -= count
        if not self.running[task.lease]:
            self.busy = {r: lease for r, lease in self.busy.items() if lease != task.lease}

    def sit(self, rank, takes):
        for take in takes:
            self.send(rank, first_of(take.gang), Seated(take.gang, rank))

    def begin(self):
        for gang in list(self.waiting):
            if not any(rank in self.busy for rank in gang.ranks):
                self.waiting.remove(gang)
                self.busy |= dict.fromkeys(gang.ranks, gang.lease)
                self.running[gang.lease] = gang.count
                self.conduct(gang.ranks[0], gang)

    def step(self):
        """Deliver a message, or let somebody out of the task, or off the seat."""
        ready = [partial(self.deliver, *key) for key, queue in self.channels.items() if queue]
        ready += [partial(self.leave, rank) for rank in self.seats if self.may_leave(rank)]
        ready += [partial(self.free, rank) for rank in self.leaving]
        self.chance.choice(ready)()

    def may_leave(self, rank):
        """As from a collective: nobody is through before all are in."""
        gang, seat = self.seats[rank].holder, self.seats[rank]
        members = self.inside.get(gang, set())
        together = all(self.seats[m].holder == gang and self.seats[m].inside for m in members)
        return seat.inside and rank in members and together

    def leave(self, rank):
        gang = self.seats[rank].holder
        self.inside[gang].discard(rank)
        self.leaving[rank] = gang
        self.send(rank, first_of(gang), Left(gang, rank, False))

    def free(self, rank):
        del self.leaving[rank]
        self.sit(rank, self.seats[rank].freed())

    def deliver(self, sender, to):
        message = self.channels[sender, to].pop(0)
        if isinstance(message, Call):
            self.sit(to, self.seats[to].called(message.gang))
        elif isinstance(message, Dismiss):
            self.sit(to, self.seats[to].dismissed(message.gang))
        elif isinstance(message, Enter):
            self.seats[to].entered(message.gang)
        else:
            self.conduct(to, message)


@pytest.mark.parametrize("seed", range(100))
def test_gangs_which_share_ranks_one_after_the_other_all_end(seed):
    chance = random.Random(seed)
    world = World(chance, chance.randint(2, 7))
    recalled = chance.sample(range(1, 13), 2)
    for step in range(100_000):
        world.begin()
        if not world.waiting and not any(world.running.values()):
            break
        world.step()
        if step % 100 == 50 and recalled:
            lease = LeaseId(recalled.pop())
            for conductor in world.conductors:
                world.conduct(conductor, Recalled(lease))
    assert not world.waiting
    assert not any(world.running.values())
