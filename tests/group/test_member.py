"""Which process of a rank runs which tasks, and when its core is free."""

import pytest

from builders import led_by, told
from mpipool.group import Member
from mpipool.group.member import Assigned, Entry
from mpipool.ids import ANY_EXECUTOR, HERE, ChunkId, ExecutorId, LeaseId, Rank

P, Q, S, T = (led_by(5, serial) for serial in (1, 2, 3, 4))
MINE, MINE_TOO, DEEPER = (led_by(1, serial) for serial in (1, 2, 3))
"""Scatters led by tasks of this rank."""


def run(  # noqa: PLR0913 - a chunk, of which each test says what matters to it
    member: Member,
    lease: int,
    path=(S,),
    *,
    chunk: int = 1,
    first: int = 0,
    count: int = 1,
    wanted: int = ANY_EXECUTOR,
) -> tuple[int, bool]:
    """Give the rank a chunk; return its executor and whether that is a new one."""
    entry, new = member.place(LeaseId(lease), tuple(path), ExecutorId(wanted))
    entry.chunks[ChunkId(chunk)] = Assigned(Rank(5), path[-1], first, count, 1)
    return entry.executor, new


def entry_of(member: Member, lease: int) -> Entry:
    """Return the only entry of a lease."""
    [entry] = [entry for entry in member.entries.values() if entry.lease == lease]
    return entry


def done(
    member: Member, lease: int, *, chunk: int = 1, count: int = 1, back: int = 0, now: float = 0.0
) -> tuple[Assigned, bool]:
    """Report tasks of a chunk of the lease."""
    return member.done(entry_of(member, lease), ChunkId(chunk), count, back, now)


def wait(member: Member, lease: int, scatter) -> None:
    member.waits(entry_of(member, lease), scatter)


def resume(member: Member, lease: int, scatter) -> None:
    member.resumes(entry_of(member, lease), scatter)


def lend_own_core(member: Member, owner: int, lease: int) -> None:
    member.lend_own_core(entry_of(member, owner), LeaseId(lease))


def leases(entries: list[Entry]) -> list[int]:
    return [entry.lease for entry in entries]


def stacks(member: Member) -> list[list[int]]:
    return [leases(stack) for stack in member.stacks]


# --- executors and stacks ------------------------------------------------------------------------


def test_each_lease_has_an_executor_and_a_stack_of_its_own():
    member = Member()
    assert run(member, 1) == (1, True)
    assert run(member, 2, (P, T)) == (2, True)
    assert stacks(member) == [[1], [2]]
    entry = member.entries[2, 2]
    assert (entry.lease, entry.root, entry.executor, entry.path) == (2, 2, 2, (P, T))
    assert (len(entry.chunks), entry.waits_for, entry.seat) == (1, set(), False)
    assert member.entry(LeaseId(2), ExecutorId(2)) is entry
    assert member.entry(LeaseId(2), ExecutorId(1)) is None
    assert member.entry(LeaseId(1), ExecutorId(2)) is None


def test_chunks_of_one_lease_go_to_the_same_executor():
    member = Member()
    assert run(member, 1) == (1, True)
    assert run(member, 2) == (2, True)
    assert run(member, 1, chunk=2) == (1, False)
    assert run(member, 2, chunk=3) == (2, False)
    assert stacks(member) == [[1], [2]]
    assert list(entry_of(member, 1).chunks) == [1, 2]


def test_a_descendant_stands_on_the_entry_that_waits_for_its_ancestor():
    member = Member()
    run(member, 1, (P,))
    run(member, 2, (Q,))
    wait(member, 2, MINE)
    run(member, 3, (Q, MINE, T))
    run(member, 4, (P, S))
    assert stacks(member) == [[1], [2, 3], [4]]


def test_only_the_topmost_entry_of_a_stack_counts():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    run(member, 2, (P, MINE))
    run(member, 3, (P, MINE))
    assert stacks(member) == [[1, 2], [3]]
    wait(member, 2, DEEPER)
    run(member, 4, (P, MINE, DEEPER))
    assert stacks(member) == [[1, 2, 4], [3]]


def test_an_entry_whose_scatter_is_complete_carries_nothing():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    member.completes(entry_of(member, 1), MINE)
    run(member, 2, (P, MINE))
    assert stacks(member) == [[1], [2]]


def test_what_was_sent_while_an_entry_waited_stands_on_it_although_it_goes_on():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    resume(member, 1, MINE)
    run(member, 2, (P, MINE))
    assert stacks(member) == [[1, 2]]


def test_the_executor_which_was_busy_last_is_used_first():
    member = Member()
    for lease in (1, 2, 3):
        run(member, lease)
    for executor in (3, 1, 2):
        done(member, executor)
    assert [run(member, lease) for lease in (4, 5, 6, 7)] == [
        (2, False), (1, False), (3, False), (4, True),
    ]  # fmt: skip
    assert member.idle == {}


