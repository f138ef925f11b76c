"""Who may begin a session, where the locks of the file system tell nothing."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing

import pytest

from checkpoint import disk
from checkpoint.run_builders import child, contents, opened, query, record
from mpipool.checkpoint import batch_job
from mpipool.checkpoint.claim import claim, remove_claim, remove_claims
from mpipool.checkpoint.lock import this_process
from mpipool.checkpoint.reading import read_records
from mpipool.errors import CheckpointError, CheckpointLocked


def claims(path):
    return sorted(name for name in os.listdir(os.path.dirname(path)) if "claim" in name)


def test_of_two_who_want_a_token_one_gets_it_and_the_other_learns_who(path):
    assert claim(path, 3, lambda holder: True) == 3
    assert claims(path) == ["run.db.claim-3"]
    found = claim(path, 3, lambda holder: True)
    assert (found.token, found.pid) == (3, os.getpid())


def test_behind_the_token_of_a_dead_run_comes_the_next(path):
    for token in (3, 4):
        assert claim(path, 3, lambda holder: False) == token
    remove_claims(path, 4)
    assert claims(path) == ["run.db.claim-4"]
    remove_claim(path, 4)
    assert claims(path) == []


def test_a_claim_that_can_not_be_read_is_named(path):
    with open(f"{path}.claim-1", "w") as file:
        file.write("{")
    with pytest.raises(CheckpointError, match=r"run\.db\.claim-1 can't be read .* remove that"):
        claim(path, 1, lambda holder: True)


def test_a_run_has_a_claim_while_it_lives_and_what_a_killed_one_left_is_removed(path):
    held = opened(path)
    assert claims(path) == ["run.db.claim-1"]
    held.close("done")
    assert claims(path) == []
    child("opened(sys.argv[1])\nos.kill(os.getpid(), 9)", path).wait()
    assert claims(path) == ["run.db.claim-2"]
    held = opened(path)
    assert held.token == 3
    assert claims(path) == ["run.db.claim-3"]
    held.close("done")


def test_a_run_that_can_not_begin_lets_go_of_its_claim(path, monkeypatch):
    def full(*arguments):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("mpipool.checkpoint.opening.write_holder", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        opened(path)
    assert claims(path) == []


RACE = """
import mpipool.checkpoint.opening as opening
from mpipool.errors import CheckpointLocked
real = opening.claim
def slowly(*arguments):
    print("ready", flush=True)  # everything was read, and nothing is written yet
    sys.stdin.readline()
    return real(*arguments)
opening.claim = slowly
try:
    held = opened(sys.argv[1])
except CheckpointLocked as error:
    print("refused", flush=True)
else:
    print("held", held.token, flush=True)
    sys.stdin.readline()
    held.close("done")
"""


@pytest.mark.parametrize("new", [True, False], ids=["a new database", "an old one"])
def test_without_locks_between_hosts_one_of_two_that_start_at_once_begins(path, tmp_path, new):
    """Both are past SQLite's locks when the first of them claims the token."""
    if not new:
        opened(path).close("done")
    environment = disk.environment(below=tmp_path, kind=disk.LOCAL_LOCKS)
    racers = [child(RACE, path, env=environment) for _ in range(2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = sorted(racer.stdout.readline().strip() for racer in racers)
    assert told == [f"held {1 if new else 2}", "refused"]
    for racer in racers:
        racer.communicate("end\n")
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "SELECT count(*) FROM session") == [(1 if new else 2,)]


def test_a_file_system_without_locks_is_refused_with_that_reason(path, tmp_path):
    code = """
from mpipool.errors import CheckpointError
try:
    opened(sys.argv[1])
except CheckpointError as error:
    print(error)
"""
    environment = disk.environment(below=tmp_path, kind=disk.NO_LOCKS, value=errno.ENOLCK)
    said, _ = child(code, path, env=environment).communicate()
    assert "its file system has no locks (No locks available), which SQLite needs" in said
    assert claims(path) == []
    assert not os.path.exists(path) or os.path.getsize(path) == 0


# --- a run on another host, in a job of a batch system -------------------------------------------


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put commands of a batch system on PATH, which say what a test wants."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def say(name, text, code=0):
        script = folder / name
        script.write_text(
            f"#!/bin/sh\necho \"$@\" >> {folder}/asked\ncat <<'EOF'\n{text}\nEOF\nexit {code}\n"
        )
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    say.asked = folder / "asked"
    return say


def local(when):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("squeue", "sacct", "over"),
    [
        (("COMPLETED|x", 0), None, True),
        (("TIMEOUT|x", 0), None, True),
        ((f"RUNNING|{local(NOW - 5)}", 0), None, False),
        (("COMPLETING|x", 0), None, False),
        (("SUSPENDED|x", 0), None, False),
        (("PENDING|N/A", 0), None, True),  # it was put back into the queue
        ((f"RUNNING|{local(NOW + 3600)}", 0), None, True),  # and started again
        ((f"RUNNING|{local(NOW + 20)}", 0), None, False),  # or some clock is wrong
        ((f"COMPLETED|x\nRUNNING|{local(NOW)}", 0), None, False),
        (("slurm_load_jobs error: Invalid job id specified", 1), ("CANCELLED by 0|x", 0), True),
        (("", 0), ("NODE_FAIL|x", 0), True),
        (("", 0), (f"RUNNING|{local(NOW - 5)}", 0), False),
        (("", 0), ("", 0), False),
        (("slurm_load_jobs error: Unable to contact slurm controller", 1), None, False),
        (("COMPLETED|x", 1), None, False),
        (("what?", 0), None, False),
    ],
)
def test_slurm_is_believed_only_if_it_says_that_a_job_has_ended(commands, squeue, sacct, over):
    commands("squeue", *squeue)
    if sacct:
        commands("sacct", *sacct)
    assert batch_job.has_ended("981", NOW) is over


