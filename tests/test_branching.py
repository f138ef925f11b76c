"""A leader whose tasks lack memory: who is asked for more, and who is told what."""

import json
from array import array

import pytest

from builders import entry
from mpipool.group import Member
from mpipool.ids import BROKER, ExecutorId, LeaseId, Rank
from mpipool.leading import Leading
from mpipool.messages import (
    Items,
    Lend,
    Open,
    Recall,
    Refuse,
    Refused,
    Results,
    Return,
    RunTasks,
    TasksDone,
    Want,
)
from mpipool.needs import Needs
from mpipool.needs import unpack as unpack_needs
from mpipool.node import Node
from mpipool.outcomes import Outcomes, pack
from mpipool.task import DONE, FAILED, STARVED, Outcome, dump_details, load_details

SCRIPT, MEMBER = ExecutorId(0), Rank(1)
DEATH = {"error": "MemoryExceeded", "reason": "it used too much", "message": "too much (peak 1)"}
MIB = 1024
"""KiB."""


class Leader:
    """A leader with one scatter of single tasks, and the broker and a member as one hand."""

    rank = BROKER

    def __init__(self, tasks=1, node=Node(4000, 4), known=(), **options):  # noqa: B008
        self.sent, self.told = [], []
        self.leading = Leading(self, Member(), lambda who, message: self.told.append(message), node)
        needs = Needs(memory=options.pop("memory", 100), threads=options.pop("threads", 1))
        shared = json.dumps(options.pop("shared", {})).encode()
        opening = {"retries": 0, "recorded": True, "keyed": False, "stage": "s"} | options
        self.leading.open(
            SCRIPT,
            Open(request=7, digest=b"d" * 16, needs=needs.packed(), parts=(shared, b""), **opening),
        )
        sizes = array("Q", [1] * tasks).tobytes()
        known = (b"", b"", array("q", known).tobytes()) if known else ()
        items = Items(request=7, last=True, parts=(sizes, *known, b"abcdefgh"[:tasks]))
        self.leading.extend(SCRIPT, items, 0.0)
        (self.origin, *_) = self.leading.scatters
        self.leases = 0

    def send(self, to, message):
        self.sent.append((to, message))

    def take(self, kind):
        found = [message for _, message in self.sent if isinstance(message, kind)]
        self.sent = [(to, message) for to, message in self.sent if not isinstance(message, kind)]
        return found

    def lend(self, scatter):
        """Lend a rank, if none is at work; return what it is to run."""
        given = self.given(scatter)
        if given:
            return given
        self.leases += 1
        lend = Lend(lease=LeaseId(self.leases), scatter=scatter, rank=MEMBER, quantum=9.0)
        self.leading.lent(lend, 0.0)
        return self.given(scatter)

    def given(self, scatter):
        """Return what a member is to run of a scatter, and has not begun."""
        all_given = self.take(RunTasks)
        self.sent += [(MEMBER, chunk) for chunk in all_given if chunk.scatter != scatter]
        return [chunk for chunk in all_given if chunk.scatter == scatter]

    def end(self, chunk, state, peak=300, details=DEATH):
        """Report how the one task of a chunk has ended, with its peak in MiB."""
        said = b"" if state == DONE else dump_details(details)
        row = entry(state, len(said), 1, peak=peak * MIB)
        parts = pack([Outcome(row, memoryview(said), memoryview(b"r"))])
        report = TasksDone(
            lease=chunk.lease, chunk=chunk.chunk, scatter=chunk.scatter, first=chunk.first,
            count=1, back=0, failures=int(state != DONE), busy=1.0, leave=False, parts=parts,
        )  # fmt: skip
        self.leading.done(MEMBER, report, 0.0)

    def branches(self):
        """Return the branches which the broker has heard of since the last call."""
        return [want for want in self.take(Want) if want.origin and not want.closed]

    def results(self):
        """Return what the caller was told since the last call, by index."""
        told, self.told = self.told, []
        assert all(message.request == 7 for message in told)
        return {
            index: outcome
            for message in told
            if isinstance(message, Results)
            for index, outcome in enumerate(Outcomes(message.first, message.parts), message.first)
        }


