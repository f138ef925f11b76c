"""Disks that are really full, read-only or slow, and whole runs on them."""

import os
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from checkpoint import disk
from checkpoint.run_builders import CONFIG, key, opened, query, record
from mpipool.checkpoint.database import Checkpoint
from mpipool.checkpoint.reading import read_records
from mpipool.checkpoint.recorder import Recorder, Timing
from mpipool.errors import CheckpointError

SIZE = 1 << 20


@pytest.fixture
def mount(tmp_path):
    """Mount a file system of 1 MiB, and mount it again with other options."""
    where = tmp_path / "small"
    where.mkdir()

    def again(options=f"size={SIZE},mode=0700"):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", where]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a file system can't be mounted here")
        return where

    yield again
    subprocess.run(["umount", "-l", where], capture_output=True)


def fill(folder, leave=0):
    """Use up the space of a file system, but for so many bytes."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - leave))


def recorder_at(path, tries):
    def opener():
        return Checkpoint.open(path, config=CONFIG, command="run", ranks=2, wait=0.0)

    made = Recorder(opener, lambda: None, Timing(interval=0.0, pause=0.05, tries=tries))
    made.start()
    return made


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("shared", [True, False], ids=["log", "rollback"])
def test_a_file_system_that_is_full_for_a_while_costs_nothing(mount, monkeypatch, shared):
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: shared)
    folder = mount()
    path = str(folder / "run.db")
    recorder = recorder_at(path, tries=10_000)
    recorder.append([record(0, digest=key(0))])
    until(lambda: not recorder.backlog)
    fill(folder)
    recorder.append([record(n, digest=key(n), result=b"r" * 60_000) for n in range(1, 5)])
    until(lambda: recorder.trouble)
    assert "no space left" in recorder.trouble
    assert recorder.backlog == 4
    (folder / "ballast").unlink()
    assert recorder.close("complete", 60)
    assert recorder.trouble is None
    assert query(path, "SELECT task FROM attempt") == [(0,), (1,), (2,), (3,), (4,)]
    assert [name for name in os.listdir(folder) if "-" in name] == []


@pytest.mark.parametrize("shared", [True, False], ids=["log", "rollback"])
def test_a_file_system_that_stays_full_is_said_and_keeps_what_was_committed(
    mount, monkeypatch, shared
):
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: shared)
    folder = mount()
    path = str(folder / "run.db")
    recorder = recorder_at(path, tries=4)
    number = 0
    while recorder.failure is None:
        recorder.append([record(number, digest=key(number), result=b"r" * 60_000)])
        number += 1
        until(lambda: not recorder.backlog or recorder.failure)
    assert not recorder.close("complete", 60)
    assert "no space left" in str(recorder.failure)
    assert recorder.loss.startswith("1 finished tasks are not recorded")
    committed = [stored.task for stored in read_records(path)]
    assert committed == list(range(number - 1))
    mount(f"remount,size={4 * SIZE}")
    # The lock may be there still: to give it back takes space. But then its process has ended.
    query(path, "UPDATE lock SET process = '-/-/-'")
    held = opened(path)
    assert [found is not None for found in held.find(list(map(key, range(number))))] == [
        *[True] * (number - 1), False,
    ]  # fmt: skip
    held.close("done")


def test_a_run_on_a_read_only_file_system_is_refused_with_that_reason(mount):
    folder = mount()
    path = folder / "run.db"
    opened(path).close("done")
    mount("remount,ro")
    with pytest.raises(CheckpointError, match="its file system is read-only"):
        opened(path)
    assert list(read_records(path)) == []


SCRIPT = """
import sys, time
from mpipool import Pool
folder, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def work(number):
    time.sleep(0.005)
    return bytes(size)
with Pool(checkpoint=f"{folder}/run.db") as pool:
    results = pool.map(work, range(count), stage="s", key=lambda number: number, errors="return")
for result in results:
    if isinstance(result, Exception):
        sys.exit(f"{type(result).__name__}: {result}")
"""


@pytest.fixture
def start(tmp_path):
    """Start a run: in this folder, of so many tasks with results of this size."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def begin(*arguments, env=None):
        command = [sys.executable, "-c", "from mpipool.cli import main; main()", "run", script]
        return subprocess.Popen(
            [*map(str, command), *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=env
        )

    return begin


def finished(run):
    """Return the exit code of a run, and what it said."""
    _, said = run.communicate(timeout=150)
    return run.returncode, said


@pytest.mark.long
def test_a_run_waits_for_room_on_the_disk_and_goes_on(mount, start):
    folder = mount()
    opened(folder / "run.db", config=None).close("done")
    fill(folder, leave=100_000)
    run = start(folder, 50, 2000)
    assert "trying again, nothing is lost so far" in run.stderr.readline()
    (folder / "ballast").unlink()
    assert finished(run) == (0, "")
    assert query(folder / "run.db", "SELECT count(*) FROM attempt") == [(50,)]


@pytest.mark.long
def test_results_that_can_not_be_written_are_failed_tasks_which_the_next_start_runs(mount, start):
    folder = mount()
    code, said = finished(start(folder, 12, 200_000))
    assert code == 1
    assert "the task's result can't be put on disk (No space left on device)" in said
    failed = [one.task for one in read_records(folder / "run.db", state="failed")]
    assert failed
    assert not [name for name in os.listdir(folder / "results") if name.endswith(".tmp")]
    mount(f"remount,size={8 * SIZE}")
    assert finished(start(folder, 12, 200_000)) == (0, "")
    states = "SELECT state, count(*) FROM attempt GROUP BY state"
    assert query(folder / "run.db", states) == [("done", 12), ("failed", len(failed))]


@pytest.mark.long
def test_a_disk_that_takes_seconds_for_each_sync_holds_up_no_task(tmp_path, start):
    seconds = 2
    env = disk.environment(
        below=tmp_path, names="run.db", kind=disk.SLOW_SYNC, value=1000 * seconds
    )
    assert finished(start(tmp_path, 400, 10, env=env)) == (0, "")
    began = sorted(one.started for one in read_records(tmp_path / "run.db"))
    assert len(began) == 400
    gaps = [later - earlier for earlier, later in pairwise(began)]
    assert max(gaps) < seconds


def test_an_error_of_the_disk_names_what_sqlite_has_seen():
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = 778, "SQLITE_IOERR_WRITE"
    from mpipool.checkpoint.connection import sentence

    assert "(disk I/O error, SQLITE_IOERR_WRITE); look at its quota" in sentence(error)
