"""What a rank does for leaders: with processes that die, with caches, and with time limits."""

import json
import time

import pytest

from builders import batch, led_by
from mpipool.executor.memory import Excess
from mpipool.executor.process import Death
from mpipool.group import Member
from mpipool.ids import ANY_EXECUTOR, BROKER, GONE, ExecutorId, Rank
from mpipool.keeping import Keeping
from mpipool.messages import (
    Blocked,
    Define,
    Fetch,
    Forget,
    Message,
    Recall,
    Return,
    RunTasks,
    TasksDone,
)
from mpipool.outcomes import Outcomes
from mpipool.serving import Serving
from mpipool.task import DONE, FAILED, INTERRUPTED, KEPT, LOST, REDO, STARVED, load_details
from mpipool.transport.local import local_world

ME, LEADER, ANOTHER = Rank(1), Rank(2), Rank(3)
S, T = led_by(LEADER, 1), led_by(LEADER, 2)
MINE = led_by(ME)
F, G, H = (bytes([letter]) * 16 for letter in b"fgh")
BEGAN = 1000.0
"""Seconds since the epoch."""


class Processes:
    """Stands for the processes below an agent, and notes what they are told."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.sent: list[tuple[int, Message]] = []
        self.killed: list[int] = []
        self.ended: list[int] = []
        self.running: dict[int, tuple[int, float]] = {}
        self.limits: dict[int, int] = {}
        self.too_large: dict[int, str] = {}

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def start(self, executor) -> None:
        self.started.append(executor)

    def send(self, executor, message) -> None:
        self.sent.append((executor, message))

    def running_since(self, executor, lease) -> float | None:
        running, began = self.running.get(executor, (0, 0.0))
        return began if running == lease else None

    def hold(self, executor, limit) -> None:
        self.limits[executor] = limit

    def excesses(self, busy, now):
        return [Excess(executor, self.too_large[executor]) for executor in busy & {*self.too_large}]

    def kill(self, executor) -> None:
        self.killed.append(executor)

    def end(self, executor) -> None:
        self.ended.append(executor)

    def close(self) -> None:
        """Nothing is open."""


class AtWork:
    """One rank that serves leaders, with their boxes."""

    def __init__(self) -> None:
        self.transports = local_world(4)
        self.processes = Processes()
        self.member = Member()
        self.answered: list[tuple[int, Message]] = []
        self.keeping = Keeping(self.transports[ME], lambda *answer: self.answered.append(answer))
        self.serving = Serving(self.transports[ME], self.member, self.processes, self.keeping)
        for digest in (F, G, H):
            self.define(digest)

    def define(self, digest: bytes, **shared) -> None:
        define = Define(digest=digest, parts=(json.dumps(shared).encode(), b"function"))
        self.serving.define(LEADER, define)

    def run(self, lease: int, chunk: int = 1, first: int = 0, count: int = 1, **changes) -> None:
        fields = {
            "scatter": S, "path": (S,), "digest": F, "attempt": 1, "parts": (b"", b"")
        } | changes  # fmt: skip
        message = RunTasks(lease=lease, chunk=chunk, first=first, count=count, **fields)
        self.serving.run(LEADER, message)

    def wait(self, lease: int, scatter=MINE) -> None:
        [entry] = [entry for entry in self.member.entries.values() if entry.lease == lease]
        self.member.waits(entry, scatter)

    def done(self, lease: int, *states: int, executor: int = 1, first: int = 0, **changes) -> None:
        fields = {
            "scatter": S, "back": 0, "failures": 0, "busy": 1.0, "leave": False,
            "parts": batch(*[(state, b"", b"result") for state in states]),
        } | changes  # fmt: skip
        report = TasksDone(lease=lease, chunk=1, first=first, count=len(states), **fields)
        self.serving.done(ExecutorId(executor), report, 0.0)

    def told(self, leader: Rank = LEADER) -> list[Message]:
        """Return what a leader was told since it was last asked."""
        received = list(self.transports[leader].receive())
        assert {sender for sender, _ in received} <= {ME}
        return [message for _, message in received]

    def die(self, executor: int = 1, running=None, **details) -> None:
        death = Death("killed by SIGSEGV", -11, "last words", 2048, running, **details)
        self.serving.died(ExecutorId(executor), death)


@pytest.fixture
def rank() -> AtWork:
    return AtWork()


def summary(report: TasksDone) -> tuple:
    """Return what a report says: lease, chunk, first task, states, and how many come back."""
    assert isinstance(report, TasksDone)
    outcomes = Outcomes(report.first, report.parts)
    states = [outcome.entry.state for outcome in outcomes]
    assert (report.count, report.failures) == (len(states), sum(s != DONE for s in states))
    return report.lease, report.chunk, report.first, states, report.back


def summaries(reports: list[Message]) -> list[tuple]:
    return [summary(report) for report in reports]


# --- chunks --------------------------------------------------------------------------------------


def test_a_process_is_started_for_a_lease_and_gets_each_function_once(rank):
    rank.run(7)
    rank.run(7, 2, 1)
    rank.run(8, 1, digest=G)
    assert rank.processes.started == [1, 2]
    told = [(executor, type(message).__name__) for executor, message in rank.processes.sent]
    assert told == [(1, "Define"), (1, "RunTasks"), (1, "RunTasks"), (2, "Define"), (2, "RunTasks")]
    assert [message.digest for _, message in rank.processes.sent] == [F, F, F, G, G]


def test_the_functions_of_earlier_calls_come_before_the_chunk_which_needs_them(rank):
    rank.run(7, lineage=G + H)
    assert [message.digest for _, message in rank.processes.sent] == [G, H, F, F]
    rank.run(7, 2, lineage=H)
    assert len(rank.processes.sent) == 5


def test_a_function_that_is_forgotten_is_forgotten_by_the_processes_which_know_it(rank):
    rank.run(7)
    rank.run(8, digest=G)
    rank.serving.define(ANOTHER, Define(digest=F, parts=(b"{}", b"")))
    forget = Define(digest=F, forget=True)
    assert rank.serving.define(LEADER, forget) is False  # another leader needs it
    assert rank.serving.define(ANOTHER, forget) is True
    assert rank.processes.sent[4:] == [(1, forget)]
    rank.define(F)
    rank.run(7, 2)
    assert [type(message) for _, message in rank.processes.sent[5:]] == [Define, RunTasks]


def test_outcomes_are_passed_on_with_the_process_that_made_them(rank):
    rank.run(7, count=3)
    rank.run(8)
    rank.done(7, DONE, DONE, back=1, cached=(1,))
    [report] = rank.told()
    assert summary(report) == (7, 1, 0, [DONE, DONE], 1)
    assert (report.executor, report.cached, report.leave) == (1, (1,), True)  # lease 8 runs too


def test_the_broker_hears_when_all_wait_and_when_not(rank):
    rank.run(7)
    rank.serving.tell_if_blocked()
    assert rank.told(BROKER) == []
    rank.wait(7)
    rank.serving.tell_if_blocked()
    rank.serving.tell_if_blocked()
    assert rank.told(BROKER) == [Blocked(leases=(7,), tops=(MINE,))]


def test_processes_which_were_idle_for_long_are_let_go(rank):
    for lease in (7, 8):
        rank.run(lease)
    for lease, executor in ((7, 1), (8, 2)):
        rank.done(lease, DONE, executor=executor)
    rank.serving.rest(99.0)
    assert rank.processes.ended == [1]


# --- results which stay --------------------------------------------------------------------------


def test_results_which_are_to_be_kept_stay_here_and_their_ids_go(rank):
    rank.define(G, keep=True)
    rank.run(7, count=2, digest=G)
    rank.done(7, DONE, FAILED)
    [report] = rank.told()
    done, failed = Outcomes(0, report.parts)
    kept, size = KEPT.unpack(done.result)
    assert (size, len(rank.keeping), bytes(failed.result)) == (len(b"result"), 1, b"result")
    rank.keeping.fetch(ExecutorId(9), Fetch(request=1, data=kept, copies=False))
    [(_, fetched)] = rank.answered
    assert bytes(fetched.parts[0]) == b"result"


def test_other_results_go_as_they_are(rank):
    rank.run(7)
    rank.done(7, DONE)
    [report] = rank.told()
    assert bytes(report.parts[2]) == b"result"
    assert len(rank.keeping) == 0


# --- caches --------------------------------------------------------------------------------------


def leave_cache(rank: AtWork, lease: int, executor: int, scope=S) -> None:
    rank.run(lease, scope=scope)
    rank.done(lease, DONE, executor=executor, cached=(0,))
    rank.told()
    rank.processes.sent.clear()


def test_tasks_go_to_the_process_with_their_caches(rank):
    leave_cache(rank, 7, 1)
    rank.run(8)
    rank.run(9, executor=1, scope=S, scatter=T, path=(T,))
    assert rank.processes.started == [1]
    assert [executor for executor, _ in rank.processes.sent] == [1, 1]
    assert sorted(rank.member.entries) == [(8, 1), (9, 1)]


@pytest.mark.parametrize(("executor", "scope"), [(1, T), (2, S), (99, S)])
def test_tasks_whose_caches_are_not_there_come_back_at_once(rank, executor, scope):
    leave_cache(rank, 7, 1)
    rank.run(8, 3, 5, 4, executor=executor, scope=scope)
    assert rank.processes.sent == []
    assert rank.member.entries == {}
    [report] = rank.told()
    assert summary(report) == (8, 3, 5, [], 4)
    assert report.executor == GONE


def test_with_the_process_its_caches_are_gone(rank):
    leave_cache(rank, 7, 1)
    rank.die()
    assert rank.told() == []
    rank.run(8, executor=1, scope=S)
    [report] = rank.told()
    assert report.executor == GONE


def test_caches_are_forgotten_where_they_are(rank):
    leave_cache(rank, 7, 1)
    rank.run(8)
    leave_cache(rank, 9, 2, T)
    rank.serving.forget(Forget(scope=S))
    assert rank.processes.sent == [(1, Forget(scope=S))]
    rank.serving.forget(Forget(scope=S))
    assert len(rank.processes.sent) == 1
    rank.run(10, executor=1, scope=S)
    assert rank.told()[0].executor == GONE


# --- deaths --------------------------------------------------------------------------------------


def test_the_running_task_has_failed_those_before_it_run_again_and_the_others_come_back(rank):
    rank.run(7, 1, 10, 5)
    rank.run(7, 2, 20, 3)
    rank.die(running=(7, 1, 12, BEGAN))
    reports = rank.told()
    assert summaries(reports) == [(7, 1, 10, [REDO, REDO, FAILED], 2), (7, 2, 20, [], 3)]
    assert [report.executor for report in reports] == [ANY_EXECUTOR] * 2
    *_, died = Outcomes(10, reports[0].parts)
    assert load_details(died.details) == {
        "error": "ExecutorDied", "message": "killed by SIGSEGV", "stderr": "last words",
    }  # fmt: skip
    assert (died.entry.started, died.entry.peak) == (BEGAN, 2048)
    assert died.entry.wall == pytest.approx(time.time() - BEGAN, rel=1e-3)
    assert rank.member.entries == {}


def test_a_task_which_had_not_begun_with_the_process_is_lost_and_not_guilty(rank):
    rank.run(7, 1, 10, 5)
    rank.run(7, 2, 20, 3)
    rank.die()
    assert summaries(rank.told()) == [(7, 1, 10, [LOST], 4), (7, 2, 20, [], 3)]


def test_only_the_chunk_that_ran_is_guilty(rank):
    rank.run(7, 1, 10, 2)
    rank.run(7, 2, 20, 2)
    rank.die(running=(7, 2, 21, BEGAN))
    assert summaries(rank.told()) == [(7, 1, 10, [], 2), (7, 2, 20, [REDO, FAILED], 0)]


def test_with_its_guard_a_running_task_is_lost_and_not_guilty(rank):
    rank.run(7, 1, 10, 5)
    rank.die(running=(7, 1, 11, BEGAN), lost=True)
    assert summaries(rank.told()) == [(7, 1, 10, [REDO, LOST], 3)]


def test_a_chunk_that_was_reported_in_part_begins_where_the_rest_does(rank):
    rank.run(7, 1, 10, 5)
    rank.done(7, DONE, DONE, first=10)
    rank.told()
    rank.die(running=(7, 1, 13, BEGAN))
    assert summaries(rank.told()) == [(7, 1, 12, [REDO, FAILED], 1)]


def test_each_leader_is_told_of_its_own(rank):
    leave_cache(rank, 7, 1)
    rank.run(8, executor=1, scope=S)
    chunk = RunTasks(
        lease=9, chunk=4, scatter=led_by(ANOTHER), path=(led_by(ANOTHER),), digest=F, first=0,
        count=2, attempt=1, scope=S, executor=1, parts=(b"", b""),
    )  # fmt: skip
    rank.serving.run(ANOTHER, chunk)
    rank.die(running=(8, 1, 0, BEGAN))
    assert summaries(rank.told()) == [(8, 1, 0, [FAILED], 0)]
    assert summaries(rank.told(ANOTHER)) == [(9, 4, 0, [], 2)]


@pytest.fixture
def stacked(rank) -> AtWork:
    """In executor 1: lease 7 waits, lease 8 runs on top of it, lease 9 stands behind."""
    leave_cache(rank, 6, 1)
    rank.run(7, 1, 10, 2, executor=1, scope=S)
    rank.wait(7)
    rank.run(8, 1, 0, 3, executor=1, scope=S, scatter=T, path=(S, T))
    rank.run(9, 1, 30, 4, executor=1, scope=S)
    rank.run(5)  # in a process of its own
    return rank


def test_of_several_entries_only_the_running_task_is_guilty(stacked):
    stacked.die(running=(8, 1, 1, BEGAN))
    assert summaries(stacked.told()) == [
        (7, 1, 10, [LOST], 1),
        (8, 1, 0, [REDO, FAILED], 1),
        (9, 1, 30, [], 4),
    ]
    assert list(stacked.member.entries) == [(5, 2)]


def test_a_task_which_waits_is_guilty_if_nothing_runs_on_top_of_it(stacked):
    stacked.run(7, 2, 40, 2, executor=1, scope=S)
    stacked.die(running=(7, 1, 10, BEGAN))
    assert summaries(stacked.told()) == [
        (7, 1, 10, [FAILED], 1),
        (7, 2, 40, [], 2),
        (8, 1, 0, [], 3),
        (9, 1, 30, [], 4),
    ]


def test_with_the_guard_nobody_is_guilty(stacked):
    stacked.die(running=(8, 1, 1, BEGAN), lost=True)
    assert [states for _, _, _, states, _ in summaries(stacked.told())] == [
        [LOST],
        [REDO, LOST],
        [],
    ]


def test_of_what_is_recalled_the_running_task_was_interrupted_and_all_others_come_back(stacked):
    stacked.serving.recall(Recall(lease=8))
    assert stacked.processes.killed == [1]
    stacked.die(running=(8, 1, 1, BEGAN))
    assert summaries(stacked.told()) == [
        (7, 1, 10, [], 2),
        (8, 1, 0, [REDO, INTERRUPTED], 1),
        (9, 1, 30, [], 4),
    ]


def test_a_recall_of_what_is_not_here_any_more_ends_nothing(rank):
    rank.run(7)
    rank.serving.recall(Recall(lease=99))
    assert rank.processes.killed == []
    rank.die(running=(7, 1, 0, BEGAN))
    assert summaries(rank.told()) == [(7, 1, 0, [FAILED], 0)]


def test_a_recall_is_forgotten_with_the_process(rank):
    rank.run(7)
    rank.serving.recall(Recall(lease=7))
    rank.die(running=(7, 1, 0, BEGAN))
    rank.run(8)
    assert rank.processes.started == [1, 2]
    rank.told()
    rank.die(2, running=(8, 1, 0, BEGAN))
    assert summaries(rank.told()) == [(8, 1, 0, [FAILED], 0)]


def test_a_new_process_is_told_the_functions_anew(rank):
    rank.run(7)
    rank.die(running=(7, 1, 0, BEGAN))
    rank.run(8)
    assert [(executor, type(message).__name__) for executor, message in rank.processes.sent] == [
        (1, "Define"), (1, "RunTasks"), (2, "Define"), (2, "RunTasks"),
    ]  # fmt: skip


# --- leaders which are gone ----------------------------------------------------------------------


def test_caches_which_a_leader_had_made_are_let_go_when_it_is_gone(rank):
    rank.run(7, scope=S)
    rank.done(7, DONE, cached=(0,))
    rank.run(8, scope=led_by(ANOTHER), scatter=led_by(ANOTHER))
    rank.done(8, DONE, cached=(0,), scatter=led_by(ANOTHER))
    rank.serving.lose(LEADER)
    forgotten = [told for told in rank.processes.sent if isinstance(told[1], Forget)]
    assert forgotten == [(1, Forget(scope=S))]
    assert not rank.member.has_caches(ExecutorId(1), S)
    assert rank.member.has_caches(ExecutorId(1), led_by(ANOTHER))


def returns(rank):
    return [told.lease for told in rank.told(BROKER) if isinstance(told, Return)]


def test_a_lease_whose_leader_is_gone_is_returned_when_its_process_has_ended(rank):
    rank.run(7)
    rank.serving.recall(Recall(lease=7, orphaned=True))
    assert returns(rank) == []
    rank.die(running=(7, 1, 0, BEGAN))
    assert returns(rank) == [7]


def test_a_lease_whose_leader_is_gone_is_returned_when_its_tasks_are_done(rank):
    rank.run(7)
    rank.serving.recall(Recall(lease=7, orphaned=True))
    rank.done(7, DONE)  # it was under way when the process was to be ended
    assert returns(rank) == [7]


def test_a_lease_whose_leader_is_gone_is_returned_at_once_if_nothing_runs_under_it(rank):
    rank.serving.recall(Recall(lease=7, orphaned=True))
    assert returns(rank) == [7]


# --- time limits ---------------------------------------------------------------------------------


@pytest.fixture
def limited(rank) -> AtWork:
    """Tasks of function G may take 5 s, those of H 50 s, those of F as long as they like."""
    rank.define(G, timeout=5.0)
    rank.define(H, timeout=50.0)
    for lease, digest in ((7, F), (8, G), (9, H)):
        rank.run(lease, digest=digest)
    return rank


def begun(rank: AtWork, executor: int, lease: int, seconds: float) -> None:
    """Let a process have been running a task for so long."""
    rank.processes.running[executor] = (lease, time.monotonic() - seconds)


def test_a_task_which_takes_too_long_is_ended_with_its_process_and_has_failed(limited):
    for executor, lease in ((1, 7), (2, 8), (3, 9)):
        begun(limited, executor, lease, 20.0)
    limited.serving.expire()
    limited.serving.expire()
    assert limited.processes.killed == [2]
    limited.die(2, running=(8, 1, 0, BEGAN))
    [report] = limited.told()
    assert summary(report) == (8, 1, 0, [FAILED], 0)
    [outcome] = Outcomes(0, report.parts)
    said = "it took longer than its timeout of 5 s"
    assert load_details(outcome.details)["message"] == said


def test_a_task_which_still_has_time_goes_on(limited):
    begun(limited, 2, 8, 1.0)
    begun(limited, 3, 9, 20.0)
    limited.serving.expire()
    assert limited.processes.killed == []


def test_nothing_is_ended_while_nothing_runs(limited):
    limited.serving.expire()
    assert limited.processes.killed == []


def test_the_time_of_a_task_is_not_that_of_another_in_its_process(limited):
    leave_cache(limited, 6, 4)
    limited.run(10, digest=G, executor=4, scope=S)
    limited.wait(10)
    limited.run(11, digest=F, executor=4, scope=S, scatter=T, path=(S, T))
    begun(limited, 4, 11, 20.0)  # it may; and how long lease 10 has waited is not known meanwhile
    limited.serving.expire()
    assert limited.processes.killed == []
    begun(limited, 4, 10, 20.0)
    limited.serving.expire()
    assert limited.processes.killed == [4]


def test_a_process_which_dies_by_itself_did_not_take_too_long(limited):
    limited.die(2, running=(8, 1, 0, BEGAN))
    [outcome] = Outcomes(0, limited.told()[0].parts)
    assert load_details(outcome.details)["message"] == "killed by SIGSEGV"


# --- memory --------------------------------------------------------------------------------------


def test_a_process_may_use_what_its_tasks_may(rank):
    rank.run(1, memory=100)
    assert rank.processes.limits == {1: 100}


def test_a_process_with_tasks_of_several_leases_may_use_what_these_may_together(rank):
    rank.run(1, memory=100)
    rank.done(1, DONE, cached=(0,))
    rank.run(2, chunk=2, memory=100, executor=1)
    rank.wait(2)
    rank.run(3, chunk=3, memory=50, executor=1)
    assert rank.processes.limits == {1: 150}


def test_a_process_of_whose_tasks_one_may_use_any_amount_may_too(rank):
    rank.run(1, memory=100)
    rank.done(1, DONE, cached=(0,))
    rank.run(2, chunk=2, executor=1)
    rank.wait(2)
    rank.run(3, chunk=3, memory=50, executor=1)
    assert rank.processes.limits == {1: 0}


def test_a_process_that_uses_too_much_is_ended_once_and_its_task_has_lacked_memory(rank):
    rank.run(1, memory=100)
    rank.processes.too_large[1] = "it used more than its memory= of 100 MiB"
    rank.serving.restrain(0.0)
    rank.serving.restrain(0.05)
    assert rank.processes.killed == [1]
    rank.die(running=(1, 1, 0, BEGAN))
    [report] = rank.told()
    [outcome] = Outcomes(0, report.parts)
    assert (outcome.entry.state, outcome.entry.peak) == (STARVED, 2048)
    assert load_details(outcome.details) == {
        "error": "MemoryExceeded",
        "reason": "it used more than its memory= of 100 MiB",
        "message": "it used more than its memory= of 100 MiB (peak 2 MiB)",
        "stderr": "last words",
    }


def test_a_process_which_the_kernel_has_ended_for_want_of_memory(rank):
    rank.run(1)
    rank.die(running=(1, 1, 0, BEGAN), starved=True)
    [report] = rank.told()
    [outcome] = Outcomes(0, report.parts)
    assert outcome.entry.state == STARVED
    assert load_details(outcome.details)["message"] == "killed by SIGSEGV (peak 2 MiB)"


def test_what_waits_below_a_process_that_used_too_much_is_not_to_blame(rank):
    rank.run(1, memory=100)
    rank.done(1, DONE, cached=(0,))
    rank.run(2, chunk=2, memory=100, executor=1)
    rank.wait(2)
    rank.run(3, chunk=3, memory=50, executor=1, scatter=T)
    rank.told()
    rank.die(running=(3, 3, 0, BEGAN), starved=True)
    states = [[o.entry.state for o in Outcomes(0, report.parts)] for report in rank.told()]
    assert states == [[LOST], [STARVED]]
