"""Parcels as the process at the end sees them, when their sender dies."""

import pytest

from mpipool.executor.ring import Ring
from mpipool.executor.rooms import Rooms, are_there, with_memory
from mpipool.messages import Ahead, Fetched, Piece, RunTasks, Shared


@pytest.fixture
def ring():
    made = Ring.make()
    yield made
    made[0].close()


@pytest.fixture
def rooms(ring):
    made = Rooms()
    made.take(Shared(), list(ring[1]))
    return made


def void(room):
    return Ahead(lease=0, chunk=0, scatter=0, void=True, parts=(room,))


def fetched(room):
    return Fetched(request=1, data=1, parts=(room,))


def run_tasks(room):
    return RunTasks(
        lease=1, chunk=1, scatter=1, path=(), digest=b"", first=0, count=1, attempt=0, parts=(room,)
    )


def fill(rooms, ring, number, data):
    owner = ring[0]
    slot = owner.take()
    owner.slot(slot)[: len(data)] = data
    rooms.take(Piece(parcel=number, slot=slot, size=len(data)), [])


def test_data_which_have_come_in_part_are_gone_if_their_sender_is(rooms, ring):
    message = fetched(rooms.find(3, 20))
    assert not rooms.take(message, [])
    fill(rooms, ring, 3, b"half of it")
    assert not are_there(message)
    assert rooms.take(void(rooms.find(3, 20)), [])
    assert are_there(message)
    assert with_memory(message) == Fetched(request=1, data=1, parts=())


def test_tasks_whose_items_have_come_in_part_do_not_begin_if_their_leader_is_dead(rooms, ring):
    message = run_tasks(rooms.find(3, 20))
    rooms.take(message, [])
    fill(rooms, ring, 3, b"half of it")
    rooms.take(void(rooms.find(3, 20)), [])
    assert are_there(message)
    assert with_memory(message) is None


def test_what_was_complete_stays_good(rooms, ring):
    message = fetched(rooms.find(3, 4))
    rooms.take(message, [])
    fill(rooms, ring, 3, b"data")
    rooms.take(void(rooms.find(3, 4)), [])
    assert bytes(with_memory(message).parts[0]) == b"data"


def test_a_number_is_free_again_after_its_parcel_was_void(rooms, ring):
    rooms.take(fetched(rooms.find(3, 20)), [])
    rooms.take(void(rooms.find(3, 20)), [])
    message = fetched(rooms.find(3, 4))
    rooms.take(message, [])
    fill(rooms, ring, 3, b"next")
    assert bytes(with_memory(message).parts[0]) == b"next"
