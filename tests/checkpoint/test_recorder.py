"""The thread that writes: order, batches, and what happens when the disk says no."""

import logging
import os
import shutil
import sqlite3
import threading
import time

import pytest

from checkpoint.run_builders import (
    CONFIG,
    contents,
    holding,
    key,
    opened,
    query,
    record,
    scatter,
)
from mpipool.checkpoint.database import Checkpoint
from mpipool.checkpoint.recorder import LOG, Recorder, Timing
from mpipool.errors import CheckpointError, CheckpointLocked, CheckpointMismatch, LockLost

QUICK = Timing(interval=0.02, pause=0.02, tries=5)
ASKED = {"config": CONFIG, "command": "run", "ranks": 2, "wait": 0.0}


class Loop:
    """Stands for the loop of rank 0: sleeps until it is woken, then delivers."""

    def __init__(self):
        self.woken = threading.Event()
        self.got = []
        self.recorder = None

    def reply(self, answer):
        self.got.append((threading.current_thread(), answer))

    def until(self, true, seconds=10.0):
        end = time.monotonic() + seconds
        while not true():
            assert self.woken.wait(end - time.monotonic()), "not woken"
            self.woken.clear()
            self.recorder.deliver()

    def answers(self, count):
        self.until(lambda: len(self.got) >= count)
        return [answer for _, answer in self.got]


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    if loop.recorder is not None:
        loop.recorder.close("ended", 5)


def started(loop, path, timing=QUICK, **changes):
    def opener():
        return Checkpoint.open(path, **{**ASKED, **changes})

    loop.recorder = Recorder(opener, loop.woken.set, timing)
    loop.recorder.start()
    return loop.recorder


def test_opening_happens_in_the_thread_and_the_reply_in_the_loops(loop, path):
    loop.recorder = Recorder.open(path, loop.woken.set, loop.reply, timing=QUICK, **ASKED)
    assert loop.got == []
    [checkpoint] = loop.answers(1)
    assert checkpoint.token == 1
    assert loop.got[0][0] is threading.current_thread()
    assert loop.recorder.close("done", 5)
    assert query(path, "SELECT state FROM session") == [("done",)]


def test_what_goes_wrong_in_opening_is_the_reply_and_the_failure(loop, path):
    opened(path).close("done")
    loop.recorder = Recorder.open(
        path, loop.woken.set, loop.reply, timing=QUICK, **{**ASKED, "config": {"other": 1}}
    )
    [error] = loop.answers(1)
    assert isinstance(error, CheckpointMismatch)
    assert loop.recorder.failure is error
    assert not loop.recorder.close("done", 5)


def test_who_is_waited_for_is_told_in_the_loops_thread(loop, path):
    first, told = holding(path), []
    before = contents(path)
    loop.recorder = Recorder.open(
        path,
        loop.woken.set,
        loop.reply,
        on_wait=lambda said: told.append((threading.current_thread(), said)),
        timing=QUICK,
        **{**ASKED, "wait": 0.3},
    )
    [error] = loop.answers(1)
    assert isinstance(error, CheckpointLocked)
    [(thread, said)] = told
    assert thread is threading.current_thread()
    assert str(first.pid) in said
    assert contents(path) == before
    first.communicate("end\n")


def test_records_are_on_disk_within_100_ms_without_being_asked_for(loop, path):
    recorder = started(loop, path, Timing())
    recorder.ask(lambda checkpoint: None, loop.reply)
    loop.answers(1)
    taken = []
    for number in range(5):
        recorder.append([record(number)])
        since = time.monotonic()
        while recorder.backlog:
            assert time.monotonic() - since < 5
            time.sleep(0.001)
        taken.append(time.monotonic() - since)
        assert query(path, "SELECT count(*) FROM attempt") == [(number + 1,)]
    assert min(taken) < 0.1  # the others may have met a busy machine


def test_a_question_sees_all_that_was_recorded_before_it_and_nothing_after(loop, path):
    recorder = started(loop, path, Timing(interval=5.0))  # nothing but a question hurries it

    def count(checkpoint):
        return query(path, "SELECT count(*) FROM attempt")[0][0]

    since = time.monotonic()
    for number in range(5):
        recorder.append([record(number)])
        recorder.ask(count, loop.reply)
    assert loop.answers(5) == [1, 2, 3, 4, 5]
    assert time.monotonic() - since < 4
    assert all(thread is threading.current_thread() for thread, _ in loop.got)


