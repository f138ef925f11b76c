"""Threads, memory, tokens and gangs: what a grant takes, and what waits for it."""

import pytest

from builders import NOBODY, blocked, grant, led_by, on_nodes, returned, wants
from mpipool.ids import LeaseId, Rank
from mpipool.needs import Needs
from mpipool.scheduler import RankJoined, RankLost, Scheduler, TokensProvided
from mpipool.scheduler.invariants import check

A, B, C, D = (led_by(NOBODY, serial) for serial in (1, 2, 3, 4))


def threads(number: int) -> Needs:
    return Needs(threads=number)


def memory(mib: int) -> Needs:
    return Needs(memory=mib)


def tokens(**counts: int) -> Needs:
    return Needs(tokens=tuple(sorted(counts.items())))


def gang(fewest: int, most: int | None = None, mib: int = 0) -> Needs:
    return Needs((fewest, most or fewest), memory=mib, in_place=True)


def with_rank_0(ranks: int, spares: bool) -> Scheduler:
    machine = Scheduler(ranks)
    machine.spots.spares_root = spares
    for rank in range(ranks):
        machine.handle(RankJoined(Rank(rank)))
    return machine


def played(machine: Scheduler, *events, now: float = 0.0):
    """Return the commands after each event; the invariants hold in between."""
    commands = []
    for event in events:
        commands.append(machine.handle(event, now))
        check(machine)
    return commands


# --- threads -------------------------------------------------------------------------------------


def test_a_task_with_threads_holds_cores_of_its_node():
    machine = on_nodes((2, 0), (3, 0))
    assert played(machine, wants(A, 1, needs=threads(3)), wants(B, 9)) == [
        [grant(1, A, 3, ranks=(3, 4, 5))],
        [grant(2, B, 1), grant(3, B, 2)],
    ]
    assert played(machine, returned(1)) == [[grant(4, B, 3), grant(5, B, 4), grant(6, B, 5)]]


def test_one_thread_is_a_plain_core():
    assert played(on_nodes((1, 0)), wants(A, 1, needs=threads(1))) == [[grant(1, A, 1)]]


def test_the_leaders_own_rank_is_first_among_the_cores():
    mine = led_by(4)
    assert played(on_nodes((2, 0), (2, 0)), wants(mine, 1, needs=threads(2))) == [
        [grant(1, mine, 4, ranks=(4, 3))]
    ]


def test_cores_which_are_held_are_free_while_everything_under_the_lease_is_blocked():
    machine = on_nodes((2, 0))
    inner = led_by(1)
    assert played(
        machine,
        wants(A, 1, needs=threads(2)),
        wants(inner, 2, below=[A], parent=LeaseId(1)),
        blocked(1, [1], [inner]),
    ) == [[grant(1, A, 1, ranks=(1, 2))], [], [grant(2, inner, 1), grant(3, inner, 2)]]


def test_two_leaders_on_one_node_do_not_wait_for_each_others_core():
    machine = on_nodes((2, 0))
    first, second = led_by(1), led_by(2)
    played(machine, wants(A, 2), blocked(1, [1], [first]), blocked(2, [2], [second]))
    assert played(
        machine,
        wants(first, 1, below=[A], needs=threads(2), parent=LeaseId(1)),
        wants(second, 1, below=[A], needs=threads(2), parent=LeaseId(2)),
        returned(3),
    ) == [[grant(3, first, 1, ranks=(1, 2))], [], [grant(4, second, 2, ranks=(2, 1))]]


# --- memory --------------------------------------------------------------------------------------


def test_no_node_promises_more_memory_than_it_has():
    machine = on_nodes((3, 10), (3, 4))
    assert played(machine, wants(A, 9, needs=memory(4)), returned(1, 8)) == [
        [grant(1, A, 4), grant(2, A, 1), grant(3, A, 2)],
        [grant(4, A, 5)],
    ]


def test_memory_of_a_node_about_which_nothing_is_known_is_not_limited():
    assert len(on_nodes((2, 0)).handle(wants(A, 5, needs=memory(10**9)))) == 2


def test_what_is_below_a_task_draws_on_the_memory_that_the_task_holds():
    machine = on_nodes((3, 10))
    inner = led_by(1)
    assert played(
        machine,
        wants(A, 1, needs=memory(8)),
        wants(inner, 3, below=[A], needs=memory(5), parent=LeaseId(1)),
        blocked(1, [1], [inner]),
    ) == [
        [grant(1, A, 1)],
        [grant(2, inner, 2), grant(3, inner, 3)],  # 5 and 3 of the 8, and the 2 which were left
        [],  # there is a core for the third one, and no memory
    ]
    node = next(iter(machine.cores.nodes))
    assert (node.memory.free, node.memory.parts[LeaseId(1)].unused) == (0, 0)
    assert played(machine, returned(2, 1)) == [[grant(4, inner, 1)]]


