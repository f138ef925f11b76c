"""What becomes of leases, scatters, pins and gangs when a rank is gone."""

from builders import NOBODY, blocked, grant, led_by, on_nodes, returned, scheduler, wants
from mpipool.ids import LeaseId, Rank
from mpipool.needs import Needs
from mpipool.scheduler import (
    Pardon,
    RankJoined,
    RankLost,
    RankQuarantined,
    Reclaim,
    Refuse,
    Scheduler,
)
from mpipool.scheduler.invariants import check

A, B = led_by(NOBODY, 1), led_by(NOBODY, 2)


def play(machine: Scheduler, *events):
    commands = []
    for event in events:
        commands = machine.handle(event)
        check(machine)
    return commands


def lost(rank: int) -> RankLost:
    return RankLost(Rank(rank))


def reclaim(lease: int, rank: int) -> Reclaim:
    return Reclaim(LeaseId(lease), Rank(rank))


def test_a_lost_rank_is_lent_no_more_and_its_lease_is_returned_by_the_leader():
    machine = scheduler(1, 2)
    assert play(machine, wants(A, 2)) == [grant(1, A, 1), grant(2, A, 2)]
    assert play(machine, lost(1)) == []
    assert play(machine, returned(1, queued=1)) == []
    assert play(machine, returned(2, queued=1)) == [grant(3, A, 2)]
    assert list(machine.cores) == [2]


def test_an_idle_rank_that_is_lost_takes_nothing():
    machine = scheduler(1, 2)
    play(machine, lost(1))
    assert play(machine, wants(A, 2)) == [grant(1, A, 2)]


def test_what_a_lost_rank_led_is_dropped_and_its_ranks_are_asked_for_their_leases():
    machine = scheduler(1, 2, 3)
    play(machine, wants(A, 1), blocked(1, [1], [led_by(1)]))
    below = wants(led_by(1), 2, below=[A], parent=LeaseId(1))
    assert play(machine, below) == [grant(2, led_by(1), 1), grant(3, led_by(1), 2)]
    assert play(machine, lost(1)) == [reclaim(3, 2)]
    assert play(machine, returned(3)) == []
    assert play(machine, returned(1, queued=1)) == [grant(4, A, 3)]
    assert led_by(1) not in machine.demands


def test_a_scatter_whose_leader_is_lost_before_it_has_a_rank_is_forgotten():
    machine = scheduler(1, 2)
    play(machine, wants(A, 2), wants(led_by(1), 3, below=[A], parent=LeaseId(1)))
    assert play(machine, lost(1)) == []
    assert led_by(1) not in machine.demands
    assert play(machine, returned(2, queued=1)) == [grant(3, A, 2)]


def test_nothing_is_pinned_to_a_lost_rank_though_its_leader_still_says_so():
    machine = on_nodes((2, 0))
    play(machine, wants(A, 0, pins=(Rank(1), Rank(2))), returned(1, pins=(Rank(1),)))
    play(machine, lost(1))
    assert play(machine, wants(A, 0, pins=(Rank(1),))) == []
    assert not machine.pins
    assert play(machine, returned(2, queued=1)) == [grant(4, A, 2)]


def test_a_gang_which_is_now_too_large_is_refused():
    machine = on_nodes((3, 0))
    gang = Needs((3, 3), in_place=True)
    play(machine, wants(A, 1), wants(B, 1, needs=gang))
    (refused,) = play(machine, lost(3))
    assert isinstance(refused, Refuse)
    assert refused.scatter == B
    assert "needs 3 ranks and the run has 2" in refused.reason


def test_cores_are_kept_on_another_node_once_a_node_has_too_few_ranks_left():
    machine = on_nodes((2, 0), (2, 0))
    pair = Needs(threads=2)
    play(machine, wants(A, 4), wants(below := led_by(98), 1, below=[B], needs=pair))
    assert play(machine, returned(1, queued=3)) == []  # kept, until rank 2 is free too
    assert play(machine, lost(2)) == [grant(5, A, 1)]
    assert play(machine, returned(3, queued=2)) == []
    assert play(machine, returned(4, queued=2)) == [grant(6, below, 3, ranks=(3, 4))]


def test_a_rank_lost_before_it_has_joined_is_not_waited_for():
    machine = Scheduler(2)
    play(machine, wants(A, 1, needs=Needs((2, 2), in_place=True)))
    machine.handle(lost(1))
    commands = machine.handle(RankJoined(Rank(2)))
    assert [type(command) for command in commands] == [Refuse]


def test_the_members_of_a_gang_are_free_once_its_leader_returns_the_lease():
    machine = on_nodes((3, 0))
    (given,) = play(machine, wants(A, 1, needs=Needs((3, 3), in_place=True)))
    play(machine, lost(given.ranks[1]))
    first, _, last = given.ranks
    play(machine, returned(1))
    granted = play(machine, wants(B, 2))
    assert {command.rank for command in granted} == {first, last}


# --- quarantine ----------------------------------------------------------------------------------


def test_a_rank_in_quarantine_gets_nothing_and_what_is_on_it_goes_on():
    machine = scheduler(1, 2)
    play(machine, wants(A, 1))
    assert play(machine, RankQuarantined(Rank(1))) == []
    assert play(machine, returned(1, queued=2)) == [grant(2, A, 2)]


def test_a_quarantine_gives_way_before_something_is_refused():
    machine = on_nodes((3, 0))
    pair, three = Needs(threads=2), Needs(threads=3)
    play(machine, wants(A, 1, needs=pair))
    assert play(machine, RankQuarantined(Rank(3))) == []
    assert play(machine, wants(B, 1, needs=three)) == [Pardon((Rank(3),))]
    assert play(machine, returned(1)) == [grant(2, B, 3, ranks=(3, 1, 2))]


def test_what_is_open_keeps_a_rank_from_being_put_in_quarantine():
    machine = on_nodes((2, 0))
    play(machine, wants(A, 1), wants(B, 1, needs=Needs(threads=2)))
    assert play(machine, RankQuarantined(Rank(2))) == [Pardon((Rank(2),))]


def test_what_never_fits_is_refused_all_the_same():
    machine = on_nodes((2, 0))
    play(machine, RankQuarantined(Rank(2)))
    pardon, refused = play(machine, wants(B, 1, needs=Needs(threads=3)))
    assert (pardon, refused.scatter) == (Pardon((Rank(2),)), B)