def starved(leader, peak=300, scatter=None):
    """Have the next task lack memory; return the branches which that makes."""
    leader.take(Want)
    (chunk,) = leader.lend(scatter or leader.origin)
    leader.end(chunk, STARVED, peak)
    return leader.branches()


def test_a_branch_is_asked_for_with_twice_the_memory():
    leader = Leader()
    [want] = starved(leader)
    assert unpack_needs(want.needs) == Needs(memory=200)
    assert (want.origin, want.path) == (leader.origin, (leader.origin, want.scatter))
    assert (want.queued, want.stage) == (1, "s")
    assert leader.results() == {}


def test_what_it_runs_are_tasks_of_its_origin_with_more_memory():
    leader = Leader(tasks=2)
    (chunk,) = leader.lend(leader.origin)
    leader.end(chunk, DONE)
    [want] = starved(leader)
    (again,) = leader.lend(want.scatter)
    assert (again.scatter, again.path, again.scope) == (
        want.scatter, (leader.origin,), leader.origin,
    )  # fmt: skip
    assert (again.first, again.attempt, again.memory) == (1, 2, 200)
    assert bytes(again.parts[1]) == b"b"


def test_their_outcomes_are_delivered_and_recorded_as_its_origin_s():
    leader = Leader()
    [want] = starved(leader)
    (again,) = leader.lend(want.scatter)
    leader.end(again, DONE, 150)
    assert leader.results()[0].entry.state == DONE
    assert leader.leading.scatters == {}
    [(_, told)] = leader.leading.records.take()
    batches = array("q", told.batches)
    # Scatter, rank, first task, attempt, keyed: of both attempts.
    assert list(batches) == [leader.origin, MEMBER, 0, 1, 0, leader.origin, MEMBER, 0, 2, 0]
    assert {want.scatter for want in leader.take(Want) if want.closed} == {
        leader.origin, again.scatter,
    }  # fmt: skip
    assert len(leader.take(Return)) == 2


def test_there_is_one_branch_for_each_amount():
    leader = Leader(tasks=3)
    [first] = starved(leader)
    [second] = starved(leader)
    assert (second.scatter, second.queued) == (first.scatter, 2)
    wants = starved(leader, scatter=first.scatter)
    [third] = [want for want in wants if want.scatter != first.scatter]
    assert unpack_needs(third.needs).memory == 400
    assert third.origin == leader.origin


def test_a_branch_of_the_same_amount_is_made_again():
    leader = Leader(tasks=2)
    [first] = starved(leader)
    (again,) = leader.lend(first.scatter)
    leader.end(again, DONE, peak=150)
    [second] = starved(leader)
    assert unpack_needs(second.needs) == unpack_needs(first.needs)
    assert second.scatter != first.scatter
    assert leader.lend(second.scatter)[0].first == 1


def test_when_the_cap_is_reached_it_has_failed():
    leader = Leader(shared={"growth": {"factor": 3.0, "cap": 250}})
    [want] = starved(leader)
    assert unpack_needs(want.needs).memory == 250
    assert starved(leader, scatter=want.scatter) == []
    assert leader.results()[0].entry.state == STARVED


def test_then_its_retries_count():
    leader = Leader(retries=1, shared={"growth": {"cap": 200}})
    [want] = starved(leader)
    assert starved(leader, scatter=want.scatter) == []
    assert leader.results() == {}
    (again,) = leader.take(RunTasks)
    leader.end(again, FAILED)
    assert leader.results()[0].entry.state == FAILED


def test_the_cap_is_what_the_node_has_unless_something_else_is_said():
    leader = Leader(memory=3000)
    [want] = starved(leader)
    assert unpack_needs(want.needs).memory == 4000
    assert starved(leader, scatter=want.scatter) == []


def test_without_growth_it_fails_at_once():
    leader = Leader(shared={"growth": {"factor": 1.0}})
    assert starved(leader) == []
    assert leader.results()[0].entry.state == STARVED