def test_what_two_outer_tasks_hold_is_not_for_each_others_inner_ones():
    machine = on_nodes((4, 10))
    inner = led_by(1)
    played(machine, wants(A, 2, needs=memory(5)))
    assert played(machine, wants(inner, 2, below=[A], needs=memory(4), parent=LeaseId(1))) == [
        [grant(3, inner, 3)]
    ]


def test_a_child_of_a_child_draws_on_both():
    machine = on_nodes((3, 10))
    first, second = led_by(1), led_by(2)
    assert played(
        machine,
        wants(A, 1, needs=memory(10)),
        wants(first, 1, below=[A], parent=LeaseId(1)),
        wants(second, 1, below=[A, first], needs=memory(10), parent=LeaseId(2)),
    ) == [[grant(1, A, 1)], [grant(2, first, 2)], [grant(3, second, 3)]]


# --- tokens --------------------------------------------------------------------------------------


def test_tokens_cap_how_many_run_at_once():
    machine = on_nodes((4, 0), tokens={"io": 3})
    assert played(machine, wants(A, 9, needs=tokens(io=1)), wants(B, 1), returned(2, 8)) == [
        [grant(1, A, 1), grant(2, A, 2), grant(3, A, 3)],
        [grant(4, B, 4)],
        [grant(5, A, 2)],
    ]


def test_all_tokens_are_taken_at_once_or_none():
    machine = on_nodes((4, 0), tokens={"db": 1, "io": 3})
    assert played(
        machine,
        wants(A, 1, needs=tokens(db=1)),
        wants(B, 1, needs=tokens(db=1, io=2)),
        wants(C, 1, needs=tokens(io=3)),
    ) == [[grant(1, A, 1)], [], [grant(2, C, 2)]]


def test_tokens_may_be_provided_later_and_more_of_them():
    machine = on_nodes((4, 0))
    assert played(
        machine,
        TokensProvided({"io": 1}),
        wants(A, 3, needs=tokens(io=1)),
        TokensProvided({"io": 2}),
    ) == [[], [grant(1, A, 1)], [grant(2, A, 2)]]


def test_inner_tasks_draw_on_the_tokens_of_outer_ones():
    machine = on_nodes((4, 0), tokens={"io": 1})
    inner = led_by(1)
    assert played(
        machine,
        wants(A, 1, needs=tokens(io=1)),
        wants(inner, 2, below=[A], needs=tokens(io=1), parent=LeaseId(1)),
        wants(B, 1, needs=tokens(io=1)),
    ) == [[grant(1, A, 1)], [grant(2, inner, 2)], []]


# --- gangs ---------------------------------------------------------------------------------------


def test_a_gang_is_made_of_free_ranks_on_few_nodes():
    machine = on_nodes((2, 0), (3, 0), (3, 0))
    played(machine, wants(A, 2))
    assert played(machine, wants(B, 1, needs=gang(3)), wants(C, 1, needs=gang(2))) == [
        [grant(3, B, 3, ranks=(3, 4, 5))],
        [grant(4, C, 6, ranks=(6, 7))],
    ]


def test_a_gang_rather_fills_a_node_than_leave_some_of_it():
    machine = on_nodes((4, 0), (2, 0))
    assert machine.handle(wants(A, 1, needs=gang(2))) == [grant(1, A, 5, ranks=(5, 6))]


def test_rank_0_is_taken_last_and_leads_no_gang_with_others():
    machine = Scheduler()
    for rank in range(3):
        machine.handle(RankJoined(Rank(rank)))
    assert played(machine, wants(A, 1, needs=gang(2)), returned(1), wants(B, 1, needs=gang(3))) == [
        [grant(1, A, 1, ranks=(1, 2))],
        [],
        [grant(2, B, 1, ranks=(1, 2, 0))],
    ]


@pytest.mark.parametrize("spares", [True, False])
def test_where_ranks_may_die_a_gang_rather_waits_than_to_take_rank_0(spares):
    """Members of a gang that lost one may be lost too, and rank 0 would take the run along."""
    machine = with_rank_0(4, spares)
    begun = played(machine, wants(A, 2, needs=gang(2)))
    if spares:
        assert begun == [[grant(1, A, 1, ranks=(1, 2))]]
        assert played(machine, returned(1, queued=1)) == [[grant(2, A, 1, ranks=(1, 3))]]
    else:
        assert begun == [[grant(1, A, 1, ranks=(1, 2)), grant(2, A, 3, ranks=(3, 0))]]


def test_plain_tasks_have_rank_0_while_a_gang_waits_for_others():
    machine = with_rank_0(4, spares=True)
    played(machine, wants(A, 1, needs=gang(2)), wants(B, 1, needs=gang(2)))
    assert machine.cores.free == 2
    assert played(machine, wants(C, 1)) == [[]]  # more urgent are two ranks for B
    machine = with_rank_0(3, spares=True)
    assert played(machine, wants(A, 1, needs=gang(2)), wants(C, 1)) == [
        [grant(1, A, 1, ranks=(1, 2))],
        [grant(2, C, 0)],
    ]


