"""`singleFrameDriver` over 200 CCDs is killed at some moment, and given again at once.

Whatever was killed and when: in the end there are the files of an undisturbed run, byte for byte,
no CCD was committed twice, the registry has all of them, and nothing is left running. ``ROUNDS``
says how often; the seed of a round is in the test's name.
"""

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from mpi.jobs import Job, kill

ROUNDS = int(os.environ.get("ROUNDS", "1"))
RANKS = 4
VISITS, CCDS = 25, 8
VICTIMS = ("mpiexec", "root agent", "other agent", "script", "guard", "executor")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A repository of 200 small frames, with what an undisturbed run makes in rerun `ref`."""
    folder = tmp_path_factory.mktemp("survey")
    raw, repo = folder / "raw", folder / "repo"
    survey = ("--visits", VISITS, "--ccds", CCDS, "--size", "128x256")
    for words in (
        ("drivers.simulate", raw, *survey),
        ("drivers.ingest", repo, raw / "*.fits"),
        ("drivers.single_frame", repo, "--rerun", "ref", "--cores", 2),
    ):
        command = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(contents(repo, "ref")) == 2 * VISITS * CCDS
    return repo


def contents(repo, rerun):
    """All that stands below calexp, leftovers too, and the digests of the bytes."""
    folder = repo / "rerun" / rerun / "calexp"
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def ask(database, query, *values):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchone()[0]


def wait_for_the_moment(job, repo, rerun, chance):
    """Wait for some time, or until some more CCDs are there; return what it was."""
    if chance.random() < 0.3:
        seconds = chance.uniform(0, 1.5)
        time.sleep(seconds)
        return f"after {seconds:.2f} s"
    there = repo / "rerun" / rerun / "calexp"

    def count():
        return sum(1 for _ in there.glob("*/calexp-*.fits"))

    wanted = count() + chance.randrange(1, 80)
    while count() < wanted and job.processes():
        time.sleep(0.005)
    return f"at {wanted} CCDs"


def victims(job, kind):
    match kind:
        case "mpiexec":
            return [process for process in job.processes() if process.is_mpiexec]
        case "root agent":
            return [process for process in job.agents() if process.rank == 0]
        case "other agent":
            return [process for process in job.agents() if process.rank != 0]
        case "guard":
            return job.guards()
        case "executor":
            return job.executors()
    others = [p for p in job.processes() if not (p.is_agent or p.is_guard or p.is_mpiexec)]
    return [process for process in others if process.has("drivers.single_frame")]


def disturbed(command, mpi, repo, rerun, chance):
    """Run the command, and kill something of it; return what, when, and the exit code."""
    kind = chance.choice(VICTIMS)
    with Job(command, mpi.environment) as job:
        moment = wait_for_the_moment(job, repo, rerun, chance)
        if found := victims(job, kind):
            kill(chance.choice(found).pid)
        done = job.finish()
        # The command is given again before the last of the old one is gone: `left` is for later.
        return f"{kind} {moment}: exit code {done.returncode}", job


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_survey_that_was_killed_ends_as_if_it_had_not_been(mpi, repo, seed):
    chance, rerun = random.Random(f"{mpi.name} {seed}"), f"{mpi.name}-{seed}"
    driver = Path(mpi.python).parent / "singleFrameDriver"
    command = [mpi.mpiexec, "-n", str(RANKS), str(driver), str(repo), "--rerun", rerun]
    jobs, story = [], []
    for _ in range(chance.choice([1, 2, 3])):
        told, job = disturbed(command, mpi, repo, rerun, chance)
        story.append(told)
        jobs.append(job)
    code = 1
    for _ in range(2):
        with Job(command, mpi.environment) as job:
            done, code = job.finish(), 0
            story.append(f"to its end: {done.returncode}\n{done.stdout}{done.stderr}")
            jobs.append(job)
        if (code := done.returncode) == 0:
            break
    told = "\n".join(story)
    assert code == 0, told
    assert contents(repo, rerun) == contents(repo, "ref"), told
    database = repo / "rerun" / rerun / "run.db"
    done_twice = "SELECT count(*) - count(DISTINCT digest) FROM attempt WHERE state = 'done'"
    assert ask(database, done_twice) == 0, told
    rows = "SELECT count(*) FROM calexp WHERE rerun = ?"
    assert ask(repo / "registry.sqlite", rows, rerun) == VISITS * CCDS, told
    assert [left for job in jobs if (left := job.all_gone_within(5))] == [], told