def test_entries_in_the_middle_of_a_stack_and_at_its_ends_are_taken_out():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    run(member, 2, (P, MINE))
    wait(member, 2, DEEPER)
    run(member, 3, (P, MINE, DEEPER))
    run(member, 4, (T,))
    assert stacks(member) == [[1, 2, 3], [4]]
    member.died(ExecutorId(2))
    assert stacks(member) == [[1, 3], [4]]
    done(member, 3)
    assert stacks(member) == [[1], [4]]
    member.died(ExecutorId(1))
    assert stacks(member) == [[4]]
    assert list(member.entries) == [(4, 4)]


# --- reports -------------------------------------------------------------------------------------


def test_a_chunk_is_reported_piece_by_piece():
    member = Member()
    run(member, 1, first=20, count=10)
    assert done(member, 1, count=3) == (Assigned(5, S, 20, 10, 1), False)
    assert done(member, 1, count=2, back=4) == (Assigned(5, S, 23, 7, 1), False)
    assert entry_of(member, 1).chunks == {1: Assigned(5, S, 25, 1, 1)}
    assert member.idle == {}
    assert done(member, 1, now=7.0) == (Assigned(5, S, 25, 1, 1), False)
    assert member.entries == {}
    assert stacks(member) == []
    assert member.idle == {1: 7.0}


def test_an_executor_is_busy_until_its_last_chunk_is_done():
    member = Member()
    run(member, 1)
    run(member, 1, chunk=2)
    done(member, 1)
    assert list(entry_of(member, 1).chunks) == [2]
    assert member.idle == {}
    assert stacks(member) == [[1]]


def test_a_member_asks_to_leave_while_another_entry_runs():
    member = Member()
    run(member, 1, (P,), count=2)
    run(member, 2, (Q,), count=9)
    assert done(member, 1)[1] is True
    assert done(member, 2)[1] is True
    wait(member, 1, MINE)
    assert done(member, 2)[1] is False
    resume(member, 1, MINE)
    assert done(member, 2)[1] is True
    assert done(member, 1)[1] is True
    assert done(member, 2)[1] is False


def test_a_dead_executor_is_forgotten_and_its_entry_returned():
    member = Member()
    run(member, 1)
    run(member, 2)
    entry = entry_of(member, 1)
    assert member.died(ExecutorId(1)) == [entry]
    assert list(member.entries) == [(2, 2)]
    assert stacks(member) == [[2]]
    assert member.idle == {}
    assert member.died(ExecutorId(1)) == []


def test_an_idle_executor_which_died_is_not_used():
    member = Member()
    run(member, 1)
    done(member, 1)
    assert member.died(ExecutorId(1)) == []
    assert member.idle == {}
    assert run(member, 2) == (2, True)


# --- executors that are idle ---------------------------------------------------------------------


@pytest.fixture
def idle() -> Member:
    """Executors 1, 2, 3 are idle since 0, 5 and 6; executor 4 works."""
    member = Member()
    for lease in (1, 2, 3, 4):
        run(member, lease)
    for executor, since in ((1, 0.0), (2, 5.0), (3, 6.0)):
        done(member, executor, now=since)
    return member


def test_executors_idle_for_more_than_ten_seconds_are_ended(idle):
    assert idle.tired(10.0) == []
    assert idle.tired(10.5) == [1]
    assert idle.idle == {2: 5.0, 3: 6.0}
    assert idle.tired(10.5) == []
    assert idle.tired(99.0) == [2, 3]
    assert idle.idle == {}


def test_the_last_executor_is_kept_while_nothing_runs(idle):
    done(idle, 4, now=7.0)
    assert idle.tired(99.0) == [1, 2, 3]
    assert idle.tired(999.0) == []
    assert idle.idle == {4: 7.0}


def test_a_rank_without_executors_has_none_to_end():
    assert Member().tired(99.0) == []


# --- the core ------------------------------------------------------------------------------------


def test_nothing_is_said_while_nothing_changes():
    member = Member()
    assert told(member) is None
    run(member, 1)
    assert told(member) is None
    wait(member, 1, MINE)
    assert told(member) == ((1,), (MINE,))
    assert told(member) is None
    resume(member, 1, MINE)
    assert told(member) == ((), ())
    assert told(member) is None


def test_a_task_which_ended_without_resuming_blocks_nothing():
    member = Member()
    run(member, 1)
    wait(member, 1, MINE)
    assert told(member) == ((1,), (MINE,))
    member.died(ExecutorId(1))
    assert told(member) == ((), ())


