"""What the machines of a leader and of gangs decide when a rank is gone."""

from builders import done, give, given, lent, scatter_of
from mpipool.group import Scatter
from mpipool.group.events import Extended, Lent, RankLost
from mpipool.group.gang import (
    GRACE,
    Begin,
    Bereave,
    Call,
    Conductor,
    Dismiss,
    GiveBack,
    Given,
    Left,
    Seated,
    Ticked,
)
from mpipool.group.gang import RankLost as MemberLost
from mpipool.group.seat import Seat, Take
from mpipool.ids import ChunkId, ExecutorId, LeaseId, Rank, gang_id

FIRST, SECOND, THIRD = RANKS = (Rank(4), Rank(2), Rank(7))
ONE, TWO = gang_id(FIRST, 1), gang_id(FIRST, 2)


# --- a scatter -----------------------------------------------------------------------------------


def test_tasks_whose_caches_were_on_a_lost_rank_go_anywhere():
    machine = Scatter()
    pins = ((0, Rank(1), ExecutorId(5)), (1, Rank(2), ExecutorId(6)))
    machine.handle(Extended(2, 16, True, pins=pins), 0.0)
    (demand,) = machine.handle(RankLost(Rank(1)), 0.0)
    assert (demand.queued, demand.pins) == (1, (Rank(2),))
    assert given(machine.handle(lent(1, rank=3), 0.0)) == [give(1, 1, 0, rank=3)]
    assert given(machine.handle(lent(2, rank=2), 0.0)) == [give(2, 2, 1, rank=2, executor=6)]


def test_what_a_lost_rank_had_of_pinned_tasks_goes_anywhere_too():
    machine = Scatter()
    machine.handle(Extended(1, 8, True, pins=((0, Rank(1), ExecutorId(5)),)), 0.0)
    machine.handle(Lent(LeaseId(1), Rank(1), 0.1), 0.0)
    machine.handle(RankLost(Rank(1)), 0.0)
    machine.handle(done(1, 1, 0, lost=(0,), gone=True, leave=True), 0.0)
    assert given(machine.handle(lent(2, rank=2), 0.0)) == [give(2, 2, 0, attempt=2, rank=2)]


def test_a_task_that_takes_ranks_along_again_and_again_counts_as_failed():
    machine = scatter_of(1)
    for time in range(3):
        machine.handle(lent(time + 1, rank=time + 1), 0.0)
        assert not machine.complete
        machine.handle(done(time + 1, time + 1, 0, lost=(0,), gone=True, leave=True), 0.0)
    assert machine.complete


# --- a gang --------------------------------------------------------------------------------------


def chunk(number: int = 1, lease: int = 1, ranks=RANKS, count: int = 1) -> Given:
    return Given(LeaseId(lease), ChunkId(number), ranks, 0, count)


def entered(*chunks: Given) -> Conductor:
    conductor = Conductor(FIRST)
    for each in chunks:
        conductor.handle(each, 0.0)
    for rank in chunks[0].ranks:
        conductor.handle(Seated(ONE, rank), 0.0)
    return conductor


def test_a_gang_that_is_being_called_is_dismissed_with_a_lost_member_and_the_next_begins():
    conductor, other = Conductor(FIRST), chunk(2, 2, (FIRST, THIRD))
    conductor.handle(chunk(), 0.0)
    conductor.handle(other, 0.0)
    assert conductor.handle(MemberLost(SECOND), 0.0) == [
        Dismiss(ONE, RANKS), GiveBack(chunk(), begun=True), Begin(other), Call(TWO, other.ranks),
    ]  # fmt: skip


def test_what_waits_goes_back_if_a_member_is_lost_though_another_gang_runs():
    running, waiting = chunk(1, 1, (FIRST, THIRD)), chunk(2, 2)
    conductor = entered(running, waiting)
    assert conductor.handle(MemberLost(SECOND), 0.0) == [GiveBack(waiting, begun=False)]


def test_a_task_is_lost_with_a_member_once_the_others_are_out():
    conductor = entered(chunk(count=3))
    assert conductor.handle(MemberLost(SECOND), 1.0) == []
    assert conductor.handle(Left(ONE, THIRD, True), 2.0) == []
    assert conductor.handle(Ticked(), 2.0 + 2 * GRACE) == []  # each looks after itself
    assert conductor.handle(Left(ONE, FIRST, True), 3.0) == [Bereave(chunk(count=3), SECOND)]


def test_the_others_may_have_noticed_before():
    conductor = entered(chunk())
    conductor.handle(Left(ONE, THIRD, True), 0.0)
    conductor.handle(Left(ONE, FIRST, True), 0.0)
    assert conductor.handle(MemberLost(SECOND), 1.0) == [Bereave(chunk(), SECOND)]


def test_a_member_which_does_not_come_out_is_lost_too():
    conductor = entered(chunk())
    conductor.handle(MemberLost(SECOND), 0.0)
    conductor.handle(Left(ONE, FIRST, True), 0.0)
    assert conductor.handle(MemberLost(THIRD), GRACE) == [Bereave(chunk(), THIRD)]


def test_a_seat_is_not_kept_for_a_gang_whose_first_member_is_gone():
    seat, other = Seat(), gang_id(THIRD, 1)
    seat.called(ONE)
    seat.called(TWO)
    seat.called(other)
    assert seat.lost(FIRST) == [Take(other)]


def test_a_seat_stays_taken_while_the_task_is_inside():
    seat, other = Seat(), gang_id(THIRD, 1)
    seat.called(ONE)
    seat.entered(ONE)
    seat.called(other)
    assert seat.lost(FIRST) == []
    assert seat.freed() == [Take(other)]
