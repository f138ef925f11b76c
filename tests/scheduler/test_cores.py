"""Where ranks stand, and which of them is chosen."""

import pytest

from builders import led_by
from mpipool.ids import LeaseId, Rank
from mpipool.scheduler.cores import Cores, Place

NOBODY = Rank(99)
ROOT, P, Q, S, T = (led_by(NOBODY, serial) for serial in range(1, 6))


def cores(*ranks: int) -> Cores:
    made = Cores()
    for rank in ranks:
        made.join(Rank(rank))
    return made


def hold(made: Cores, rank: int, *leases: int, waiting=(), tops=()) -> None:
    """Put leases on a rank, some of which wait."""
    for lease in leases:
        made.lend(Rank(rank), LeaseId(lease))
    made.block(Rank(rank), frozenset(map(LeaseId, waiting)), tuple(tops))


def choice(made: Cores, path=(S,), home: int = NOBODY) -> Rank | None:
    return made.choose(tuple(path), Rank(home))


@pytest.mark.parametrize(
    ("leases", "waiting", "tops", "place"),
    [
        ((), (), (), Place.IDLE),
        ((), (1,), (S,), Place.IDLE),
        ((1,), (), (), Place.BUSY),
        ((1,), (1,), (S,), Place.SPARE),
        ((1,), (1,), (), Place.SPARE),
        ((1,), (1, 2), (S,), Place.SPARE),
        ((1, 2), (1,), (S,), Place.BUSY),
        ((1, 2), (1,), (S, T), Place.BUSY),
        ((1, 2), (1, 2), (S, T), Place.NARROW),
        ((1, 2, 3), (1, 2, 3), (P, S, T), Place.NARROW),
    ],
)
def test_a_rank_stands_where_its_leases_put_it(leases, waiting, tops, place):
    made = cores(1)
    hold(made, 1, *leases, waiting=waiting, tops=tops)
    assert made[Rank(1)].place is place
    assert made.any_free == (place is not Place.BUSY)


def test_it_does_not_matter_whether_a_lease_or_its_blocking_is_noted_first():
    made = cores(1)
    made.block(Rank(1), frozenset({LeaseId(1)}), (P,))
    made.lend(Rank(1), LeaseId(1))
    assert made[Rank(1)].place is Place.SPARE
    assert choice(made) == 1
    made.end(Rank(1), LeaseId(1))
    assert choice(made) == 1


def test_ranks_are_counted_and_known():
    made = cores(4, 5)
    assert len(made) == 2
    assert Rank(4) in made
    assert Rank(6) not in made
    assert not cores().any_free


def test_no_rank_is_chosen_where_none_is_free():
    made = cores(1)
    hold(made, 1, 1)
    assert choice(made, home=1) is None
    assert choice(made) is None


def test_the_home_rank_is_chosen_before_others():
    assert choice(cores(1, 2), home=2) == 2
    assert choice(cores(1, 2), home=3) == 1


def test_the_home_rank_is_chosen_though_it_must_open_another_stack():
    made = cores(1, 2)
    hold(made, 2, 1, waiting=[1], tops=[T])
    assert choice(made, home=2) == 2


def test_a_busy_home_rank_is_left_alone():
    made = cores(1, 2)
    hold(made, 2, 1)
    assert choice(made, home=2) == 1


def test_a_home_rank_with_two_stacks_takes_only_what_can_stand_on_one_of_them():
    made = cores(1)
    hold(made, 1, 1, 2, waiting=[1, 2], tops=[P, Q])
    assert choice(made, (S,), home=1) is None
    assert choice(made, (ROOT, P, S), home=1) == 1
    assert choice(made, (ROOT, Q, S), home=1) == 1
    assert choice(made, (P,), home=1) == 1


def test_a_home_rank_with_two_stacks_is_chosen_before_an_idle_one_if_the_task_can_stand_there():
    made = cores(1, 2)
    hold(made, 1, 1, 2, waiting=[1, 2], tops=[P, Q])
    assert choice(made, (P, S), home=1) == 1
    assert choice(made, (Q, S), home=1) == 1
    assert choice(made, (T, S), home=1) == 2


