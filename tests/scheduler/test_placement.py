"""Which scatter gets which rank, and when."""

import pytest

from builders import NOBODY, blocked, grant, led_by, returned, scheduler, wants
from mpipool.errors import InvalidEvent
from mpipool.ids import Rank
from mpipool.scheduler import RankJoined, RankLost, RankQuarantined, Scheduler
from mpipool.scheduler.invariants import check

A, B, C, D = (led_by(NOBODY, serial) for serial in (1, 2, 3, 4))


def played(machine: Scheduler, *events):
    """Return the grants after each event; the invariants hold in between."""
    grants = []
    for event in events:
        grants.append(machine.handle(event))
        check(machine)
    return grants


# --- how many ranks ------------------------------------------------------------------------------


def test_a_rank_which_nobody_wants_waits_until_somebody_does():
    assert played(Scheduler(), RankJoined(Rank(1)), wants(A, 1)) == [[], [grant(1, A, 1)]]


def test_a_demand_without_ranks_waits_until_one_joins():
    assert played(Scheduler(), wants(A, 1), RankJoined(Rank(1))) == [[], [grant(1, A, 1)]]


def test_a_scatter_gets_one_rank_for_each_task_in_the_order_in_which_they_joined():
    machine = scheduler(3, 1, 2)
    assert played(machine, wants(A, 2)) == [[grant(1, A, 3), grant(2, A, 1)]]
    assert played(machine, wants(B, 2)) == [[grant(3, B, 2)]]


def test_a_scatter_gets_the_ranks_that_there_are_and_the_others_as_they_join():
    joins = [RankJoined(Rank(rank)) for rank in (2, 3, 4)]
    assert played(scheduler(1), wants(A, 3), *joins) == [
        [grant(1, A, 1)],
        [grant(2, A, 2)],
        [grant(3, A, 3)],
        [],  # each of three ranks will take a task
    ]


def test_what_a_leader_says_is_queued_replaces_what_it_said_before():
    machine = scheduler(1, 2, 3, 4, 5)
    assert played(machine, wants(A, 2), wants(A, 1), wants(A, 0), wants(A, 1)) == [
        [grant(1, A, 1), grant(2, A, 2)],
        [grant(3, A, 3)],
        [],
        [grant(4, A, 4)],
    ]


def test_a_returned_rank_is_lent_anew_under_another_lease():
    machine = scheduler(1)
    assert played(machine, wants(A, 9), returned(1, 8), returned(2, 7), returned(3)) == [
        [grant(1, A, 1)],
        [grant(2, A, 1)],
        [grant(3, A, 1)],
        [],
    ]


def test_a_returned_lease_says_how_much_is_queued_and_so_ranks_which_idled_are_lent():
    machine = scheduler(1, 2, 3)
    assert played(machine, wants(A, 1), returned(1, 2)) == [
        [grant(1, A, 1)],
        [grant(2, A, 2), grant(3, A, 3)],
    ]


def test_a_rank_returned_by_one_scatter_goes_to_the_one_that_waits():
    machine = scheduler(1)
    assert played(machine, wants(A, 1), wants(B, 1), returned(1), returned(2)) == [
        [grant(1, A, 1)],
        [],
        [grant(2, B, 1)],
        [],
    ]


# --- in which order ------------------------------------------------------------------------------


def order_of(*demands, ranks: int = 1):
    """Return the scatters which get the first ranks when all of these wait."""
    machine = Scheduler()
    played(machine, *demands)
    return [g.scatter for n in range(ranks) for g in machine.handle(RankJoined(Rank(n)))]


def test_deeper_scatters_come_first_however_short():
    assert order_of(wants(A, 1, 1000.0), wants(B, 1, 1.0, below=[A]), ranks=2) == [B, A]
    assert order_of(wants(B, 1, 1.0, below=[A]), wants(A, 1, 1000.0), ranks=2) == [B, A]


def test_the_scatter_with_the_longest_time_before_it_comes_first():
    assert order_of(wants(A, 5, 10.0), wants(B, 1, 20.0), ranks=3) == [B, A, A]


def test_the_time_is_shared_by_the_ranks_which_a_scatter_has():
    assert order_of(wants(A, 9, 10.0), wants(B, 9, 25.0), ranks=5) == [B, B, A, B, B]