@pytest.mark.parametrize(
    ("answer", "over"),
    [
        ({"Jobs": {"12.pbs": {"job_state": "F"}}}, True),
        ({"Jobs": {"12.pbs": {"job_state": "R"}}}, False),
        ({"Jobs": {"12.pbs": {}}}, False),
        ({"Jobs": {}}, False),
        ({}, False),
        ("qstat: Unknown Job Id 12.pbs", False),
    ],
)
def test_pbs_is_believed_only_if_it_says_that_a_job_has_ended(commands, answer, over):
    commands("qstat", json.dumps(answer))
    assert batch_job.has_ended("12.pbs", NOW) is over
    assert commands.asked.read_text() == "-x -f -F json 12.pbs\n"


@pytest.mark.parametrize("job", ["", "981; rm -rf", "--help", "9" * 30, "x.pbs", "12.pbs\n", "²"])
def test_only_the_number_of_a_job_is_asked_for(commands, job):
    for name in ("squeue", "sacct", "qstat"):
        commands(name, "COMPLETED|x")
    assert not batch_job.has_ended(job, NOW)
    assert not commands.asked.exists()


def test_a_batch_system_that_does_not_answer_says_nothing(commands, monkeypatch):
    monkeypatch.setattr(batch_job, "TIMEOUT", 0.2)
    commands("squeue", "COMPLETED|x")
    script = commands.asked.parent / "squeue"
    script.write_text(textwrap.dedent("#!/bin/sh\nexec sleep 60\n"))
    assert not batch_job.has_ended("981", NOW)
    assert not batch_job.has_ended("12.pbs", NOW)  # there is no qstat at all


def elsewhere(path, job):
    """Have the database held by a run of a job on another host."""
    first = opened(path)
    query(path, "UPDATE lock SET host = 'elsewhere', batch_job = ?", job)
    return first


def test_the_lock_of_a_job_that_has_ended_is_taken_over(path, commands, caplog):
    caplog.set_level("INFO", "mpipool.checkpoint")
    first = elsewhere(path, "981")
    commands("squeue", "TIMEOUT|x")
    held = opened(path)
    assert held.token == 2
    assert "the batch system says that job 981 has ended" in caplog.text
    assert len(commands.asked.read_text().splitlines()) == 1
    held.close("done")
    first.disconnect()


def test_the_lock_of_a_job_that_still_runs_is_not(path, commands):
    first = elsewhere(path, "981")
    commands("squeue", f"RUNNING|{local(time.time() - 7200)}")
    before = query(path, "SELECT * FROM lock")
    with pytest.raises(CheckpointLocked, match="batch job 981"):
        opened(path)
    assert query(path, "SELECT * FROM lock") == before
    first.disconnect()


def test_a_run_on_another_host_is_seen_there_and_not_here(path, tmp_path):
    """Another host, as far as that can be had: other names, processes and networks."""
    hold = (
        "from checkpoint.run_builders import *\n"
        + """
import socket
socket.sethostname("node2")
held = opened(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""
    )
    command = ["unshare", "--uts", "--net", "--pid", "--fork", "--mount-proc", "--kill-child",
               sys.executable, "-c", hold, path]  # fmt: skip
    if os.geteuid() or subprocess.run([*command[:7], "true"]).returncode:
        pytest.skip("another host can't be made here: that takes root and namespaces")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as there:
        assert there.stdout.readline() == "held\n"
        before = contents(path)
        with pytest.raises(CheckpointLocked, match=r"pid 1 on node2.*--take-over"):
            opened(path)
        assert contents(path) == before
        held = opened(path, take_over=True)
        held.close("done")
        there.communicate("\n")
    assert query(path, "SELECT token, host, state FROM session")[0][1:] == ("node2", "killed")


def test_a_clock_that_is_wrong_makes_nobody_dead_or_live(path, monkeypatch):
    held = opened(path)
    real = time.time
    for wrong in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda by=wrong: real() + by)
        with pytest.raises(CheckpointLocked, match="a live run holds it"):
            opened(path)
        held.heartbeat(time.time())
        assert this_process(1).liveness() == "live"
    monkeypatch.undo()
    held.close("done")
    gone = child("opened(sys.argv[1])\nos.kill(os.getpid(), 9)", path)
    gone.wait()
    query(path, "UPDATE lock SET heartbeat = ?", real() + 1e6)
    opened(path).close("done")


def test_a_reader_undoes_no_commit_of_a_run_that_may_live(path, tmp_path):
    """Without locks between hosts each commit looks like one that a killed run has left."""
    held = opened(path)
    held.append([record(number, result=b"r" * 3000) for number in range(100)])
    held.close("done")
    left = tmp_path / "left"
    left.mkdir(mode=0o700)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 2")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE attempt SET message = 'half done'")
        for name in ("run.db", "run.db-journal"):
            shutil.copy(tmp_path / name, left / name)
        writer.execute("ROLLBACK")
    there = str(left / "run.db")
    assert claim(there, 2, lambda holder: True) == 2
    before = contents(there)
    with pytest.raises(CheckpointError, match="a run is in the middle of a write to it"):
        list(read_records(there))
    assert contents(there) == before
    remove_claim(there, 2)
    assert {one.message for one in read_records(there)} == {None}
    assert os.listdir(left) == ["run.db"]