def test_the_leases_which_wait_are_named_and_the_tops_of_all_stacks():
    member = Member()
    run(member, 8, (P,))
    wait(member, 8, MINE)
    run(member, 1, (Q,))
    assert told(member) == ((8,), (MINE,))
    wait(member, 1, MINE_TOO)
    assert told(member) == ((1, 8), (MINE, MINE_TOO))
    run(member, 3, (P, MINE))
    assert told(member) is None  # its stack is there, whatever runs on it
    wait(member, 3, DEEPER)
    assert told(member) == ((1, 3, 8), (DEEPER, MINE_TOO))
    resume(member, 1, MINE_TOO)
    wait(member, 1, T)
    assert told(member) == ((1, 3, 8), (DEEPER, T))


def test_a_task_may_wait_for_several_scatters_and_is_blocked_until_it_waits_for_none():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE_TOO)
    wait(member, 1, MINE)
    assert told(member) == ((1,), (MINE, MINE_TOO))
    run(member, 2, (P, MINE_TOO))
    run(member, 3, (P, MINE))
    assert stacks(member) == [[1, 2], [3]]
    done(member, 2)
    resume(member, 1, MINE)
    assert told(member) == ((1,), (MINE_TOO,))
    resume(member, 1, MINE)
    assert told(member) is None
    resume(member, 1, MINE_TOO)
    assert told(member) == ((), ())


def test_a_core_which_works_for_its_own_scatter_is_not_free():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    lend_own_core(member, 1, -1)
    assert told(member) is None
    run(member, -1, (P, MINE))
    assert stacks(member) == [[1, -1]]
    assert entry_of(member, -1).root == 1
    assert told(member) is None
    done(member, -1)
    assert told(member) is None
    member.own_core_is_back(LeaseId(-1))
    assert told(member) == ((1,), (MINE,))


def test_the_root_of_own_work_is_the_lease_at_the_bottom():
    member = Member()
    run(member, 7, (P,))
    wait(member, 7, MINE)
    lend_own_core(member, 7, -1)
    run(member, -1, (P, MINE))
    wait(member, -1, DEEPER)
    lend_own_core(member, -1, -2)
    assert told(member) is None
    run(member, -2, (P, MINE, DEEPER))
    assert entry_of(member, -2).root == 7
    assert told(member) is None
    done(member, -2)
    member.own_core_is_back(LeaseId(-2))
    assert told(member) == ((7,), (DEEPER,))
    resume(member, -1, DEEPER)
    assert told(member) == ((), ())


def test_own_work_on_one_stack_leaves_the_lease_of_another_blocked():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    lend_own_core(member, 1, -1)
    run(member, 2, (Q,))
    wait(member, 2, MINE_TOO)
    assert told(member) == ((2,), (MINE, MINE_TOO))


def test_a_core_rests_while_all_that_is_here_waits():
    member = Member()
    assert member.rests
    run(member, 1, (P,))
    assert not member.rests
    wait(member, 1, MINE)
    assert member.rests
    run(member, 2, (Q,))
    assert not member.rests
    wait(member, 2, MINE_TOO)
    assert member.rests


def test_a_core_which_was_lent_does_not_rest_while_the_first_chunk_is_on_the_way():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    lend_own_core(member, 1, -1)
    assert not member.rests
    run(member, -1, (P, MINE))
    assert not member.rests
    wait(member, -1, DEEPER)
    assert member.rests
    done(member, -1)
    assert not member.rests  # another chunk may be on its way
    member.own_core_is_back(LeaseId(-1))
    assert member.rests


# --- caches --------------------------------------------------------------------------------------


@pytest.fixture
def caching() -> Member:
    """Executors 1 and 2 are idle; 1 holds caches of S and T, 2 of T."""
    member = Member()
    for lease in (1, 2):
        run(member, lease)
    for lease in (1, 2):
        done(member, lease)
    for executor, scope in ((1, S), (1, T), (2, T)):
        member.caches(ExecutorId(executor), scope)
    return member


def test_it_is_known_which_process_holds_which_caches(caching):
    held = [
        [caching.has_caches(ExecutorId(executor), scope) for scope in (S, T, P)]
        for executor in (1, 2, 3)
    ]
    assert held == [[True, True, False], [False, True, False], [False, False, False]]


def test_a_chunk_goes_to_the_process_with_its_caches_although_another_was_busy_last(caching):
    assert run(caching, 3, wanted=1) == (1, False)
    assert caching.idle == {2: 0.0}


def test_a_chunk_stands_behind_what_runs_in_the_process_with_its_caches(caching):
    run(caching, 3, (P,), wanted=1)
    assert run(caching, 4, (Q,), wanted=1) == (1, False)
    assert list(caching.entries) == [(3, 1), (4, 1)]
    assert stacks(caching) == [[3], [4]]
    assert done(caching, 4)[1] is True
    assert 1 not in caching.idle  # lease 3 is still there
    assert done(caching, 3, now=5.0)[1] is False
    assert caching.idle == {2: 0.0, 1: 5.0}