def test_a_tenth_more_is_a_tie_for_the_scatter_that_opened_first():
    assert order_of(wants(A, 1, 10.0), wants(B, 1, 10.3), ranks=2) == [A, B]
    assert order_of(wants(A, 1, 10.0), wants(B, 1, 11.5), ranks=2) == [B, A]


def test_a_scatter_keeps_its_turn_when_it_says_more():
    assert order_of(wants(A, 1, 10.0), wants(B, 1, 10.0), wants(A, 2, 10.0)) == [A]


def test_while_nothing_is_known_each_task_counts_a_second():
    assert order_of(wants(A, 2), wants(B, 1, 5.0), ranks=2) == [B, A]
    assert order_of(wants(A, 2), wants(B, 4), ranks=3) == [B, A, B]


def test_a_demand_has_the_place_of_its_latest_report():
    assert order_of(wants(A, 1, 50.0), wants(B, 1, 20.0), wants(A, 1, 5.0), ranks=3) == [B, A]
    assert order_of(wants(A, 1, 5.0), wants(B, 1, 20.0), wants(A, 1, 50.0), ranks=3) == [A, B]


def test_a_long_run_leaves_no_trail_in_the_heap():
    machine = scheduler(1, 2)
    machine.handle(wants(A, 100, 1e4))
    machine.handle(wants(B, 100, 1e4))
    for lease in range(1, 500):
        assert len(machine.handle(returned(lease, 100, 1e4))) == 1
    assert len(machine.demands._heap) < 100


def test_a_demand_which_no_rank_may_meet_leaves_no_trail_either():
    machine = scheduler(1)
    machine.handle(wants(A, 2))
    machine.handle(blocked(1, [1], [led_by(1, 1)]))
    machine.handle(blocked(1, [1, 2], [led_by(1, 1), led_by(1, 2)]))
    for _ in range(500):
        assert machine.handle(wants(B, 100)) == []
    assert len(machine.demands._heap) < 100


# --- which rank ----------------------------------------------------------------------------------


def test_the_leaders_own_rank_comes_first():
    mine = led_by(2)
    assert played(scheduler(1, 2, 3), wants(mine, 2)) == [[grant(1, mine, 2), grant(2, mine, 1)]]


def test_a_blocked_core_is_lent_again_and_one_which_resumed_is_not():
    machine = scheduler(1)
    inner = led_by(1)
    assert played(
        machine,
        wants(A, 1),
        blocked(1, [1], [inner]),
        wants(inner, 1, below=[A]),
        wants(B, 2),
        returned(2),
        blocked(1),
        wants(C, 1),
    ) == [[grant(1, A, 1)], [], [grant(2, inner, 1)], [], [grant(3, B, 1)], [], []]


def test_a_core_is_blocked_only_when_all_its_leases_are():
    machine = scheduler(1)
    inner = led_by(1)
    assert played(machine, wants(A, 1), blocked(1, [1], [inner]), wants(B, 2)) == [
        [grant(1, A, 1)],
        [],
        [grant(2, B, 1)],
    ]
    # Lease 2 runs beside the blocked lease 1, and nothing more is lent until it is blocked too.
    assert played(machine, blocked(1, [1], [inner]), wants(inner, 1, below=[A])) == [[], []]
    assert played(machine, blocked(1, [1, 2], [inner, led_by(1, 2)])) == [[grant(3, inner, 1)]]


def test_a_rank_with_two_stacks_takes_descendants_only_and_others_wait_without_being_forgotten():
    machine = scheduler(1)
    first, second = led_by(1, 1), led_by(1, 2)
    below_first = led_by(5, 1)
    assert played(
        machine,
        wants(A, 2),
        blocked(1, [1], [first]),
        blocked(1, [1, 2], [first, second]),
        wants(C, 1, 1e6),
        wants(below_first, 1, below=[A, first]),
        RankJoined(Rank(7)),
    ) == [
        [grant(1, A, 1)],
        [grant(2, A, 1)],
        [],
        [],  # C would open a third stack
        [grant(3, below_first, 1)],
        [grant(4, C, 7)],
    ]


