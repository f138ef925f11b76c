"""The agent's side of parcels, with a process that empties its ring when the test says so."""

import os

import pytest

from mpipool.executor import parcels
from mpipool.executor.parcels import Way
from mpipool.executor.ring import SLOTS, Ring
from mpipool.messages import PIECE, Ahead, Fetched, Parcel, Piece


class Process:
    """What the other process sees of a way."""

    def __init__(self):
        self.heard, self.received = [], []
        self.way = Way(self.heard.append)
        self.ring = Ring(*self.way.descriptors)

    def expects(self, parcel):
        ahead = Ahead(lease=1, chunk=1, scatter=1, parts=(parcel,))
        self.way.refer(parcel)
        self.way.begin(ahead)
        return parcel

    def read(self):
        """Take out all pieces that were announced."""
        while self.heard:
            piece = self.heard.pop(0)
            assert isinstance(piece, Piece)
            self.received.append(bytes(self.ring.slot(piece.slot)[: piece.size])[0])
            self.ring.free(piece.slot)
        self.way.is_free()


@pytest.fixture
def process():
    made = Process()
    yield made
    made.ring.close()
    made.way.close()


def void_of(parcel):
    return Ahead(lease=0, chunk=0, scatter=0, void=True, parts=(parcel,))


def piece(first):
    return memoryview(bytes([first]) + bytes(9))


def test_pieces_wait_for_slots_and_are_given_back_once_copied(process):
    parcel, released = process.expects(Parcel(100)), []
    for first in range(SLOTS + 3):
        parcel.put(piece(first), lambda first=first: released.append(first))
    assert released == list(range(SLOTS))
    process.read()
    process.read()
    assert process.received == released == list(range(SLOTS + 3))


def test_pieces_which_came_before_anybody_knew_where_to_are_the_first(process):
    parcel = Parcel(100)
    parcel.put(piece(1), int)
    process.expects(parcel)
    parcel.put(piece(2), int)
    process.read()
    assert process.received == [1, 2]


def test_what_a_busy_process_does_not_take_is_taken_in_and_comes_in_order(process, monkeypatch):
    parcel = process.expects(Parcel(100, live=True))
    taker = parcel.taker

    def arrives(first):
        room = taker.room()
        if room is None:
            return False
        room[0] = first
        taker.filled(room, 10)
        return True

    assert [arrives(n) for n in range(SLOTS + 1)] == [True] * SLOTS + [False]
    monkeypatch.setattr(parcels, "PATIENCE", -1)
    assert [arrives(n) for n in range(SLOTS, SLOTS + 4)] == [True] * 4
    room = taker.room()  # offered while the process is busy, and filled when it is no more
    monkeypatch.setattr(parcels, "PATIENCE", 1000)
    process.read()
    room[0] = SLOTS + 4
    taker.filled(room, 10)
    process.read()
    assert arrives(SLOTS + 5)
    process.read()
    assert process.received == list(range(SLOTS + 6))


def test_what_is_not_waited_for_by_a_process_is_not_taken_in(process, monkeypatch):
    parcel = process.expects(Parcel(100, live=False))
    monkeypatch.setattr(parcels, "PATIENCE", -1)
    rooms = [parcel.taker.room() for _ in range(SLOTS + 1)]
    assert rooms[-1] is None


def test_a_dropped_parcel_is_said_to_be_void_and_holds_no_slot(process):
    parcel, released = process.expects(Parcel(100)), []
    room = parcel.taker.room()
    taker = parcel.taker
    parcel.drop()
    (void,) = process.heard
    assert (void.void, void.parts) == (True, (parcel,))
    taker.filled(room, 10)  # it was under way
    parcel.put(piece(1), lambda: released.append(1))
    assert released == [1]
    assert len(process.heard) == 1
    assert [process.way.slot() for _ in range(SLOTS)].count(None) == 0


def test_a_parcel_that_is_dropped_after_its_message_was_sent_is_void_if_pieces_are_missing(process):
    """Its sender has died: the process waits for it with the message in hand."""
    parcel = process.expects(Parcel(20))
    process.way.begin(Fetched(request=1, data=1, parts=(parcel,)))
    parcel.put(piece(1), int)
    (said,) = process.heard
    assert parcel.named
    parcel.drop()
    assert process.heard[1:] == [void_of(parcel)]
    assert process.way.refer(Parcel(5)) == said.parcel + 1


def test_a_parcel_of_which_nothing_is_missing_is_not_void(process):
    parcel = process.expects(Parcel(10))
    process.way.begin(Fetched(request=1, data=1, parts=(parcel,)))
    parcel.put(piece(1), int)
    heard = list(process.heard)
    parcel.drop()
    assert process.heard == heard


def test_when_the_process_is_gone_its_parcels_go_nowhere():
    process = Process()
    parcel, released = process.expects(Parcel(100)), []
    for first in range(SLOTS + 2):
        parcel.put(piece(first), lambda first=first: released.append(first))
    process.way.close()
    parcel.put(piece(99), lambda: released.append(99))
    assert released == [*range(SLOTS + 2), 99]
    assert len(parcel.taker.room()) == PIECE
    process.ring.close()


def test_a_ring_leaves_no_descriptors():
    before = len(os.listdir("/proc/self/fd"))
    ring, theirs = Ring.make()
    other = Ring(*theirs)
    other.close()
    ring.close()
    other.free(0)  # a piece which was under way
    assert len(os.listdir("/proc/self/fd")) == before