def test_one_lease_may_have_entries_in_several_processes(caching):
    assert run(caching, 3, wanted=1) == (1, False)
    assert run(caching, 3, wanted=2, chunk=2) == (2, False)
    assert run(caching, 3, wanted=1, chunk=3) == (1, False)
    assert list(caching.entries) == [(3, 1), (3, 2)]
    assert list(caching.entries[3, 1].chunks) == [1, 3]
    assert run(caching, 3, chunk=4) == (1, False)  # what may run anywhere runs where others do
    assert run(caching, 5) == (3, True)


def test_a_chunk_stands_on_the_task_that_is_blocked_in_the_process_with_its_caches(caching):
    run(caching, 3, (P,), wanted=1)
    wait(caching, 3, MINE)
    assert run(caching, 4, (P, MINE), wanted=1) == (1, False)
    assert stacks(caching) == [[3, 4]]
    assert done(caching, 4)[1] is False
    assert 1 not in caching.idle


def test_with_a_process_all_its_entries_and_caches_are_lost(caching):
    run(caching, 3, (P,), wanted=1)
    wait(caching, 3, MINE)
    run(caching, 4, (P, MINE), wanted=1)
    run(caching, 5, (Q,), wanted=2)
    assert leases(caching.died(ExecutorId(1))) == [3, 4]
    assert list(caching.entries) == [(5, 2)]
    assert stacks(caching) == [[5]]
    assert not caching.has_caches(ExecutorId(1), S)
    assert caching.forget(T) == [2]


def test_an_idle_process_with_caches_is_kept_until_they_are_forgotten(caching):
    run(caching, 3)  # in executor 2: it was busy last
    done(caching, 3)
    run(caching, 4)
    assert caching.tired(99.0) == []
    assert caching.forget(T) == [1, 2]
    assert caching.tired(99.0) == []
    assert caching.forget(T) == []
    assert caching.forget(S) == [1]
    assert caching.tired(99.0) == [1]
    assert not caching.has_caches(ExecutorId(1), S)


# --- gangs ---------------------------------------------------------------------------------------


def test_the_tasks_of_gangs_have_an_entry_and_no_process():
    member = Member()
    entry, new = member.place(LeaseId(1), (P,), HERE)
    entry.chunks[ChunkId(1)] = Assigned(Rank(5), P, 0, 1, 1)
    assert (entry.executor, new) == (HERE, False)
    assert told(member) is None
    wait(member, 1, MINE)
    assert told(member) == ((1,), (MINE,))
    run(member, 2, (P, MINE))
    assert stacks(member) == [[1, 2]]
    done(member, 1)
    assert member.idle == {}


def test_a_seat_in_a_gang_crowds_nobody_and_is_blocked_when_its_member_waits():
    member = Member()
    seat = member.sit(LeaseId(1), (P,))
    assert (seat.executor, seat.seat, seat.chunks) == (HERE, True, {})
    run(member, 2, (P, MINE), count=2)
    assert done(member, 2)[1] is False
    wait(member, 1, MINE)
    wait(member, 2, DEEPER)
    assert told(member) == ((1, 2), (MINE, DEEPER))
    member.stand(seat)
    assert stacks(member) == [[2]]
    assert list(member.entries) == [(2, 1)]


# --- tasks on top of others in one process -------------------------------------------------------


def test_what_can_go_on_but_has_something_blocked_on_top_of_it_in_its_process_does_not_run():
    member = Member()
    run(member, 1)
    wait(member, 1, MINE)
    run(member, 2, (P, T), wanted=1)  # its cache is there: it runs on top
    member.completes(entry_of(member, 1), MINE)
    assert not member.rests
    wait(member, 2, DEEPER)
    assert member.rests
    assert member.blocked() == ((1, 2), (DEEPER,), (1,))
    member.completes(entry_of(member, 2), DEEPER)
    assert not member.rests
    assert told(member) == ((), ())
    done(member, 2)
    assert not member.rests


def test_what_has_never_waited_is_on_top():
    member = Member()
    run(member, 1)
    wait(member, 1, MINE)
    run(member, 2, (P, T), wanted=1)
    assert not member.rests
    assert told(member) == ((1,), (MINE,))


def test_a_task_stands_on_the_nearest_of_its_ancestors():
    member = Member()
    run(member, 1)
    wait(member, 1, MINE)
    run(member, 2, (T,))
    run(member, 3, (S, MINE))
    member.stacks[1].append(member.stacks[0].pop())  # as races can bring it about
    wait(member, 3, DEEPER)
    run(member, 4, (S, MINE, DEEPER))
    assert stacks(member) == [[1], [2, 3, 4]]