def test_a_more_urgent_demand_without_a_rank_does_not_hold_up_others():
    machine = scheduler(1)
    first, second = led_by(1, 1), led_by(1, 2)
    deep = wants(D, 1, below=[B, C])
    assert played(
        machine,
        wants(A, 2),
        blocked(1, [1], [first]),
        blocked(1, [1, 2], [first, second]),
        deep,
        wants(led_by(5), 2, below=[first]),
        RankJoined(Rank(7)),
        RankJoined(Rank(8)),
    ) == [
        [grant(1, A, 1)],
        [grant(2, A, 1)],
        [],
        [],
        [grant(3, led_by(5), 1)],
        [grant(4, D, 7)],
        [grant(5, led_by(5), 8)],
    ]


# --- the end of a scatter ------------------------------------------------------------------------


def test_a_closed_scatter_gets_no_rank_and_is_forgotten():
    machine = scheduler(1)
    assert played(machine, wants(A, 1, closed=True)) == [[]]
    assert A not in machine.demands


def test_a_scatter_which_closes_while_it_waits_is_forgotten():
    machine = Scheduler()
    assert played(machine, wants(A, 1), wants(A, 1, closed=True)) == [[], []]
    assert A not in machine.demands
    assert played(machine, RankJoined(Rank(1)), wants(B, 1)) == [[], [grant(1, B, 1)]]


def test_a_closed_scatter_is_remembered_until_its_last_rank_is_back():
    machine = scheduler(1, 2)
    assert played(machine, wants(A, 2), wants(A, 5, closed=True), returned(2, 3)) == [
        [grant(1, A, 1), grant(2, A, 2)],
        [],
        [],  # though three are queued, says a report which crossed with the closing one
    ]
    assert A in machine.demands
    assert played(machine, returned(1, 3)) == [[]]
    assert A not in machine.demands
    assert machine.leases == {}


def test_an_open_scatter_without_ranks_is_not_forgotten():
    machine = scheduler(1)
    played(machine, wants(A, 1), returned(1))
    assert A in machine.demands


# --- quanta --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "quantum"), [(1, 0.1), (1000, 0.1), (1001, 0.1001), (2000, 0.2), (100_000, 10.0)]
)
def test_a_quantum_grows_with_the_ranks_so_that_no_more_than_10000_a_second_return(ranks, quantum):
    machine = Scheduler()
    for rank in range(ranks):
        machine.cores.join(Rank(rank))
    assert machine.quantum == pytest.approx(quantum)
    mine = led_by(0)
    assert machine.handle(wants(mine, 1)) == [grant(1, mine, 0, machine.quantum)]


# --- what can't be -------------------------------------------------------------------------------


def refused(machine: Scheduler, event) -> tuple[str, str, str]:
    with pytest.raises(InvalidEvent) as caught:
        machine.handle(event)
    return caught.value.args


def test_a_rank_joins_once():
    assert refused(scheduler(1), RankJoined(Rank(1))) == (
        "scheduler", "RankJoined(1)", "the rank has joined before",
    )  # fmt: skip


def test_a_lease_returns_once():
    machine = scheduler(1)
    played(machine, wants(A, 1), returned(1))
    story = ("scheduler", "LeaseReturned(1)", "no such lease is out")
    assert refused(machine, returned(1)) == story


def test_only_a_rank_that_joined_is_blocked():
    story = ("scheduler", "CoreBlocked(2)", "the rank has not joined")
    assert refused(scheduler(1), blocked(2)) == story


def test_a_quarantined_rank_is_lent_no_more_and_what_it_has_goes_on():
    machine = scheduler(1, 2)
    machine.handle(wants(A, 5))
    assert machine.handle(RankQuarantined(Rank(1))) == []
    assert machine.handle(returned(1, queued=3)) == []
    assert machine.handle(returned(2, queued=3)) == [grant(3, A, 2)]
    assert list(machine.cores) == [2]


def test_a_rank_which_is_quarantined_and_then_lost_counts_once():
    machine = Scheduler(size=3)
    for rank in (1, 2, 3):
        machine.handle(RankJoined(Rank(rank)))
    machine.handle(RankQuarantined(Rank(1)))
    machine.handle(RankLost(Rank(1)))
    assert machine.is_complete
    assert len(machine.cores) == 2
    machine.handle(wants(A, 5))
    assert len(machine.leases) == 2