def test_a_gang_which_needs_rank_0_gets_it_in_any_run():
    machine = with_rank_0(3, spares=True)
    assert played(machine, wants(A, 1, needs=gang(3))) == [[grant(1, A, 1, ranks=(1, 2, 0))]]
    machine = with_rank_0(3, spares=True)
    assert played(machine, wants(A, 1, needs=gang(2, 3))) == [[grant(1, A, 1, ranks=(1, 2))]]


def test_a_gang_takes_rank_0_when_so_many_others_have_died_that_it_is_needed():
    machine = with_rank_0(3, spares=True)
    commands = played(
        machine,
        wants(A, 1, needs=gang(2)),
        wants(B, 1, needs=gang(2)),
        RankLost(Rank(2)),
        returned(1),
    )
    assert commands[1] == []
    assert commands[-1] == [grant(2, B, 1, ranks=(1, 0))]


def test_a_gang_takes_idle_ranks_rather_than_those_of_blocked_leaders():
    machine = on_nodes((4, 0), (2, 0))
    played(machine, wants(A, 3), *(blocked(rank, [rank], [led_by(rank)]) for rank in (1, 2, 3)))
    assert played(machine, wants(B, 1, needs=gang(3)), wants(C, 1, needs=gang(2))) == [
        [grant(4, B, 4, ranks=(4, 5, 6))],
        [grant(5, C, 1, ranks=(1, 2))],
    ]


@pytest.mark.parametrize(
    ("queued", "needs", "sizes"),
    [
        (1, gang(2, 99), [8]),
        (1, gang(2, 6), [6]),
        (2, gang(2, 99), [4, 4]),
        (3, gang(2, 99), [2, 3, 3]),
        (9, gang(2, 99), [2, 2, 2, 2]),
        (9, gang(3, 99), [4, 4]),
        (2, gang(5, 99), [8]),
    ],
)
def test_ranks_are_shared_fairly_by_the_gangs_that_wait(queued, needs, sizes):
    machine = on_nodes((8, 0))
    grants = played(machine, wants(A, queued, needs=needs))[0]
    assert [len(each.ranks) for each in grants] == sizes


def test_gangs_of_several_scatters_share_too():
    machine = on_nodes((8, 0))
    played(machine, wants(C, 8, 100.0))
    played(machine, wants(A, 1, needs=gang(2, 8)), wants(B, 1, needs=gang(2, 8)))
    answers = played(machine, *(returned(lease) for lease in range(1, 9)))
    commands = [command for answer in answers for command in answer]
    assert [(each.scatter, len(each.ranks)) for each in commands] == [(A, 2), (B, 2)]


def test_a_gang_does_not_share_with_one_for_which_too_few_ranks_are_free():
    machine = on_nodes((8, 0))
    played(machine, wants(C, 2), wants(B, 1, needs=gang(8)))
    deeper = wants(A, 1, below=[C], needs=gang(1, 6), parent=LeaseId(1))
    assert [[len(each.ranks) for each in grants] for grants in played(machine, deeper)] == [[6]]


def test_a_gang_of_one_has_a_rank_to_itself_and_no_list_of_ranks():
    machine = on_nodes((2, 0))
    inner = led_by(1)
    assert played(machine, wants(A, 1, needs=gang(1)), blocked(1, [1], [inner]), wants(B, 2)) == [
        [grant(1, A, 1)],
        [],
        [grant(2, B, 2)],
    ]


def test_below_a_blocked_gang_its_members_run_its_descendants_only():
    machine = on_nodes((3, 0))
    inner, deeper = led_by(1), led_by(2)
    assert played(
        machine,
        wants(A, 1, needs=gang(3)),
        wants(B, 1, 1e6),
        wants(inner, 2, below=[A], parent=LeaseId(1)),
        blocked(1, [1], [inner]),
        blocked(2, [3], [deeper]),
        wants(deeper, 2, below=[A, inner], parent=LeaseId(3)),
    ) == [
        [grant(1, A, 1, ranks=(1, 2, 3))],
        [],
        [],
        [grant(2, inner, 1), grant(3, inner, 2)],
        [],
        [grant(4, deeper, 2), grant(5, deeper, 3)],
    ]
    assert played(machine, returned(5, 0), returned(4), returned(2), returned(3)) == [[]] * 4
    assert played(machine, blocked(1), returned(1)) == [[], [grant(6, B, 1)]]


def test_a_blocked_gang_keeps_its_seats():
    machine = on_nodes((3, 0))
    played(machine, wants(A, 1, needs=gang(2)), blocked(1, [1], [led_by(1)]))
    assert played(machine, wants(B, 1, needs=gang(2)), blocked(1), returned(1)) == [
        [],
        [],
        [grant(2, B, 1, ranks=(1, 3))],
    ]


def test_each_member_of_a_gang_has_its_memory():
    machine = on_nodes((4, 10), (4, 10), (1, 10))
    assert played(
        machine, wants(A, 1, needs=gang(3, mib=5)), wants(B, 1, needs=gang(3, mib=4))
    ) == [
        [grant(1, A, 5, ranks=(5, 6, 9))],
        [],
    ]