def test_an_idle_rank_is_chosen_before_one_with_a_stack_to_stand_on_and_that_before_a_spare_one():
    made = cores(1, 2, 3)
    hold(made, 1, 1, waiting=[1], tops=[T])
    hold(made, 2, 2, waiting=[2], tops=[P])
    assert choice(made, (P, S)) == 3
    hold(made, 3, 3)
    assert choice(made, (P, S)) == 2
    hold(made, 2, 4)
    assert choice(made, (P, S)) == 1
    hold(made, 1, 5)
    assert choice(made, (P, S)) is None


def test_the_stack_of_the_nearest_ancestor_is_chosen():
    made = cores(1, 2)
    hold(made, 1, 1, waiting=[1], tops=[P])
    hold(made, 2, 2, waiting=[2], tops=[Q])
    assert choice(made, (P, Q, S)) == 2
    assert choice(made, (Q, P, S)) == 1


def test_any_stack_of_a_narrow_rank_will_do():
    made = cores(1)
    hold(made, 1, 1, 2, waiting=[1, 2], tops=[P, Q])
    assert choice(made, (P, S)) == 1
    assert choice(made, (Q, S)) == 1
    assert choice(made, (T, S)) is None
    assert made.any_free


def test_a_rank_is_found_under_what_blocks_it_now_and_not_under_what_did():
    made = cores(1)
    hold(made, 1, 1, 2, waiting=[1, 2], tops=[P, Q])
    hold(made, 1, waiting=[1, 2], tops=[Q, T])
    assert choice(made, (P, S)) is None
    assert choice(made, (T, S)) == 1


def test_two_ranks_blocked_in_one_scatter_are_lent_one_after_the_other():
    made = cores(1, 2)
    for rank in (1, 2):
        hold(made, rank, rank, rank + 10, waiting=[rank, rank + 10], tops=[P, led_by(rank)])
    assert choice(made, (P, S)) == 1
    made.lend(Rank(1), LeaseId(5))
    assert choice(made, (P, S)) == 2
    made.end(Rank(1), LeaseId(5))
    made.lend(Rank(2), LeaseId(6))
    assert choice(made, (P, S)) == 1


def test_a_rank_is_idle_when_its_last_lease_has_ended():
    made = cores(1)
    hold(made, 1, 1, 2)
    made.end(Rank(1), LeaseId(1))
    assert made[Rank(1)].leases == {2}
    assert choice(made) is None
    made.end(Rank(1), LeaseId(2))
    assert choice(made) == 1


def test_indices_hold_nothing_of_what_is_over():
    made = cores(1)
    hold(made, 1, 1, waiting=[1], tops=[P])
    made.end(Rank(1), LeaseId(1))
    made.block(Rank(1), frozenset(), ())
    assert made.common.under == {}
    assert {place: list(pool) for place, pool in made.common.pools.items()} == {
        Place.IDLE: [1], Place.SPARE: [], Place.NARROW: [],
    }  # fmt: skip


# --- leases on several ranks ---------------------------------------------------------------------


def test_ranks_held_for_threads_are_busy_until_the_lease_is_blocked_and_then_idle():
    made = cores(1, 2, 3)
    made.lend_several((Rank(1), Rank(2)), LeaseId(1), False)
    assert [made[Rank(rank)].place for rank in (1, 2)] == [Place.BUSY, Place.BUSY]
    assert made.ranks_of(LeaseId(1), Rank(1)) == (1, 2)
    made.block(Rank(1), frozenset({LeaseId(1)}), (P,))
    assert [made[Rank(rank)].place for rank in (1, 2)] == [Place.SPARE, Place.IDLE]
    made.block(Rank(1), frozenset(), ())
    assert [made[Rank(rank)].place for rank in (1, 2)] == [Place.BUSY, Place.BUSY]
    made.end(Rank(1), LeaseId(1))
    assert [made[Rank(rank)].place for rank in (1, 2)] == [Place.IDLE, Place.IDLE]
    assert made.free == 3


