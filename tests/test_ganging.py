"""What ranks do for gangs, without MPI: their own processes are played by the test."""

import json
from array import array
from collections import deque

import pytest

from mpipool.definitions import SMALL, Definitions
from mpipool.errors import UsageError
from mpipool.executor.pickling import loads
from mpipool.ganging import NEEDS_MPI, Ganging, NotHere
from mpipool.group import Member
from mpipool.group.gang import GRACE
from mpipool.ids import HERE, ChunkId, LeaseId, Rank, ScatterId, gang_id, scatter_id
from mpipool.keeping import Keeping
from mpipool.messages import Assemble, Define, Despair, Missed, RunTasks, TasksDone
from mpipool.outcomes import Outcomes, pack
from mpipool.serving import Serving
from mpipool.task import DONE, FAILED, Entry, Outcome, dump_details
from mpipool.transport.local import local_world

LEADER, FIRST, SECOND = map(Rank, range(3))
SCATTER, INNER = scatter_id(LEADER, 1), scatter_id(FIRST, 1)
LEASE = LeaseId(7)
DIGEST = b"digest"


class Process:
    """The rank's own process: notes what it is told."""

    refusal = ""

    def __init__(self) -> None:
        self.due = self.joined = self.closed = False
        self.told: list = []
        self.chunk: RunTasks | None = None

    def send(self, message):
        self.told.append(message)

    def enter(self, gang, ranks, chunk):
        assert not self.due
        self.due, self.chunk, self.ranks = True, chunk, ranks

    def close(self):
        self.closed = True


class Site:
    """One rank."""

    def __init__(self, transport, here) -> None:
        self.transport, self.here = transport, here
        self.member = Member()
        keeping = Keeping(transport, lambda *_: None)
        self.serving = Serving(transport, self.member, None, keeping)
        definitions = Definitions(transport)
        self.ganging = Ganging(transport, self.member, self.serving, definitions, here)
        self.got: list = []
        self.now = 0.0

    def take(self, sender, message):
        match message:
            case RunTasks():
                assert self.ganging.takes(message)
                self.ganging.run(sender, message, self.now)
            case Define():
                if self.serving.define(sender, message):
                    self.ganging.forget(message)
            case TasksDone() | Despair() | Missed():
                self.got.append(message)
            case _:
                self.ganging.take(sender, message, self.now)

    def ends(self, state=DONE, result=b"result", **details):
        """Let the task in this process end."""
        encoded = dump_details(details) if details else b""
        row = Entry(state, len(encoded), 1.0, 0.5, 0.25, 10, len(result))
        chunk = self.here.chunk
        self.ganging.ended(
            TasksDone(
                lease=chunk.lease, chunk=chunk.chunk, scatter=chunk.scatter, first=chunk.first,
                count=1, back=0, failures=int(state != DONE), busy=0.5, leave=False,
                parts=pack([Outcome(row, memoryview(encoded), memoryview(result))]),
            )
        )  # fmt: skip
        self.here.due = False
        self.ganging.main_thread_is_free()


class Ranks:
    """A leader, which is broker too, and two members."""

    def __init__(self, refusal="") -> None:
        make = (lambda: NotHere(refusal)) if refusal else Process
        self.sites = [Site(transport, make()) for transport in local_world(3)]
        self.leader, self.first, self.second = self.sites
        self.chunks = 0

    def settle(self):
        """Deliver all messages."""
        moved = deque([True])
        while moved:
            moved.clear()
            for site in self.sites:
                for sender, message in site.transport.receive():
                    moved.append(True)
                    site.take(sender, message)

    def give(self, items, function=b"function", **shared):
        """Give the first member a chunk for both."""
        self.tell_first(items, function, **shared)
        self.settle()

    def tell_first(self, items, function=b"function", **shared):
        """The same; it has not come yet."""
        self.chunks += 1
        send = self.leader.transport.send
        told = {"in_place": True, "fewest": 2} | shared
        send(FIRST, Define(digest=DIGEST, parts=(json.dumps(told).encode(), function)))
        chunk = RunTasks(
            lease=LEASE, chunk=ChunkId(self.chunks), scatter=SCATTER, path=(SCATTER,),
            digest=DIGEST, first=0, count=len(items), attempt=1, cores=(FIRST, SECOND),
            parts=(array("Q", map(len, items)).tobytes(), b"".join(items)),
        )  # fmt: skip
        send(FIRST, chunk)


def brief(reports):
    return [(r.first, r.count, r.back, r.failures) for r in reports]


