"""Whatever of a run is killed, nothing below it survives, and what can go on goes on."""

import random
import time

import pytest

from mpi.jobs import Job, kill

SLEEPERS = """
import subprocess, time
from mpipool import Pool

def sleep_for_ever(index):
    subprocess.Popen(["setsid", "sleep", "1000"])
    subprocess.run(["sh", "-c", "setsid sleep 1000 &"])  # a daemon: its parent has ended
    time.sleep(1000)

def lead(index):
    subprocess.Popen(["setsid", "sleep", "1001"])
    Pool().scatterGather(sleep_for_ever, range(4))

if __name__ == "__main__":
    with Pool() as pool:
        pool.map(lead, range(2))
"""
# In driver mode what the script itself has started is below a guard too. In script mode the script
# stands above all of ours, as it would without mpipool.
SLEEPING_SCRIPT = SLEEPERS.replace(
    "Pool() as pool:\n",
    """Pool() as pool:
        subprocess.Popen(["setsid", "sleep", "1000"])
""",
)


def start(mpi, script, mode, ranks=4, text=None):
    path = script(text or (SLEEPERS if mode == "script" else SLEEPING_SCRIPT))
    command = mpi.command(ranks, path) if mode == "script" else mpi.driver(ranks, path)
    return Job(command, mpi.environment)


def sleepers(job):
    """The tasks' own children, in sessions of their own."""
    return [process for process in job.processes() if process.command[:2] == ("sleep", "1000")]


def scripts(job):
    """The process of the script; in script mode rank 0 as mpiexec has started it."""
    return [
        process
        for process in job.processes()
        if any(word.endswith("script.py") for word in process.command)
        and not process.is_agent
        and not process.is_mpiexec
        and process.command[0].endswith("python")
        and process.rank in {0, None}  # the others become agents in a moment
    ]


def proxies(job):
    """What the launcher has put between itself and the ranks; Open MPI has nothing there."""
    return [p for p in job.processes() if p.command[0].endswith("hydra_pmi_proxy")]


def leading_agent(job):
    """The agent of a rank whose task leads a scatter: above what that has started."""
    known = {process.pid: process for process in job.processes()}
    process = next(p for p in known.values() if p.command[:2] == ("sleep", "1001"))
    while not process.is_agent:
        process = known[process.parent]
    return process


def the_one(processes):
    (process,) = processes
    return process


TARGETS = {
    "mpiexec": lambda job: next(p for p in job.processes() if p.pid == job.pid),
    "root_agent": lambda job: the_one([p for p in job.agents() if p.rank == 0]),
    "other_agent": lambda job: the_one([p for p in job.agents() if p.rank == 2]),
    "script": lambda job: the_one(scripts(job)),
    "leading_agent": leading_agent,
    "proxy": lambda job: the_one(proxies(job)),
}


@pytest.mark.parametrize("mode", ["script", "driver"])
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_survives_when_a_part_of_the_run_is_killed(mpi, script, mode, target):
    if target == "proxy" and mpi.name != "mpich":
        pytest.skip("Open MPI has no proxy on the node of mpiexec")
    with start(mpi, script, mode) as job:
        job.wait_until(lambda: len(sleepers(job)) >= 8, "each rank runs a task")
        kill(TARGETS[target](job).pid)
        left = job.all_gone_within(5)
        assert not left, left


def test_the_guard_of_the_script_takes_the_run_along(mpi, script):
    with start(mpi, script, "driver") as job:
        job.wait_until(lambda: len(sleepers(job)) >= 8, "each rank runs a task")
        kill(the_one(scripts(job)).parent)
        left = job.all_gone_within(5)
        assert not left, left


@pytest.mark.parametrize("mode", ["script", "driver"])
def test_nothing_survives_when_mpiexec_is_killed_while_it_starts_the_ranks(mpi, script, mode):
    chance = random.Random(7)
    for _ in range(4):
        with start(mpi, script, mode) as job:
            time.sleep(chance.uniform(0.02, 1.2))
            kill(job.pid)
            left = job.all_gone_within(5)
            assert not left, left


@pytest.mark.parametrize("delay", [0, 0.1, 0.2])
@pytest.mark.parametrize(
    ("mode", "target"), [("script", "root_agent"), ("script", "script"), ("driver", "root_agent")]
)
def test_nothing_survives_a_kill_while_mpi_starts(mpi, script, mode, delay, target):
    """The ranks wait for one another within MPI_Init, where nothing of ours runs."""
    with start(mpi, script, mode) as job:
        job.wait_until(lambda: [p for p in job.agents() if p.rank == 0], "rank 0 has an agent")
        time.sleep(delay)
        kill(TARGETS[target](job).pid)
        left = job.all_gone_within(5)
        assert not left, left


def test_what_a_killed_executor_had_started_is_gone_and_the_run_goes_on(mpi, script):
    text = """
import os, subprocess, time
from mpipool import ExecutorDied, Pool

def work(index):
    if index:
        return index
    subprocess.Popen(["setsid", "sleep", "1000"])
    time.sleep(1000)

if __name__ == "__main__":
    with Pool() as pool:
        first, *others = pool.map(work, range(8), errors="return")
        assert others == list(range(1, 8)), others
        assert isinstance(first, ExecutorDied) and "SIGKILL" in str(first), first
        print(len(pool.map(abs, range(100))), "and on")
"""
    with start(mpi, script, "script", ranks=2, text=text) as job:
        job.wait_until(lambda: sleepers(job), "the task runs")
        sleeper = the_one(sleepers(job))
        kill(next(p for p in job.executors() if p.pid == sleeper.parent).pid)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode == 0, done.stderr
    assert "100 and on" in done.stdout


def test_a_killed_guard_costs_only_what_it_was_running(mpi, script, tmp_path):
    """The tasks of its rank run again, and what they had started is gone."""
    text = f"""
import os, subprocess, time
from pathlib import Path
from mpipool import Pool

FOLDER = Path({str(tmp_path)!r})

def work(index):
    with open(FOLDER / f"started-{{index}}", "a") as log:
        log.write("once more\\n")
    if index < 4:
        subprocess.Popen(["setsid", "sleep", "1000"])
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
    return index * index

if __name__ == "__main__":
    with Pool() as pool:
        assert pool.map(work, range(40)) == [i * i for i in range(40)]
        print("complete")
"""
    with start(mpi, script, "script", text=text) as job:
        job.wait_until(lambda: len(sleepers(job)) == 4, "four tasks run")
        victim = job.guards()[0]
        below = [p.pid for p in job.executors() if p.parent == victim.pid]
        lost = [p.pid for p in sleepers(job) if p.parent in below]
        assert lost
        kill(victim.pid)
        job.wait_until(
            lambda: not {p.pid for p in job.processes()} & {*below, *lost}, "all below it is gone"
        )
        job.wait_until(lambda: len(sleepers(job)) == 4, "its task runs again")
        (tmp_path / "go").touch()
        done = job.finish()
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
    runs = {
        index: len((tmp_path / f"started-{index}").read_text().splitlines()) for index in range(40)
    }
    assert sorted(runs.values()) == [1] * 39 + [2], runs