def test_what_is_handed_over_together_is_one_transaction(loop, path, monkeypatch):
    release, commits = threading.Event(), []

    def opener():
        release.wait()
        checkpoint = Checkpoint.open(path, **ASKED)
        checkpoint._connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement == "COMMIT" else None
        )
        return checkpoint

    loop.recorder = recorder = Recorder(opener, loop.woken.set, QUICK)
    recorder.start()
    recorder.open_scatter(scatter(7))
    for number in range(100):
        recorder.append([record(number, digest=key(number))])
    recorder.close_scatter(7, 2000.0)
    recorder.add_ranks([(0, "node", 1)])
    recorder.ask(lambda checkpoint: len(commits), loop.reply)
    assert recorder.backlog == 100
    release.set()
    assert loop.answers(1) == [1]
    assert recorder.backlog == 0
    assert query(path, "SELECT task FROM attempt ORDER BY id") == [(n,) for n in range(100)]
    assert query(path, "SELECT closed FROM scatter") == [(2000.0,)]


def test_what_comes_after_a_question_is_gathered_again(loop, path):
    commits = []
    recorder = started(loop, path, Timing(interval=0.3))
    recorder.ask(
        lambda checkpoint: checkpoint._connection.set_trace_callback(commits.append), loop.reply
    )
    loop.answers(1)
    for number in range(3):
        recorder.append([record(number)])
        time.sleep(0.03)
    while recorder.backlog:
        time.sleep(0.01)
    assert commits.count("COMMIT") == 1


def test_a_question_that_raises_answers_with_the_error_and_harms_nothing(loop, path):
    recorder = started(loop, path)
    recorder.ask(lambda checkpoint: 1 / 0, loop.reply)
    recorder.ask(lambda checkpoint: "fine", loop.reply)
    error, fine = loop.answers(2)
    assert isinstance(error, ZeroDivisionError)
    assert fine == "fine"
    assert recorder.failure is None


def test_closing_commits_what_is_left_and_gives_the_lock_back(loop, path):
    recorder = started(loop, path, Timing(interval=60.0))
    recorder.append([record(0)])
    assert recorder.close("drained", 5)
    assert query(path, "SELECT count(*) FROM attempt") == [(1,)]
    assert query(path, "SELECT state FROM session") == [("drained",)]
    assert query(path, "SELECT * FROM lock") == []


def test_closing_gives_up_after_its_timeout(loop, path):
    gate = threading.Event()
    recorder = started(loop, path)
    recorder.ask(lambda checkpoint: gate.wait(), loop.reply)
    assert not recorder.close("done", 0.1)
    gate.set()
    assert recorder.close("done", 5)


def test_the_heart_beats_though_nothing_is_recorded(loop, path, monkeypatch):
    monkeypatch.setattr("mpipool.checkpoint.recorder.HEARTBEAT", 0.05)
    recorder = started(loop, path)
    recorder.ask(lambda checkpoint: query(path, "SELECT heartbeat FROM lock"), loop.reply)
    [[(first,)]] = loop.answers(1)
    end = time.monotonic() + 5
    while query(path, "SELECT heartbeat FROM lock") == [(first,)]:
        assert time.monotonic() < end
        time.sleep(0.02)


def full_disk(times):
    """Make an append that fails so often, and then works."""
    append, left = Checkpoint.append, [times]

    def broken(self, records):
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        append(self, records)

    return broken


def test_a_disk_that_is_full_for_a_while_costs_nothing(loop, path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, LOG.name)  # other tests may have made logging quieter
    monkeypatch.setattr(Checkpoint, "append", full_disk(QUICK.tries - 1))
    recorder = started(loop, path)
    recorder.open_scatter(scatter(7))
    recorder.append([record(0, digest=key(0))])
    recorder.append([record(1)])
    recorder.ask(lambda checkpoint: recorder.trouble, loop.reply)
    assert loop.answers(1) == [None]
    assert recorder.failure is None
    assert recorder.close("done", 5)
    assert query(path, "SELECT task FROM attempt ORDER BY id") == [(0,), (1,)]
    assert query(path, "SELECT count(*) FROM scatter") == [(1,)]
    told = sum("trying again" in message for message in caplog.messages)
    settings = logging.root.manager.disable, LOG.disabled, LOG.propagate, LOG.getEffectiveLevel()
    assert told == 1, f"messages {caplog.messages}, logging {settings}"


def test_a_disk_that_stays_full_is_the_recorders_failure(loop, path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "append", full_disk(1000))
    recorder = started(loop, path)
    recorder.append([record(0)])
    recorder.ask(lambda checkpoint: "never", loop.reply)
    recorder.append([record(1)])
    [error] = loop.answers(1)
    assert isinstance(error, CheckpointError)
    assert error is recorder.failure
    assert "disk is full" in str(error)
    assert recorder.backlog == 2
    recorder.append([record(2)])
    recorder.ask(lambda checkpoint: "never", loop.reply)  # asked after the failure
    assert loop.answers(2) == [error, error]
    assert not recorder.close("done", 5)
    assert query(path, "SELECT state FROM session") == [("failed",)]