def test_both_members_run_the_item_and_the_first_ones_result_goes_to_the_leader():
    ranks = Ranks()
    ranks.give([b"item"])
    for site in (ranks.first, ranks.second):
        assert site.here.due
        assert site.here.ranks == (FIRST, SECOND)
        assert bytes(site.here.chunk.parts[1]) == b"item"
        assert bytes(site.here.told[0].parts[1]) == b"function"
    ranks.second.ends(result=b"")
    ranks.settle()
    assert ranks.leader.got == []
    ranks.first.ends(result=b"mine")
    ranks.settle()
    (report,) = ranks.leader.got
    assert (report.lease, report.scatter) == (LEASE, SCATTER)
    assert (brief([report]), report.busy) == ([(0, 1, 0, 0)], 0.5)
    (outcome,) = Outcomes(0, report.parts)
    assert (bytes(outcome.result), outcome.entry.cpu) == (b"mine", 0.5)
    assert [site.member.entries for site in ranks.sites] == [{}, {}, {}]


def test_tasks_of_a_chunk_run_one_after_the_other_and_the_function_is_sent_once():
    ranks = Ranks()
    ranks.give([b"a", b"bb", b"ccc"])
    for task in range(3):
        assert [s.here.chunk.first for s in (ranks.first, ranks.second)] == [task, task]
        ranks.first.ends()
        ranks.second.ends()
        ranks.settle()
    assert brief(ranks.leader.got) == [(0, 1, 0, 0), (1, 1, 0, 0), (2, 1, 0, 0)]
    assert [len(s.here.told) for s in (ranks.first, ranks.second)] == [1, 1]


def test_while_it_runs_each_member_has_an_entry_for_what_the_task_scatters():
    ranks = Ranks()
    ranks.give([b"item"])
    entries = [site.member.entry(LEASE, HERE) for site in (ranks.first, ranks.second)]
    assert [(entry.path, entry.seat) for entry in entries] == [
        ((SCATTER,), False), ((SCATTER,), True),
    ]  # fmt: skip


def test_a_large_function_is_forgotten_by_all_when_the_chunk_is_done():
    ranks = Ranks()
    ranks.give([b"item"], bytes(SMALL + 1))
    ranks.first.ends()
    ranks.second.ends()
    ranks.settle()
    with pytest.raises(KeyError):
        ranks.second.serving.definition(DIGEST)
    assert ranks.second.here.told[-1] == Define(digest=DIGEST, forget=True)


def test_a_failure_is_told_with_what_was_said_of_it():
    ranks = Ranks()
    ranks.give([b"item"])
    ranks.first.ends()
    ranks.second.ends(FAILED, b"pickled", error="ValueError", message="no")
    ranks.settle()
    assert brief(ranks.leader.got) == [(0, 1, 0, 1)]
    (outcome,) = Outcomes(0, ranks.leader.got[0].parts)
    assert bytes(outcome.result) == b"pickled"


def test_a_recalled_chunk_whose_task_runs_comes_back_behind_it():
    ranks = Ranks()
    ranks.give([b"a", b"b"])
    ranks.give([b"c"])
    ranks.first.ganging.recall(LEASE, 0.0)
    ranks.settle()
    assert brief(ranks.leader.got) == [(0, 0, 1, 0)]
    ranks.first.ends()
    ranks.second.ends()
    ranks.settle()
    assert brief(ranks.leader.got[1:]) == [(0, 1, 1, 0)]
    assert ranks.first.member.entries == {}


def test_a_gang_that_was_recalled_before_it_has_entered_leaves_no_trace():
    ranks = Ranks()
    seat = ranks.second.ganging
    seat.take(FIRST, _call(99), 0.0)  # another gang has the seat
    ranks.give([b"a"])
    assert not ranks.first.here.due
    ranks.first.ganging.recall(LEASE, 0.0)
    ranks.settle()
    assert brief(ranks.leader.got) == [(0, 0, 1, 0)]
    seat.take(FIRST, _call(99, dismissed=True), 0.0)
    ranks.give([b"b"])
    assert ranks.first.here.due
    assert ranks.second.here.due


def _call(serial, dismissed=False):
    return Assemble(gang=gang_id(FIRST, serial), dismissed=dismissed)


def test_who_does_not_come_back_is_named_after_the_failure_was_told():
    ranks = Ranks()
    ranks.give([b"a", b"b"])
    ranks.second.ends(FAILED, b"pickled", error="ValueError", message="no")
    ranks.settle()
    ranks.first.ganging.tick(GRACE + 1)
    ranks.settle()
    report, despair = ranks.leader.got
    assert brief([report]) == [(0, 1, 1, 1)]
    assert "a task of a gang raised ValueError on rank 2 (no), and ranks 1 did" in despair.reason
    ranks.first.ends()  # after all
    ranks.settle()
    assert len(ranks.leader.got) == 2


