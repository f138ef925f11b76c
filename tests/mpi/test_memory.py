"""Memory limits with real ranks: tasks that use too much, and jobs that may not use more."""

import contextlib
import os
import sqlite3

import pytest

from mpi.jobs import run
from mpipool.cgroups import around

GROWING = """
import sys, time
from mpipool import Pool

def use(mib):
    held = b"x" * (mib << 20)
    time.sleep(0.3)
    return len(held) >> 20

def lead(mib):
    return sum(Pool().map(use, [mib, 10], memory="150 MiB"))

if __name__ == "__main__":
    with Pool(checkpoint=sys.argv[1]) as pool:
        print(pool.map(use, [10, 250, 20, 400], stage="use", memory="150 MiB"))
        print(pool.map(lead, [20, 250], stage="lead", memory="400 MiB"))
"""

HOGS = """
import sys, time
from mpipool import Pool

def hog(mib):
    held = []
    for _ in range(mib):
        held.append(b"x" * (1 << 20))
        time.sleep(0.001)
    time.sleep(0.5)
    return mib

if __name__ == "__main__":
    with Pool(checkpoint=sys.argv[1]) as pool:
        results = pool.map(hog, [300, 301, 302, 10, 20], stage="hog", errors="return")
        results += pool.map(hog, [2000], stage="large", errors="return")
    print(*[value if isinstance(value, int) else type(value).__name__ for value in results])
"""


def rows(database, sql):
    with sqlite3.connect(database) as connection:
        return connection.execute(sql).fetchall()


def test_tasks_that_need_more_get_it_and_all_else_is_undisturbed(mpi, script, tmp_path):
    database = tmp_path / "run.db"
    done = run(mpi.command(3, script(GROWING), database), mpi.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[10, 250, 20, 400]\n[30, 260]\n"
    attempts = "SELECT task, state FROM record WHERE stage = 'use' ORDER BY task, attempt"
    assert rows(database, attempts) == [
        (0, "done"),
        (1, "failed"),
        (1, "done"),
        (2, "done"),
        (3, "failed"),
        (3, "failed"),
        (3, "done"),
    ]
    errors = {error for (error,) in rows(database, "SELECT error FROM record WHERE error > ''")}
    # What is too large by far can't even be allocated.
    assert "MemoryExceeded" in errors
    assert errors <= {"MemoryExceeded", "MemoryError"}


@contextlib.contextmanager
def limited(mib):
    """Make a control group with a limit, and yield what has a process enter it."""
    groups = [group for group in around() if os.access(group.folder, os.W_OK)]
    if not groups:
        pytest.skip("no control groups can be made here")
    folder = groups[0].folder / f"mpipool-test-{os.getpid()}"
    folder.mkdir()
    try:
        limit = folder / groups[0].files.limit
        if not limit.exists():
            pytest.skip("control groups below this one can't limit memory")
        limit.write_text(str(mib << 20))
        yield folder
    finally:
        for below in [*folder.glob("mpipool-*"), folder]:
            below.rmdir()


ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


def test_a_job_under_a_limit_survives_hogs_which_have_declared_nothing(mpi, script, tmp_path):
    database = tmp_path / "run.db"
    with limited(1000) as folder:
        command = mpi.command(3, script(HOGS), database)
        done = run(["sh", "-c", ENTER, str(folder), *command], mpi.environment, timeout=100)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "300 301 302 10 20 MemoryExceeded\n"
    failures = rows(database, "SELECT stage, error, message FROM record WHERE state = 'failed'")
    assert {error for _, error, _ in failures} == {"MemoryExceeded"}, failures
    assert {stage for stage, _, _ in failures} >= {"large"}