def limit(checkpoint, pages):
    """Let the database have no more pages than so many, or than it has."""
    checkpoint._connection.execute(f"PRAGMA max_page_count = {pages}")


LARGE = record(0, digest=key(0), result=b"r" * 60_000)


def test_a_database_that_is_really_full_is_a_failure_and_the_lock_is_given_back(loop, path):
    recorder = started(loop, path)
    recorder.ask(lambda checkpoint: limit(checkpoint, 1), loop.reply)
    recorder.append([LARGE])
    loop.until(lambda: recorder.failure is not None)
    assert "no space left" in str(recorder.failure)
    held = opened(path)
    assert held.find([key(0)]) == [None]
    held.close("done")


def test_a_database_that_was_really_full_is_written_when_there_is_space(loop, path, monkeypatch):
    recorder = started(loop, path)
    recorder.ask(lambda checkpoint: checkpoint, loop.reply)
    [checkpoint] = loop.answers(1)
    troubles = []

    def pause(seconds):
        troubles.append(recorder.trouble)
        limit(checkpoint, 10_000)

    recorder.ask(lambda checkpoint: limit(checkpoint, 1), loop.reply)
    loop.answers(2)
    monkeypatch.setattr("mpipool.checkpoint.recorder.time.sleep", pause)
    recorder.append([LARGE])
    recorder.ask(lambda checkpoint: checkpoint.find([key(0)])[0].result, loop.reply)
    assert loop.answers(3)[2] == LARGE.result
    assert troubles == ["there is no space left for it (database or disk is full); make room"]
    assert recorder.trouble is None


def test_a_run_that_was_taken_over_stops_recording(loop, path):
    recorder = started(loop, path)
    recorder.append([record(0)])
    recorder.ask(lambda checkpoint: None, loop.reply)
    loop.answers(1)
    query(path, "UPDATE lock SET host = 'elsewhere'")
    second = opened(path, take_over=True)
    recorder.append([record(1)])
    loop.until(lambda: recorder.failure is not None)
    assert isinstance(recorder.failure, LockLost)
    assert query(path, "SELECT task FROM attempt") == [(0,)]
    second.close("done")


def replaced(path):
    shutil.copy(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


@pytest.mark.parametrize("deed", [os.unlink, replaced])
@pytest.mark.parametrize("shared", [True, False], ids=["log", "rollback"])
def test_a_database_that_is_removed_or_replaced_is_noticed(loop, path, monkeypatch, deed, shared):
    monkeypatch.setattr("mpipool.checkpoint.recorder.HEARTBEAT", 0.05)
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: shared)
    recorder = started(loop, path)
    recorder.append([record(0, digest=key(0))])
    recorder.ask(lambda checkpoint: None, loop.reply)
    loop.answers(1)
    assert recorder.failure is None
    deed(path)
    loop.until(lambda: recorder.failure is not None)
    assert isinstance(recorder.failure, CheckpointError)
    assert f"{path}: it was removed or replaced while the run wrote to it" in str(recorder.failure)
    recorder.ask(lambda checkpoint: "never", loop.reply)
    assert loop.answers(2)[1] is recorder.failure
    assert not recorder.close("done", 5)


def test_a_database_that_is_removed_before_the_first_heartbeat_is_noticed_at_the_end(loop, path):
    recorder = started(loop, path)
    recorder.append([record(0)])
    recorder.ask(lambda checkpoint: None, loop.reply)
    loop.answers(1)
    os.unlink(path)
    assert not recorder.close("done", 5)
    assert "removed or replaced" in str(recorder.failure)


def test_a_removed_database_is_not_tried_again_as_if_the_disk_were_full(loop, path, monkeypatch):
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: False)
    recorder = started(loop, path, Timing(pause=5.0))
    recorder.ask(lambda checkpoint: None, loop.reply)
    loop.answers(1)
    os.unlink(path)
    recorder.append([record(0)])
    loop.until(lambda: recorder.failure is not None, seconds=3.0)
    assert "removed or replaced" in str(recorder.failure)


def test_the_next_database_at_its_path_is_left_alone_by_a_run_whose_own_is_gone(path, tmp_path):
    first = opened(path)
    first.append([record(0)])
    for name in os.listdir(tmp_path):
        os.unlink(tmp_path / name)
    second = opened(path)
    second.append([record(1), record(2)])
    first.close("failed")
    assert os.path.exists(f"{path}-wal")
    second.append([record(3)])
    second.close("done")
    assert query(path, "SELECT task FROM attempt") == [(1,), (2,), (3,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_path_that_can_not_be_seen_for_a_moment_is_no_failure(path, monkeypatch):
    def busy(path):
        raise OSError(5, "Input/output error")

    held = opened(path)
    monkeypatch.setattr("mpipool.checkpoint.database.file_at", busy)
    held.require_in_place()
    held.close("done")
