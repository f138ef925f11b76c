"""What is under way to and from a rank that dies, piece by piece and fragment by fragment."""

import pytest

from mpipool.messages import PIECE, Ahead, Parcel
from mpipool.transport import pieces as pieces_module
from mpipool.transport.fragments import LAST, MORE, UNDER_WAY, Incoming, Outgoing
from mpipool.transport.pieces import RECEIVES, SENDS, Pieces
from mpipool.transport.wire import NEVER, Wire
from transport.wires import MPI, Communicator, Failed

DEAD, OTHER = 3, 5


@pytest.fixture
def communicator():
    return Communicator()


@pytest.fixture
def noted():
    return []


@pytest.fixture
def wire(communicator, noted):
    return Wire(communicator, MPI, lambda error, peer: noted.append(peer))


@pytest.fixture
def pieces(wire):
    return Pieces(wire, lambda rank: None)


# --- the wire ------------------------------------------------------------------------------------


def test_what_cannot_be_begun_is_never_done_and_the_rank_is_noted(wire, communicator, noted):
    communicator.dead.add(DEAD)
    assert wire.send(b"x", DEAD, 1) is NEVER
    assert wire.receive(bytearray(1), DEAD, 1) is NEVER
    assert noted == [DEAD, DEAD]
    assert not wire.is_done(NEVER, DEAD)
    assert wire.received(NEVER, DEAD) is None


def test_a_request_which_has_failed_is_not_taken_for_done_when_it_is_asked_again(
    wire, communicator, noted
):
    request = wire.receive(bytearray(4), DEAD, 1)
    request.fails = True
    assert wire.received(request, DEAD) is None
    assert request.Test()  # so says MPI
    assert wire.received(request, DEAD) is None
    assert not wire.is_done(request, DEAD)
    assert noted == [DEAD]


def test_a_probe_which_fails_names_nobody_and_can_be_tried_again(wire, communicator, noted):
    communicator.arrived.extend([Failed, (OTHER, LAST, 2, b"ab")])
    assert wire.probe() is None
    assert noted == [None]
    _, sender, tag, size = wire.probe()
    assert (sender, tag, size) == (OTHER, LAST, 2)


# --- fragments -----------------------------------------------------------------------------------


def test_nothing_to_a_rank_that_was_given_up_is_waited_for(wire, communicator):
    outgoing = Outgoing(wire, lambda rank: None)
    for _ in range(UNDER_WAY + 5):
        outgoing.send(DEAD, [b"to the dead"])
    outgoing.give_up(DEAD)
    assert not outgoing
    outgoing.push()
    assert len(communicator.sent) == UNDER_WAY


def test_a_fragment_which_its_sender_did_not_live_to_send_holds_up_the_others_until_it_is_given_up(
    wire, communicator
):
    incoming = Incoming(wire)
    communicator.arrived.extend([(DEAD, LAST, 9, None), (OTHER, LAST, 2, b"ab")])
    assert list(incoming.take()) == []
    assert incoming  # so the loop does not sleep
    incoming.give_up(DEAD)
    assert [(rank, bytes(whole)) for rank, whole in incoming.take()] == [(OTHER, b"ab")]


def test_what_a_rank_that_was_given_up_has_announced_besides_holds_up_nobody(wire, communicator):
    incoming = Incoming(wire)
    incoming.give_up(DEAD)
    begun, whole = (DEAD, MORE, 9, None), (DEAD, LAST, 4, b"done")
    communicator.arrived.extend([begun, (OTHER, LAST, 2, b"ab"), whole, begun])
    assert [(rank, bytes(whole)) for rank, whole in incoming.take()] == [(OTHER, b"ab")]
    assert not incoming
    assert not communicator.arrived


# --- parcels from it -----------------------------------------------------------------------------


class Taker:
    """Offers rooms, and tells what it heard."""

    def __init__(self):
        self.rooms, self.filled_with, self.dropped = [], [], False

    def room(self):
        self.rooms.append(memoryview(bytearray(PIECE)))
        return self.rooms[-1]

    def filled(self, room, size):
        assert room is self.rooms[len(self.filled_with)]
        self.filled_with.append(size)

    def drop(self):
        self.dropped = True

    def put(self, piece, release):
        raise AssertionError("nothing comes from below")

    end = put


