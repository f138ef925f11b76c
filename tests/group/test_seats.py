"""Entries of gangs: in the rank's own process, and the first member's counts for all."""

from builders import led_by, told
from mpipool.group import Member
from mpipool.group.member import Assigned
from mpipool.ids import HERE, ChunkId, LeaseId, Rank

GANG, BELOW, DEEPER = (led_by(5, serial) for serial in (1, 2, 3))
MINE = led_by(1, 1)
LEASE, OTHER, OWN = LeaseId(1), LeaseId(2), LeaseId(-1)


def assigned() -> Assigned:
    return Assigned(Rank(5), BELOW, 0, 1, 1)


def test_the_entry_of_a_gang_is_in_the_ranks_own_process_which_is_never_idle():
    member = Member()
    entry, new = member.place(LEASE, (GANG,), HERE)
    assert (entry.executor, new) == (HERE, False)
    entry.chunks[ChunkId(1)] = assigned()
    member.done(entry, ChunkId(1), 1, 0, 0.0)
    assert member.entries == member.idle == {}
    ordinary, new = member.place(OTHER, (GANG,))
    assert ordinary.executor != HERE
    assert new


def test_the_first_member_says_when_the_gang_is_blocked():
    member = Member()
    entry, _ = member.place(LEASE, (GANG,), HERE)
    assert told(member) is None
    member.waits(entry, BELOW)
    assert told(member) == ((LEASE,), (BELOW,))


def test_another_member_is_blocked_when_it_waits_for_a_scatter_of_its_own():
    member = Member()
    seat = member.sit(LEASE, (GANG,))
    assert told(member) is None
    member.waits(seat, MINE)
    assert told(member) == ((LEASE,), (MINE,))
    member.lend_own_core(seat, OWN)
    own, _ = member.place(OWN, (GANG, MINE))
    assert own.root == LEASE
    assert told(member) == ((), ())
    member.waits(own, DEEPER)
    assert told(member) == ((LEASE,), (DEEPER,))


def test_a_seat_leaves_the_core_to_what_the_first_member_has_scattered():
    """It waits for the first member somehow, or that would not wait for its scatter."""
    member = Member()
    member.sit(LEASE, (GANG,))
    entry, _ = member.place(OTHER, (GANG, BELOW))
    entry.chunks[ChunkId(1)] = entry.chunks[ChunkId(2)] = assigned()
    _, leave = member.done(entry, ChunkId(1), 1, 0, 0.0)
    assert not leave
    member.waits(entry, DEEPER)
    assert member.rests
    assert told(member) == ((OTHER,), (DEEPER,))


def test_a_member_that_has_left_is_forgotten():
    member = Member()
    member.stand(member.sit(LEASE, (GANG,)))
    assert member.entries == {}
    assert member.stacks == []
    assert member.idle == {}