def test_a_core_that_is_held_may_be_lent_while_its_holder_is_blocked_and_stays_busy_beside_it():
    made = cores(1, 2)
    made.lend_several((Rank(1), Rank(2)), LeaseId(1), False)
    made.block(Rank(1), frozenset({LeaseId(1)}), (P,))
    made.lend(Rank(2), LeaseId(2))
    made.block(Rank(1), frozenset(), ())
    made.end(Rank(2), LeaseId(2))
    assert made[Rank(2)].place is Place.BUSY


def test_members_of_a_gang_are_busy_and_while_it_is_blocked_free_for_what_is_below_it_only():
    made = cores(1, 2, 3)
    gang = LeaseId(1)
    made.lend_several((Rank(1), Rank(2)), gang, True)
    assert not made.takes(Rank(2), (P, S), gang)
    made.block(Rank(1), frozenset({gang}), (P,))
    assert [made.takes(Rank(rank), (P, S), gang) for rank in (1, 2, 3)] == [True, True, True]
    assert [made.takes(Rank(rank), (P, S)) for rank in (1, 2, 3)] == [False, False, True]
    assert made.choose((P, S), NOBODY, gang) == 2
    assert made.choose((P, S), NOBODY) == 3
    assert list(made.candidates((P, S), NOBODY, gang)) == [2, 1, 1, 3]
    assert list(made.members(gang)) == [2, 1]
    made.end(Rank(1), gang)
    assert [made[Rank(rank)].seat for rank in (1, 2)] == [0, 0]
    assert len(made.common) == made.free == 3


def test_another_member_of_a_gang_that_waits_for_itself_frees_its_own_core_only():
    made = cores(1, 2, 3)
    gang = LeaseId(1)
    made.lend_several((Rank(1), Rank(2), Rank(3)), gang, True)
    made.block(Rank(3), frozenset({gang}), (P,))
    assert [made.takes(Rank(rank), (P, S), gang) for rank in (1, 2, 3)] == [False, False, True]
    assert not made.takes(Rank(3), (P, S))
    made.block(Rank(1), frozenset({gang}), (Q,))
    made.block(Rank(1), frozenset(), ())
    assert [made.takes(Rank(rank), (P, S), gang) for rank in (1, 2, 3)] == [False, False, True]
    made.block(Rank(3), frozenset(), ())
    assert made[Rank(3)].place is Place.BUSY


def test_stacks_below_a_gang_do_not_count_against_what_is_below_it():
    made = cores(1, 2)
    hold(made, 2, 1, 2, waiting=[1, 2], tops=[P, Q])
    made.lend_several((Rank(1), Rank(2)), LeaseId(3), True)
    made.block(Rank(1), frozenset({LeaseId(3)}), (S,))
    assert made.takes(Rank(2), (S,), LeaseId(3))
    hold(made, 2, 4, 5, waiting=[1, 2, 4, 5], tops=[P, Q, T, ROOT])
    assert not made.takes(Rank(2), (S,), LeaseId(3))
    assert made.takes(Rank(2), (S, T, led_by(2)), LeaseId(3))
    made.end(Rank(1), LeaseId(3))
    assert made[Rank(2)].place is Place.NARROW


def test_nodes_know_their_free_cores_from_when_they_are_indexed():
    made = Cores()
    for rank, node in enumerate("aabb"):
        made.join(Rank(rank), node, 16)
    made.lend(Rank(0), LeaseId(1))
    assert list(made.nodes.ready()) == []
    made.index_nodes()
    a, b = made.nodes
    assert (list(a.cores()), list(b.cores())) == ([1], [2, 3])
    made.lend(Rank(1), LeaseId(2))
    assert list(made.nodes.ready()) == [b]
    made.block(Rank(0), frozenset({LeaseId(1)}), (P,))
    assert list(a.cores()) == [0]
    assert a.gained
    made.nodes.calm_down()
    assert not made.nodes.gained
    made.end(Rank(1), LeaseId(2))
    assert made.nodes.gained