def test_when_the_run_ends_a_waiting_task_learns_it_and_the_rank_stays_for_a_while():
    ranks = Ranks()
    ranks.give([b"a"])
    ranks.first.ganging.stop(100.0)
    assert ranks.first.here.closed
    assert ranks.first.ganging.detains(100.0 + GRACE / 2)
    assert not ranks.first.ganging.detains(100.0 + GRACE + 1)
    ranks.first.ends()
    assert not ranks.first.ganging.detains(100.0)


def test_a_rank_that_leaves_does_not_sit_down_any_more():
    ranks = Ranks()
    ranks.second.ganging.stop(0.0)
    ranks.give([b"a"])
    assert not ranks.first.here.due
    assert not ranks.second.ganging.detains(1.0)


def test_a_gang_which_is_called_enters_with_its_function_though_the_leader_has_died():
    ranks = Ranks()
    ranks.tell_first([b"a"])
    first = ranks.first
    for sender, message in first.transport.receive():
        first.take(sender, message)
    for definition in first.serving.lose(LEADER):
        first.ganging.forget(definition)
    ranks.settle()
    assert [site.here.due for site in (first, ranks.second)] == [True, True]
    assert [message.digest for message in ranks.second.here.told] == [DIGEST]


def test_a_chunk_under_a_lease_with_a_rank_that_is_gone_comes_back_at_once():
    ranks = Ranks()
    ranks.first.transport.gone.add(SECOND)
    ranks.give([b"a", b"b"])
    assert brief(ranks.leader.got) == [(0, 0, 2, 0)]
    assert not ranks.first.here.due
    assert not ranks.first.member.entries


def test_where_there_are_no_gangs_each_task_fails_with_the_reason():
    ranks = Ranks(NEEDS_MPI)
    ranks.give([b"a", b"b"])
    (report,) = ranks.leader.got
    assert brief([report]) == [(0, 2, 0, 2)]
    errors = [loads(outcome.result) for outcome in Outcomes(0, report.parts)]
    assert [(type(error), str(error)) for error in errors] == [(UsageError, NEEDS_MPI)] * 2


@pytest.mark.parametrize(
    ("shared", "cores", "refusal", "takes"),
    [
        ({"in_place": True, "fewest": 2}, (1, 2), "", True),
        ({"in_place": True, "fewest": 1}, (1,), "", True),
        ({"in_place": True, "fewest": 1}, (1,), NEEDS_MPI, False),
        ({"in_place": True, "fewest": 2}, (1, 2), NEEDS_MPI, True),
        ({"threads": 2}, (1, 2), "", False),
        ({}, (), "", False),
    ],
)
def test_which_chunks_are_gangs(shared, cores, refusal, takes):
    first = Ranks(refusal).first
    first.serving.define(LEADER, Define(digest=DIGEST, parts=(json.dumps(shared).encode(), b"")))
    chunk = RunTasks(
        lease=LEASE, chunk=ChunkId(1), scatter=ScatterId(3), path=(SCATTER, INNER), digest=DIGEST,
        first=0, count=1, attempt=1, cores=cores,
    )  # fmt: skip
    assert first.ganging.takes(chunk) == takes


def test_what_a_member_reports_of_no_gang_is_a_bug():
    site = Ranks().first
    site.here.chunk = RunTasks(
        lease=LEASE, chunk=ChunkId(1), scatter=SCATTER, path=(SCATTER,), digest=DIGEST, first=0,
        count=1, attempt=1,
    )  # fmt: skip
    with pytest.raises(AssertionError, match="of no gang"):
        site.ends()


@pytest.mark.parametrize("joined", [True, False])
def test_a_rank_that_does_not_get_into_its_gang_when_another_one_has_died_is_given_up(joined):
    """Where MPI leaves the living waiting for each other, no exception gets them out."""
    ranks = Ranks()
    ranks.give([b"item"])
    for site in (ranks.first, ranks.second):
        site.ganging.lose(Rank(9), 100.0)
        site.here.joined = joined
        site.ganging.tick(100.0 + GRACE / 2)
    ranks.settle()
    assert ranks.leader.got == []
    for site in (ranks.first, ranks.second):
        site.ganging.tick(100.0 + GRACE)
    ranks.settle()
    assert {m.rank for m in ranks.leader.got} == (set() if joined else {FIRST, SECOND})
