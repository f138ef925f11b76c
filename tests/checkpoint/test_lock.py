"""One run at a time, with real processes."""

import os
import signal
import socket
import time

import pytest

from checkpoint.run_builders import child, contents, holding, key, opened, query, record
from mpipool.checkpoint.lock import identity
from mpipool.errors import CheckpointLocked, LockLost


def test_beside_a_live_run_a_second_is_refused_and_writes_nothing(path):
    first = holding(path, env={"SLURM_JOB_ID": "981"})
    before, told = contents(path), []
    since = time.monotonic()
    with pytest.raises(CheckpointLocked) as caught:
        opened(path, wait=0.5, on_wait=told.append)
    assert 0.5 <= time.monotonic() - since < 3
    assert contents(path) == before
    [(started,)] = query(path, "SELECT started FROM lock")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    for fact in (str(first.pid), socket.gethostname(), when, "batch job 981"):
        assert fact in str(caught.value)
    assert len(told) == 1
    assert str(first.pid) in told[0]
    first.communicate("end\n")
    opened(path).close("done")


def test_take_over_does_not_help_against_a_run_that_is_seen_to_live(path):
    first = holding(path)
    with pytest.raises(CheckpointLocked):
        opened(path, take_over=True)
    first.communicate("end\n")


def test_a_run_which_ends_while_it_is_waited_for_makes_room(path):
    first = holding(path)
    held = opened(path, wait=20.0, on_wait=lambda said: first.communicate("end\n"))
    assert held.token == 2
    held.close("done")
    assert query(path, "SELECT token, state FROM session") == [(1, "done"), (2, "done")]


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_a_killed_runs_lock_is_taken_over_at_once(path, caplog, reaped):
    caplog.set_level("INFO", "mpipool.checkpoint")
    first = holding(path)
    first.kill()
    if reaped:
        first.wait()
    else:
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    told = []
    held = opened(path, wait=0.0, on_wait=told.append)
    assert held.token == 2
    assert told == []
    assert f"taken over from a run that died (pid {first.pid}" in caplog.text
    [killed, running] = query(path, "SELECT state, ended FROM session ORDER BY token")
    assert killed[0] == "killed"
    assert killed[1] is not None
    assert running == ("running", None)
    held.close("done")


def test_a_killed_session_ended_with_the_last_task_if_no_heartbeat_came_later(path):
    held = opened(path)
    [(heartbeat,)] = query(path, "SELECT heartbeat FROM lock")
    held.append([record(0, started=heartbeat, finished=heartbeat + 3.0)])
    disguise(path, process=processes(start="1"))
    opened(path).close("done")
    assert query(path, "SELECT ended FROM session WHERE token = 1") == [(heartbeat + 3.0,)]
    held.disconnect()


def test_a_run_that_is_stopped_is_not_dead(path):
    first = holding(path)
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(CheckpointLocked):
        opened(path)
    first.kill()
    first.wait()


def disguise(path, **changes):
    """Rewrite the lock, as if somebody else had taken it."""
    for column, value in changes.items():
        query(path, f"UPDATE lock SET {column} = ?", value)


def processes(boot=None, namespace=None, start=None):
    """Our own identity, with parts of another's."""
    ours = identity(os.getpid()).split("/")
    theirs = [boot, namespace, start]
    return "/".join(other or own for own, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "other", [{"start": "1"}, {"boot": "another"}], ids=["pid used again", "booted since"]
)
def test_a_pid_alone_does_not_make_a_run_live(path, other):
    first = opened(path)
    disguise(path, process=processes(**other))
    held = opened(path)
    assert held.token == 2
    held.close("done")
    first.disconnect()


def test_a_colleagues_process_that_is_hidden_may_live(path, monkeypatch):
    """Mounted with hidepid, /proc shows nothing of it; but a signal to it is not allowed."""
    first = opened(path)

    def forbidden(pid, number):
        assert (pid, number) == (os.getpid(), 0)
        raise PermissionError

    monkeypatch.setattr("mpipool.checkpoint.lock._start", lambda pid: "")
    monkeypatch.setattr(os, "kill", forbidden)
    with pytest.raises(CheckpointLocked, match="can't be seen from here"):
        opened(path)
    monkeypatch.undo()
    first.close("done")


@pytest.mark.parametrize(
    "other",
    [{"host": "elsewhere"}, {"process": processes(namespace="pid:[1]")}],
    ids=["another host", "another container"],
)
def test_a_run_that_cannot_be_seen_is_refused_unless_taken_over(path, other):
    first = opened(path)
    disguise(path, heartbeat=time.time() - 7200, pid=2**22 + 1, **other)
    before = contents(path)
    with pytest.raises(CheckpointLocked) as caught:
        opened(path)
    assert contents(path) == before
    for fact in (other.get("host", ""), "--take-over", "Pool(take_over=True)", "last heard of 720"):
        assert fact in str(caught.value)
    held = opened(path, take_over=True)
    assert held.token == 2
    held.close("done")
    first.disconnect()


def test_a_run_whose_lock_was_taken_over_writes_nothing_more(path):
    first = opened(path)
    first.append([record(0, digest=key(0))])
    disguise(path, host="elsewhere")
    second = opened(path, take_over=True)
    second.append([record(1, digest=key(1))])
    before = query(path, "SELECT * FROM attempt"), query(path, "SELECT * FROM lock")
    with pytest.raises(LockLost, match=str(os.getpid())):
        first.append([record(2, digest=key(2))])
    with pytest.raises(LockLost):
        first.heartbeat(time.time())
    with pytest.raises(LockLost):
        first.close("done")
    assert before == (query(path, "SELECT * FROM attempt"), query(path, "SELECT * FROM lock"))
    second.append([record(2, digest=key(2))])
    second.close("done")
    assert query(path, "SELECT id, task FROM attempt") == [(1, 0), (2, 1), (3, 2)]


def test_a_run_whose_lock_was_taken_over_and_given_back_writes_nothing_more(path):
    first = opened(path)
    disguise(path, host="elsewhere")
    opened(path, take_over=True).close("done")
    with pytest.raises(LockLost, match="nobody"):
        first.append([record(2)])
    first.disconnect()


def test_of_many_which_start_at_once_one_gets_the_lock(path):
    race = """
from mpipool.errors import CheckpointLocked
sys.stdin.readline()
try:
    held = opened(sys.argv[1])
except CheckpointLocked:
    print("refused", flush=True)
else:
    print("held", flush=True)
    sys.stdin.readline()
    held.close("done")
"""
    racers = [child(race, path) for _ in range(4)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert sorted(racer.stdout.readline() for racer in racers) == ["held\n"] + ["refused\n"] * 3
    for racer in racers:
        racer.communicate("end\n")
    assert query(path, "SELECT token, state FROM session") == [(1, "done")]
