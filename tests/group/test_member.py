"""Which process of a rank runs which tasks, and when its core is free."""

import pytest

from builders import led_by
from mpipool.group import Member
from mpipool.group.member import Assigned
from mpipool.ids import ChunkId, ExecutorId, LeaseId, Rank

P, Q, S, T = (led_by(5, serial) for serial in (1, 2, 3, 4))
MINE, MINE_TOO, DEEPER = (led_by(1, serial) for serial in (1, 2, 3))
"""Scatters led by tasks of this rank."""


def run(
    member: Member, lease: int, path=(S,), *, chunk: int = 1, first: int = 0, count: int = 1
) -> tuple[int, bool]:
    """Give the rank a chunk; return its executor and whether that is a new one."""
    entry, new = member.place(LeaseId(lease), tuple(path))
    entry.chunks[ChunkId(chunk)] = Assigned(Rank(5), path[-1], first, count, 1)
    return entry.executor, new


def done(
    member: Member, executor: int, *, count: int = 1, back: int = 0, now: float = 0.0
) -> tuple[Assigned, bool]:
    """Report tasks of the executor's first chunk."""
    return member.done(ExecutorId(executor), ChunkId(1), count, back, now)


def wait(member: Member, executor: int, scatter) -> None:
    member.waits(ExecutorId(executor), scatter)


def stacks(member: Member) -> list[list[int]]:
    return [[entry.lease for entry in stack] for stack in member.stacks]


# --- executors and stacks ------------------------------------------------------------------------


def test_each_lease_has_an_executor_and_a_stack_of_its_own():
    member = Member()
    assert run(member, 1) == (1, True)
    assert run(member, 2, (P, T)) == (2, True)
    assert stacks(member) == [[1], [2]]
    entry = member.entries[ExecutorId(2)]
    assert (entry.lease, entry.root, entry.executor, entry.path) == (2, 2, 2, (P, T))
    assert (len(entry.chunks), entry.waits_for) == (1, None)


def test_chunks_of_one_lease_go_to_the_same_executor():
    member = Member()
    assert run(member, 1) == (1, True)
    assert run(member, 2) == (2, True)
    assert run(member, 1, chunk=2) == (1, False)
    assert run(member, 2, chunk=3) == (2, False)
    assert stacks(member) == [[1], [2]]
    assert list(member.entries[ExecutorId(1)].chunks) == [1, 2]


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


def test_an_entry_which_resumed_carries_nothing():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    member.resumes(ExecutorId(1))
    run(member, 2, (P, MINE))
    assert stacks(member) == [[1], [2]]


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
    assert list(member.entries) == [4]


# --- reports -------------------------------------------------------------------------------------


def test_a_chunk_is_reported_piece_by_piece():
    member = Member()
    run(member, 1, first=20, count=10)
    assert done(member, 1, count=3) == (Assigned(5, S, 20, 10, 1), False)
    assert done(member, 1, count=2, back=4) == (Assigned(5, S, 23, 7, 1), False)
    assert member.entries[ExecutorId(1)].chunks == {1: Assigned(5, S, 25, 1, 1)}
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
    assert list(member.entries[ExecutorId(1)].chunks) == [2]
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
    member.resumes(ExecutorId(1))
    assert done(member, 2)[1] is True
    assert done(member, 1)[1] is True
    assert done(member, 2)[1] is False


def test_a_dead_executor_is_forgotten_and_its_entry_returned():
    member = Member()
    run(member, 1)
    run(member, 2)
    entry = member.entries[ExecutorId(1)]
    assert member.died(ExecutorId(1)) is entry
    assert list(member.entries) == [2]
    assert stacks(member) == [[2]]
    assert member.idle == {}
    assert member.died(ExecutorId(1)) is None


def test_an_idle_executor_which_died_is_not_used():
    member = Member()
    run(member, 1)
    done(member, 1)
    assert member.died(ExecutorId(1)) is None
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
    assert member.blocked() is None
    run(member, 1)
    assert member.blocked() is None
    wait(member, 1, MINE)
    assert member.blocked() == ((1,), (MINE,))
    assert member.blocked() is None
    member.resumes(ExecutorId(1))
    assert member.blocked() == ((), ())
    assert member.blocked() is None


def test_a_task_which_ended_without_resuming_blocks_nothing():
    member = Member()
    run(member, 1)
    wait(member, 1, MINE)
    assert member.blocked() == ((1,), (MINE,))
    member.died(ExecutorId(1))
    assert member.blocked() == ((), ())


def test_the_leases_which_wait_are_named_and_the_tops_of_all_stacks():
    member = Member()
    run(member, 8, (P,))
    wait(member, 1, MINE)
    run(member, 1, (Q,))
    assert member.blocked() == ((8,), (MINE,))
    wait(member, 2, MINE_TOO)
    assert member.blocked() == ((1, 8), (MINE, MINE_TOO))
    run(member, 3, (P, MINE))
    assert member.blocked() == ((1, 8), (MINE_TOO,))
    wait(member, 3, DEEPER)
    assert member.blocked() == ((1, 3, 8), (DEEPER, MINE_TOO))
    wait(member, 2, T)
    assert member.blocked() == ((1, 3, 8), (DEEPER, T))


def test_a_core_which_works_for_its_own_scatter_is_not_free():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    member.lend_own_core(ExecutorId(1), LeaseId(-1))
    assert member.blocked() is None
    run(member, -1, (P, MINE))
    assert stacks(member) == [[1, -1]]
    assert member.entries[ExecutorId(2)].root == 1
    assert member.blocked() is None
    done(member, 2)
    assert member.blocked() is None
    member.own_core_is_back(LeaseId(-1))
    assert member.blocked() == ((1,), (MINE,))


def test_the_root_of_own_work_is_the_lease_at_the_bottom():
    member = Member()
    run(member, 7, (P,))
    wait(member, 1, MINE)
    member.lend_own_core(ExecutorId(1), LeaseId(-1))
    run(member, -1, (P, MINE))
    wait(member, 2, DEEPER)
    member.lend_own_core(ExecutorId(2), LeaseId(-2))
    assert member.blocked() is None
    run(member, -2, (P, MINE, DEEPER))
    assert member.entries[ExecutorId(3)].root == 7
    assert member.blocked() is None
    done(member, 3)
    member.own_core_is_back(LeaseId(-2))
    assert member.blocked() == ((7,), (DEEPER,))
    member.resumes(ExecutorId(2))
    assert member.blocked() == ((), ())


def test_own_work_on_one_stack_leaves_the_lease_of_another_blocked():
    member = Member()
    run(member, 1, (P,))
    wait(member, 1, MINE)
    member.lend_own_core(ExecutorId(1), LeaseId(-1))
    run(member, 2, (Q,))
    wait(member, 2, MINE_TOO)
    assert member.blocked() == ((2,), (MINE, MINE_TOO))
