"""`singleFrameDriver` over 96 CCDs is killed at some moment, and given again at once.

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
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mpi.jobs import TIMEOUT, Job, kill

ROUNDS = int(os.environ.get("ROUNDS", "1"))
RANKS = 4
VISITS, CCDS = 12, 8
VICTIMS = ("mpiexec", "root agent", "other agent", "script", "guard", "executor")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A repository of 96 small frames, with what an undisturbed run makes in rerun `ref`."""
    folder = tmp_path_factory.mktemp("survey")
    repo = folder / "repo"
    survey = ("--visits", VISITS, "--ccds", CCDS, "--size", "128x256", "--stars", 60)
    for words in (
        ("drivers.make_survey", repo, *survey, "--calibs", 0),
        ("drivers.ingest", repo, repo / "raw" / "*.fits"),
        ("drivers.single_frame", repo, "--rerun", "ref", "--cores", 2),
    ):
        command = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
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

    wanted = count() + chance.randrange(1, 40)
    while count() < wanted and job.runs:
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


def disturb(job, repo, rerun, chance):
    """Kill something of a job and wait for its end, not for that of what it started."""
    kind = chance.choice(VICTIMS)
    moment = wait_for_the_moment(job, repo, rerun, chance)
    if found := victims(job, kind):
        kill(chance.choice(found).pid)
    deadline = time.monotonic() + TIMEOUT
    while job.runs:  # while it becomes another program its environment can not be read
        assert time.monotonic() < deadline, f"{kind} {moment}: the job hangs"
        time.sleep(0.01)
    return f"{kind} {moment}"


def checked(repo, rerun, story):
    assert contents(repo, rerun) == contents(repo, "ref"), story
    done_twice = "SELECT count(*) - count(DISTINCT digest) FROM attempt WHERE state = 'done'"
    assert ask(repo / "rerun" / rerun / "run.db", done_twice) == 0, story
    rows = "SELECT count(*) FROM calexp WHERE rerun = ?"
    assert ask(repo / "registry.sqlite", rows, rerun) == VISITS * CCDS, story


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_survey_that_was_killed_ends_as_if_it_had_not_been(mpi, repo, seed):
    chance, rerun = random.Random(f"{mpi.name} {seed}"), f"{mpi.name}-{seed}"
    driver = Path(mpi.python).parent / "singleFrameDriver"
    command = [mpi.mpiexec, "-n", str(RANKS), str(driver), str(repo), "--rerun", rerun]
    with ExitStack() as stack:

        def start():
            jobs.append(stack.enter_context(Job(command, mpi.environment)))
            return jobs[-1]

        jobs: list[Job] = []
        story = [disturb(start(), repo, rerun, chance) for _ in range(chance.choice([1, 2]))]
        for _ in range(3):
            done = start().finish()
            story += [f"exit code {done.returncode}", done.stdout, done.stderr]
            if done.returncode == 0:
                break
        told = "\n".join(story)
        assert done.returncode == 0, told
        checked(repo, rerun, told)
        assert [left for job in jobs if (left := job.all_gone_within(5))] == [], told
