"""Data stay where they were made, go to whoever asks for them, and are let go everywhere."""

import pytest

from mpipool.ids import ExecutorId, Rank, data_id
from mpipool.keeping import Keeping
from mpipool.messages import Fetch, Fetched, Keep, Message, Release
from mpipool.transport.local import local_world


class Ranks:
    """Three ranks joined by transports, and what their processes are told."""

    def __init__(self, size: int = 3) -> None:
        self.transports = local_world(size)
        self.told: list[list[tuple[int, Message]]] = [[] for _ in range(size)]
        self.keepings = [
            Keeping(
                transport, lambda executor, message, told=told: told.append((executor, message))
            )
            for transport, told in zip(self.transports, self.told, strict=True)
        ]

    def deliver(self, rank: int) -> None:
        """Let a rank take the messages which are on their way to it, as its agent does."""
        for sender, message in self.transports[rank].receive():
            match message:
                case Fetch():
                    self.keepings[rank].asked(sender, message)
                case Fetched():
                    self.keepings[rank].fetched(message)
                case Release():
                    self.keepings[rank].released(message)

    def settle(self) -> None:
        """Let all ranks take their messages until none is on its way."""
        while not all(transport.may_sleep() for transport in self.transports):
            for rank in range(len(self.transports)):
                self.deliver(rank)

    def fetch(self, rank: int, data: int, *, executor: int = 1, request: int = 1, copies=True):
        fetch = Fetch(request=request, data=data, copies=copies)
        self.keepings[rank].fetch(ExecutorId(executor), fetch)

    def answers(self, rank: int) -> list[tuple[int, int, bytes | None]]:
        """Return which process got which answer to which request, and forget that."""
        answers = [
            (executor, message.request, bytes(message.parts[0]) if message.parts else None)
            for executor, message in self.told[rank]
        ]
        self.told[rank].clear()
        return answers

    def sent(self, rank: int, kind: str) -> list[int]:
        """Return how many messages of a kind a rank sent, and how many bytes of data in them."""
        return self.transports[rank].traffic.sent.get(kind, [0, 0])


@pytest.fixture
def ranks() -> Ranks:
    return Ranks()


def test_each_data_have_an_id_which_says_where_they_are(ranks):
    assert [ranks.keepings[2].keep(b"a"), ranks.keepings[2].keep(b"b")] == [
        data_id(Rank(2), 1), data_id(Rank(2), 2),
    ]  # fmt: skip
    assert len(ranks.keepings[2]) == 2


def test_a_process_which_stores_something_is_told_the_id(ranks):
    ranks.keepings[1].store(ExecutorId(4), Keep(request=9, parts=(b"sky map",)))
    stored = data_id(Rank(1), 1)
    assert ranks.told[1] == [(4, Fetched(request=9, data=stored))]
    ranks.fetch(1, stored)
    assert ranks.answers(1)[1:] == [(1, 1, b"sky map")]


def test_what_is_kept_does_not_hold_on_to_the_message_around_it(ranks):
    message = bytearray(b"header data")
    kept = ranks.keepings[0].keep(memoryview(message)[7:])
    message[7:] = b"????"
    ranks.fetch(0, kept)
    assert ranks.answers(0) == [(1, 1, b"data")]


def test_at_home_nothing_is_sent(ranks):
    kept = ranks.keepings[1].keep(b"data")
    ranks.fetch(1, kept, executor=7, request=3)
    assert ranks.answers(1) == [(7, 3, b"data")]
    assert all(transport.traffic.sent == {} for transport in ranks.transports)


def test_data_go_from_rank_to_rank_and_not_by_way_of_another(ranks):
    kept = ranks.keepings[1].keep(b"data")
    ranks.fetch(2, kept, executor=7, request=3)
    ranks.settle()
    assert ranks.answers(2) == [(7, 3, b"data")]
    assert [ranks.sent(rank, "Fetched") for rank in range(3)] == [[0, 0], [1, 4], [0, 0]]
    assert ranks.transports[0].traffic.sent == {}


def test_what_is_stored_goes_to_a_rank_once_however_many_processes_ask(ranks):
    stored = ranks.keepings[0].keep(b"data")
    for executor in (1, 2):
        ranks.fetch(2, stored, executor=executor, request=10 + executor)
    ranks.settle()
    assert ranks.answers(2) == [(1, 11, b"data"), (2, 12, b"data")]
    ranks.fetch(2, stored, executor=3, request=13)
    assert ranks.answers(2) == [(3, 13, b"data")]
    ranks.fetch(1, stored)
    ranks.settle()
    assert ranks.answers(1) == [(1, 1, b"data")]
    assert ranks.sent(0, "Fetched") == [2, 8]
    assert ranks.sent(2, "Fetch")[0] == 1
    assert [len(keeping) for keeping in ranks.keepings] == [1, 1, 1]