def expect(pieces, rank, size=20 * PIECE, number=7):
    parcel = pieces.find(rank, True, number, size)
    taker = Taker()
    parcel.goes_to(taker)
    pieces.move()
    return parcel, taker


def test_a_parcel_of_a_dead_rank_is_dropped_and_gets_its_rooms_back(pieces):
    _, taker = expect(pieces, DEAD)
    assert len(taker.rooms) == RECEIVES
    pieces.give_up(DEAD)
    pieces.move()
    assert taker.dropped
    assert taker.filled_with == [0] * RECEIVES
    assert len(pieces) == 0


def test_parcels_of_the_living_go_on(pieces, communicator):
    _, taker = expect(pieces, OTHER)
    expect(pieces, DEAD)
    pieces.give_up(DEAD)
    ((_, _, request), *_) = [each for each in communicator.posted if each[0] == OTHER]
    request.size, request.done = PIECE, True
    pieces.move()
    assert taker.filled_with == [PIECE]
    assert not taker.dropped


def test_a_room_to_which_mpi_may_still_write_is_kept_for_a_while(pieces, communicator, monkeypatch):
    now = 100.0
    monkeypatch.setattr(pieces_module, "monotonic", lambda: now)
    _, taker = expect(pieces, DEAD)
    communicator.posted[0][2].stuck = True
    pieces.give_up(DEAD)
    pieces.move()
    assert taker.filled_with == []
    assert len(pieces) == 1
    now += pieces_module.PATIENCE + 1
    pieces.move()
    assert taker.filled_with == [0] * RECEIVES
    assert len(pieces) == 0


def test_what_a_dead_rank_had_announced_is_not_found_again(pieces):
    first, _ = expect(pieces, DEAD)
    pieces.give_up(DEAD)
    assert pieces.find(DEAD, True, 7, PIECE) is not first


def test_a_result_is_coming_until_all_of_it_is_there(pieces, communicator):
    parcel, _ = expect(pieces, OTHER, size=PIECE)
    message = Ahead(lease=1, chunk=1, scatter=1, parts=(parcel,))
    assert pieces.is_coming(OTHER, message)
    assert not pieces.is_coming(DEAD, message)
    communicator.posted[0][2].size, communicator.posted[0][2].done = PIECE, True
    pieces.move()
    assert not pieces.is_coming(OTHER, message)


# --- parcels to it -------------------------------------------------------------------------------


def test_pieces_for_a_dead_rank_are_released_those_which_come_later_too(pieces, communicator):
    parcel, released = Parcel(20 * PIECE), []
    pieces.refer(DEAD, parcel)
    for number in range(SENDS + 2):
        parcel.put(memoryview(b"piece"), lambda number=number: released.append(number))
    assert len(communicator.sent) == SENDS
    pieces.give_up(DEAD)
    assert sorted(released) == list(range(SENDS + 2))
    assert not pieces.sending
    parcel.put(memoryview(b"piece"), lambda: released.append("late"))
    assert released[-1] == "late"
    parcel.end()
    assert len(communicator.sent) == SENDS


def test_a_message_which_is_not_sent_takes_its_parcels_along(pieces, communicator):
    parcel, released = Parcel(2 * PIECE), []
    parcel.put(memoryview(b"early"), lambda: released.append("early"))
    ahead = Ahead(lease=1, chunk=1, scatter=1, parts=(parcel,))
    pieces.unsent(ahead, last=False)
    parcel.put(memoryview(b"late"), lambda: released.append("late"))
    pieces.unsent(ahead, last=True)
    assert released == ["early", "late"]
    assert communicator.sent == []


def test_a_parcel_half_sent_when_its_rank_dies_can_be_mentioned_to_it_once_more(pieces):
    parcel = Parcel(2 * PIECE)
    pieces.refer(DEAD, parcel)
    pieces.give_up(DEAD)
    pieces.unsent(Ahead(lease=1, chunk=1, scatter=1, parts=(parcel,)), last=True)
    assert parcel.taker is not None