def test_who_has_asked_for_nothing_starts_from_what_was_seen_and_has_its_share_of_cores():
    leader = Leader(memory=0)
    [want] = starved(leader, peak=1000)
    assert unpack_needs(want.needs) == Needs(memory=2048, threads=3)  # of 4 ranks with 1000 each


def test_who_has_asked_for_cores_keeps_these():
    leader = Leader(memory=0, threads=4)
    [want] = starved(leader, peak=1000)
    assert unpack_needs(want.needs) == Needs(memory=2048, threads=4)


def test_where_nothing_is_known_of_the_node_no_cores_are_held():
    leader = Leader(memory=0, node=Node())
    [want] = starved(leader, peak=1000)
    assert unpack_needs(want.needs) == Needs(memory=2048)


def test_the_next_ones_begin_with_what_such_tasks_have_needed():
    leader = Leader(tasks=3)
    [want] = starved(leader)
    (again,) = leader.lend(want.scatter)
    leader.end(again, STARVED)
    [more] = leader.branches()
    (again,) = leader.lend(more.scatter)
    leader.end(again, DONE, peak=350)
    [want] = starved(leader)
    assert unpack_needs(want.needs).memory == 384  # not 200: 350, rounded


def test_a_task_which_is_known_to_need_more_begins_with_that():
    leader = Leader(tasks=3, known=[0, 500, 90])
    [want] = leader.branches()
    assert (unpack_needs(want.needs).memory, want.queued) == (500, 1)
    (chunk,) = leader.lend(want.scatter)
    assert (chunk.first, chunk.attempt) == (1, 1)
    assert leader.lend(leader.origin)[0].first == 0


def test_not_with_more_than_a_node_has():
    [want] = Leader(tasks=1, known=[5000]).branches()
    assert unpack_needs(want.needs).memory == 4000


def test_what_a_refused_branch_would_have_run_has_failed_as_it_did_before():
    leader = Leader(tasks=2)
    [want] = starved(leader)
    leader.leading.refused(Refuse(scatter=want.scatter, reason="no node has that"), 0.0)
    assert not any(isinstance(message, Refused) for message in leader.told)
    outcome = leader.results()[0]
    assert (outcome.entry.state, bytes(outcome.result)) == (STARVED, b"r")
    assert load_details(outcome.details) == {
        "error": "MemoryExceeded",
        "reason": "it used too much; it can't have 200 MiB: no node has that",
        "message": "too much (peak 1); it can't have 200 MiB: no node has that",
    }
    assert starved(leader) == []  # nor is it tried for others
    assert leader.results()[1].entry.state == STARVED
    assert leader.leading.scatters == {}


def test_so_has_one_of_which_an_earlier_run_has_said_what_it_needs():
    leader = Leader(known=[500])
    [want] = leader.branches()
    leader.leading.refused(Refuse(scatter=want.scatter, reason="no node has that"), 0.0)
    details = load_details(leader.results()[0].details)
    assert details["error"] == "MemoryExceeded"
    assert details["reason"].endswith("needed more than its memory=; it can't have 500 MiB: "
                                      "no node has that")  # fmt: skip


def test_who_gives_up_a_scatter_gives_up_its_branches():
    leader = Leader()
    [want] = starved(leader)
    (again,) = leader.lend(want.scatter)
    leader.leading.abandon(SCRIPT, 7, 0.0)
    assert leader.take(Recall) == [Recall(lease=again.lease)]
    leader.end(again, DONE)
    assert leader.results() == {}
    assert leader.leading.scatters == {}


@pytest.mark.parametrize("running", [True, False])
def test_with_its_owner_everything_is_given_up(running):
    leader = Leader()
    [want] = starved(leader)
    if running:
        (again,) = leader.lend(want.scatter)
    leader.leading.owner_died(SCRIPT, 0.0)
    if running:
        leader.end(again, DONE)
    assert leader.leading.scatters == {}
