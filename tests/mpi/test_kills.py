"""A run is killed at some moment, and the same command is given again at once.

Whatever was killed and when: in the end there are the results of an undisturbed run, and nothing
was committed twice. ``ROUNDS`` says how often; the seed of a round is in the test's name.
"""

import hashlib
import json
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest

from mpi.jobs import Job, kill
from mpi.test_orphans import scripts

ROUNDS = int(os.environ.get("ROUNDS", "6"))
TASKS = 60
VICTIMS = ("mpiexec", "root agent", "script", "guard", "executor")

RUN = """
import hashlib, json, random, sys, time
from pathlib import Path
import mpipool
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def piece(x):
    time.sleep(0.005)
    return x

def work(x):
    (FOLDER / "started" / f"{x}-{time.time_ns()}").touch()
    time.sleep(random.Random(x).uniform(0.02, 0.05))
    if x % 10 == 3:
        assert Pool().scatterGather(piece, range(6)) == list(range(6))
    with mpipool.output(FOLDER / "out" / f"{x}.txt") as part:
        part.write_text(f"{x} " * 1000)
    mpipool.record(square=x * x)
    return bytes([x]) * (100_000 if x % 7 == 0 else 100)

if __name__ == "__main__":
    (FOLDER / "started").mkdir(exist_ok=True)
    with Pool(checkpoint=FOLDER / "run.db") as pool:
        results = pool.map(work, range(60), stage="work", key=lambda x: {"x": x}, retries=2)
        print(pool.last_map.reused, hashlib.sha1(b"".join(results)).hexdigest())
"""


def results_digest():
    parts = [bytes([x]) * (100_000 if x % 7 == 0 else 100) for x in range(TASKS)]
    return hashlib.sha1(b"".join(parts)).hexdigest()


def committed(database):
    """How many attempts are on disk; 0 if there is no database yet."""
    if not database.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        (count,) = connection.execute("SELECT count(*) FROM attempt").fetchone()
        connection.close()
    except sqlite3.OperationalError:
        return 0
    return count


def wait_for_the_moment(job, folder, chance):
    """Wait until something which the run itself does; return what it was."""
    started, database = folder / "started", folder / "run.db"
    moment = chance.choice(["start", "task", "task", "commit", "commit"])
    count = chance.randrange(1, TASKS - 8)
    if moment == "start":
        time.sleep(chance.uniform(0, 0.7))
    elif moment == "task":
        job.wait_until(lambda: started.exists() and len(list(started.iterdir())) >= count, "tasks")
        time.sleep(chance.uniform(0, 0.03))
    else:
        job.wait_until(lambda: committed(database) >= count, "a commit")
        time.sleep(chance.uniform(0, 0.01))
    return f"{moment} {count}"


def choose_victim(job, wanted, chance):
    """Return the name and the process to kill; of another kind if there is none of the wanted."""
    candidates = {
        "mpiexec": [p for p in job.processes() if p.pid == job.pid],
        "root agent": [p for p in job.agents() if p.rank == 0],
        "script": scripts(job),
        "guard": job.guards(),
        "executor": [p for p in job.executors() if p not in scripts(job)],
    }
    assert candidates["script"] or not candidates["executor"], "there is a script when tasks run"
    there = [name for name, processes in candidates.items() if processes]
    name = wanted if wanted in there else chance.choice(there)
    return name, chance.choice(candidates[name])


def disturb(command, environment, folder, seed, chance):
    """Run until something is killed; return the job, which may live on, and what was done."""
    job = Job(command, environment)
    try:
        job.wait_until(job.processes, "mpiexec is there")
        moment = wait_for_the_moment(job, folder, chance)
        name, victim = choose_victim(job, VICTIMS[seed % len(VICTIMS)], chance)
        kill(victim.pid)
    except BaseException:
        job.clear()
        raise
    return job, f"{name} at {moment}"


def assert_complete(folder):
    outputs = {path.name: path.read_text() for path in (folder / "out").iterdir()}
    assert outputs == {f"{x}.txt": f"{x} " * 1000 for x in range(TASKS)}
    with sqlite3.connect(folder / "run.db") as connection:
        done = connection.execute(
            "SELECT data_id, metrics, count(*) FROM attempt"
            " WHERE digest IS NOT NULL AND state = 'done' GROUP BY digest"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM lock").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {json.loads(data_id)["x"]: json.loads(metrics) for data_id, metrics, _ in done} == {
        x: {"square": x * x} for x in range(TASKS)
    }
    assert {count for _, _, count in done} == {1}, "a task was committed twice"
    leftovers = [path for path in folder.rglob("*") if path.suffix in {".part", ".tmp"}]
    assert not leftovers


@pytest.mark.timeout(200)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_killed_run_is_finished_by_the_same_command(mpi, script, tmp_path, seed):
    chance = random.Random(f"{mpi.name} {seed}")
    path = script(RUN)
    make = mpi.command if chance.random() < 0.5 else mpi.driver
    command = make(4, path, tmp_path)
    first, story = disturb(command, mpi.environment, tmp_path, seed, chance)
    print(story, "by", make.__name__)
    with first:
        if story.startswith(("guard", "executor")) and _survives(first):
            done = first.finish()
            assert done.returncode == 0, f"{story}\n{done.stderr}"
        with Job(command, mpi.environment) as second:  # at once: the first may still be dying
            done = second.finish()
            assert done.returncode == 0, f"{story}\n{done.stderr}"
            left = second.all_gone_within(5) + first.all_gone_within(5)
            assert not left, f"{story}: {left}"
    reused, digest = done.stdout.split()
    assert digest == results_digest(), story
    assert int(reused) >= 0
    assert_complete(tmp_path)


def _survives(job):
    """Whether the run goes on, as it does unless it was the guard of the script."""
    time.sleep(0.2)
    return bool(scripts(job))


def test_an_undisturbed_run_passes_the_same_checks(mpi, script, tmp_path):
    with Job(mpi.command(4, script(RUN), tmp_path), mpi.environment) as job:
        done = job.finish()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["0", results_digest()]
    assert_complete(Path(tmp_path))
