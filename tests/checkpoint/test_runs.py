"""Whole runs without MPI, seen from outside: one that loses its lock, and what listens in one."""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from checkpoint.run_builders import opened, query, record
from mpipool.cli import main

SCRIPT = """
import sys, time
from mpipool import Pool
def work(number):
    time.sleep(0.05)
    return number
with Pool(workers=3, checkpoint=sys.argv[1]) as pool:
    pool.map(work, range(int(sys.argv[2])), stage="s", key=lambda number: number)
"""


@pytest.fixture
def start(tmp_path):
    """Start a run of three ranks, and end it if the test doesn't."""
    script, runs = tmp_path / "script.py", []
    script.write_text(SCRIPT)

    def begin(*arguments, env=None):
        runs.append(
            subprocess.Popen(
                [sys.executable, script, *map(str, arguments)],
                stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
            )
        )  # fmt: skip
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()
        run.communicate()


def until_some_are_done(path, run):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert run.poll() is None, run.stderr.read()
        if Path(path).exists() and Path(f"{path}-wal").exists():
            [(done,)] = query(path, "SELECT count(*) FROM attempt")
            if done > 5:
                return
        time.sleep(0.05)
    raise AssertionError("nothing is done")


def seem_elsewhere(path):
    """Have a run look as if it were on another host."""
    query(path, "UPDATE lock SET host = 'elsewhere'")
    claim = Path(f"{path}.claim-1")
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "host": "elsewhere"}))


@pytest.mark.long
def test_a_run_that_was_taken_over_stops_with_a_line_and_writes_nothing_more(path, start):
    run = start(path, 2000)
    until_some_are_done(path, run)
    seem_elsewhere(path)
    held = opened(path, config=None, take_over=True)
    before = query(path, "SELECT * FROM attempt")
    _, said = run.communicate(timeout=100)
    assert run.returncode == 1
    [line] = [line for line in said.splitlines() if "can't go on" in line]
    assert f"the run was taken over (its lock is held by pid {os.getpid()} on" in line
    assert "finished tasks are not recorded, and are run again" in said
    assert query(path, "SELECT * FROM attempt") == before
    held.append([record(0)])
    held.close("done")
    assert query(path, "SELECT state FROM session") == [("killed",), ("done",)]
    assert main(["status", path]) == 0


def sockets(kind):
    """The inodes of the network sockets of a kind at which something can arrive unasked."""
    listening = "0A"
    found = set()
    for version in ("", "6"):
        path = Path(f"/proc/net/{kind}{version}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if kind != "tcp" or fields[3] == listening:
                found.add(f"socket:[{fields[9]}]")
    return found


def processes(mark):
    """All processes with a mark in their environment, with what they have open."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                yield folder.name, {os.readlink(one) for one in (folder / "fd").iterdir()}
        except OSError:
            continue  # it has ended


@pytest.mark.long
def test_nothing_in_a_run_listens_on_a_network(path, start):
    mark = uuid.uuid4().hex
    run = start(path, 2000, env={"MARK_OF_THE_TEST": mark})
    until_some_are_done(path, run)
    network = sockets("tcp") | sockets("udp") | sockets("raw")
    found = dict(processes(mark))
    assert len(found) >= 5  # an agent, the script, and guards and executors
    assert {process: some & network for process, some in found.items() if some & network} == {}