def test_concurrent_askers_for_what_leaves_no_copy_share_one_way(ranks):
    kept = ranks.keepings[0].keep(b"data")
    for executor in (1, 2):
        ranks.fetch(2, kept, executor=executor, copies=False)
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, b"data"), (2, 1, b"data")]
    assert ranks.sent(0, "Fetched") == [1, 4]
    assert len(ranks.keepings[2]) == 0
    ranks.fetch(2, kept, copies=False)
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, b"data")]
    assert ranks.sent(0, "Fetched") == [2, 8]


def test_different_data_are_asked_for_apart(ranks):
    first, second = (ranks.keepings[0].keep(data) for data in (b"a", b"b"))
    ranks.fetch(2, first, request=1)
    ranks.fetch(2, second, request=2)
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, b"a"), (1, 2, b"b")]


@pytest.mark.parametrize("by", [0, 1, 2])
def test_whoever_lets_data_go_they_go_at_home_and_where_there_are_copies(ranks, by):
    stored, other = (ranks.keepings[0].keep(data) for data in (b"data", b"other"))
    for rank in (1, 2):
        for data in (stored, other):
            ranks.fetch(rank, data)
    ranks.settle()
    ranks.keepings[by].release([stored])
    ranks.settle()
    for rank in range(3):
        ranks.answers(rank)
        ranks.fetch(rank, stored)
        ranks.fetch(rank, other, request=2)
    ranks.settle()
    for rank in range(3):
        assert sorted(ranks.answers(rank)) == [(1, 1, None), (1, 2, b"other")]
        assert len(ranks.keepings[rank]) == 1


def test_data_of_several_homes_are_let_go_with_a_message_to_each(ranks):
    data = [ranks.keepings[rank].keep(b"data") for rank in (0, 1, 1)]
    ranks.keepings[2].release(data)
    assert ranks.sent(2, "Release")[0] == 2
    ranks.settle()
    assert [len(keeping) for keeping in ranks.keepings] == [0, 0, 0]


def test_only_ranks_with_copies_hear_that_data_are_let_go(ranks):
    stored, kept = (ranks.keepings[0].keep(data) for data in (b"stored", b"kept"))
    ranks.fetch(1, stored)
    ranks.fetch(2, kept, copies=False)
    ranks.settle()
    ranks.keepings[0].release([stored, kept])
    ranks.deliver(0)
    assert [rank for rank in range(3) if not ranks.transports[rank].may_sleep()] == [1]
    ranks.settle()
    ranks.keepings[0].release([stored])
    ranks.deliver(0)
    assert ranks.transports[1].may_sleep()


def test_data_which_are_let_go_while_they_are_on_the_way_leave_no_copy(ranks):
    stored = ranks.keepings[0].keep(b"data")
    ranks.fetch(2, stored)
    ranks.deliver(0)  # it sends them
    ranks.keepings[1].release([stored])
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, b"data")]
    assert [len(keeping) for keeping in ranks.keepings] == [0, 0, 0]


def test_data_which_were_let_go_before_the_request_comes_are_not_there(ranks):
    stored = ranks.keepings[0].keep(b"data")
    ranks.keepings[1].release([stored])
    for executor in (1, 2):
        ranks.fetch(2, stored, executor=executor)
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, None), (2, 1, None)]
    ranks.fetch(2, stored, request=2)  # they are asked for again, and not remembered as missing
    assert ranks.sent(2, "Fetch")[0] == 2


@pytest.mark.parametrize("home", [1, 2])
def test_data_which_never_were_are_not_there(ranks, home):
    unknown = data_id(Rank(home), 77)
    for executor in (1, 2):
        ranks.fetch(2, unknown, executor=executor)
    assert ranks.sent(2, "Fetch")[0] == (1 if home != 2 else 0)
    ranks.settle()
    assert ranks.answers(2) == [(1, 1, None), (2, 1, None)]
    ranks.keepings[0].release([unknown])
    ranks.deliver(home)
    assert all(transport.may_sleep() for transport in ranks.transports)  # nobody has a copy
    ranks.settle()
    assert [len(keeping) for keeping in ranks.keepings] == [0, 0, 0]
