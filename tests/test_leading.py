"""What a leader does with what comes too late."""

from array import array
from dataclasses import replace

from builders import batch
from mpipool.group import Member
from mpipool.ids import BROKER, ChunkId, DataId, ExecutorId, LeaseId, Rank, ScatterId
from mpipool.leading import Leading
from mpipool.messages import (
    Drain,
    Forget,
    Halted,
    Items,
    Lend,
    Open,
    Recall,
    Release,
    RunTasks,
    TasksDone,
)
from mpipool.task import DONE, KEPT

SCRIPT, MEMBER = ExecutorId(0), Rank(1)


class Wire:
    """A transport which keeps what is sent."""

    rank = BROKER

    def __init__(self):
        self.sent = []
        self.told = []
        """What callers are."""

    def send(self, to, message):
        self.sent.append((to, message))

    def of(self, kind):
        return [(to, message) for to, message in self.sent if isinstance(message, kind)]


def leader(tasks, **details):
    """Make a leader with one scatter, of which a member has the first task."""
    wire = Wire()
    made = Leading(wire, Member(), lambda executor, message: wire.told.append(message))
    begin(made, tasks, **details)
    (scatter,) = made.scatters
    made.lent(Lend(lease=LeaseId(1), scatter=scatter, rank=MEMBER, quantum=0.1), 0.0)
    ((_, chunk),) = wire.of(RunTasks)
    return made, wire, chunk


def begin(made, tasks, owner=SCRIPT, **details):
    """Open a scatter, and give it all its items."""
    opening = Open(
        request=1, digest=b"d" * 16, stage="", retries=0, recorded=False, keyed=False,
        parts=(b"{}", b"f"), **details,
    )  # fmt: skip
    made.open(owner, opening)
    sizes = array("Q", [1] * tasks).tobytes()
    made.extend(owner, Items(request=1, last=True, parts=(sizes, b"x" * tasks)), 0.0)


def halts(wire):
    return [message for message in wire.told if isinstance(message, Halted)]


def outcome(chunk, result):
    return TasksDone(
        lease=chunk.lease, chunk=ChunkId(chunk.chunk), scatter=chunk.scatter, first=chunk.first,
        count=1, back=0, failures=0, busy=0.0, leave=False, executor=ExecutorId(3),
        parts=batch((DONE, b"", result)),
    )  # fmt: skip


def test_results_which_were_kept_for_a_scatter_that_was_given_up_are_let_go_where_they_are():
    made, wire, chunk = leader(tasks=2, keep=True)
    made.abandon(SCRIPT, 1, 0.0)
    assert wire.of(Recall) == [(MEMBER, Recall(lease=chunk.lease))]
    made.done(MEMBER, outcome(chunk, KEPT.pack(77, 1000)), 0.0)
    assert wire.of(Release) == [(MEMBER, Release(data=(DataId(77),)))]
    assert not made.scatters


def test_other_results_of_such_a_scatter_are_just_dropped():
    made, wire, chunk = leader(tasks=2)
    made.abandon(SCRIPT, 1, 0.0)
    made.done(MEMBER, outcome(chunk, b"result"), 0.0)
    assert wire.of(Release) == []
    assert not made.scatters


# --- draining ------------------------------------------------------------------------------------


def draining(seconds=60.0, reason="SIGTERM"):
    return Drain(seconds=seconds, reason=reason, exit_code=75)


def test_when_the_run_drains_the_caller_is_told_once_nothing_of_its_scatter_runs():
    made, wire, chunk = leader(tasks=3)
    made.drain(draining(), 0.0)
    assert halts(wire) == []
    made.done(MEMBER, outcome(chunk, b"result"), 1.0)
    assert halts(wire) == [Halted(request=1, interrupted=0, reason="SIGTERM", exit_code=75)]
    assert not made.scatters
    made.tick(1e9)
    assert wire.of(Recall) == []


def test_when_time_is_up_ranks_are_to_end_what_they_run():
    made, wire, chunk = leader(tasks=3)
    made.drain(draining(), 0.0)
    made.tick(59.9)
    assert wire.of(Recall) == []
    made.tick(60.0)
    made.tick(60.1)
    assert wire.of(Recall) == [(MEMBER, Recall(lease=chunk.lease))]


def test_a_rank_which_does_not_answer_is_not_waited_for():
    made, wire, chunk = leader(tasks=3)
    made.drain(draining(), 0.0)
    made.tick(60.0)
    made.tick(61.9)
    assert halts(wire) == []
    made.tick(62.0)
    assert halts(wire) == [Halted(request=1, interrupted=1, reason="SIGTERM", exit_code=75)]
    made.done(MEMBER, outcome(chunk, b"result"), 63.0)  # too late: it is on record as interrupted
    assert not made.scatters


def test_where_the_launcher_leaves_no_time_no_rank_is_waited_for():
    made, wire, chunk = leader(tasks=3)
    made.drain(draining(seconds=0.0), 0.0)
    made.tick(0.0)
    assert wire.of(Recall) == [(MEMBER, Recall(lease=chunk.lease))]
    made.tick(0.1)
    assert halts(wire) == [Halted(request=1, interrupted=1, reason="SIGTERM", exit_code=75)]


def test_a_scatter_which_the_script_opens_while_the_run_drains_is_halted_at_its_first_items():
    made, wire, chunk = leader(tasks=1)
    made.drain(draining(), 0.0)
    made.done(MEMBER, outcome(chunk, b"result"), 1.0)
    begin(made, tasks=2)
    assert halts(wire) == [Halted(request=1, interrupted=0, reason="SIGTERM", exit_code=75)]


def test_what_a_task_scatters_while_the_run_drains_is_begun():
    made, wire, _ = leader(tasks=1)
    made.drain(draining(), 0.0)
    entry, _ = made._member.place(LeaseId(1), (ScatterId(99),))
    begin(made, tasks=2, owner=entry.executor, lease=LeaseId(1))
    scatter = max(made.scatters)
    made.lent(Lend(lease=LeaseId(2), scatter=scatter, rank=MEMBER, quantum=0.1), 0.0)
    assert wire.of(RunTasks)[-1][1].scatter == scatter
    made.tick(60.0)
    assert [recall.lease for _, recall in wire.of(Recall)] == [1]


def test_caches_on_a_rank_which_is_shunned_are_made_again_elsewhere():
    made, _, chunk = leader(tasks=1)
    made.shun(MEMBER, 0.0)
    (led,) = made.scatters.values()
    made.done(MEMBER, replace(outcome(chunk, b"result"), cached=(0,)), 1.0)
    assert led.scope.places == {}
    assert led.scope.lost == {0}


def test_caches_of_a_scatter_which_was_given_up_are_let_go_where_they_are():
    made, wire, chunk = leader(tasks=2)
    made.abandon(SCRIPT, 1, 0.0)
    made.done(MEMBER, replace(outcome(chunk, b"result"), cached=(0,)), 1.0)
    assert wire.of(Forget) == [(MEMBER, Forget(scope=chunk.scatter))]
    made.let_go((SCRIPT, 0, 0))
    assert len(wire.of(Forget)) == 1


def test_the_mean_of_an_earlier_run_is_expected_until_this_one_knows_better():
    made, _, chunk = leader(tasks=3, mean=8.0)
    (led,) = made.scatters.values()
    assert led.machine.expected(1) == 8.0
    made.done(MEMBER, replace(outcome(chunk, b""), count=1, busy=8.0), 8.0)
    made.abandon(SCRIPT, 1, 9.0)
    begin(made, 3, mean=2.0)
    assert [led.machine.expected(0) for led in made.scatters.values()][-1] == 8.0
