"""A job that is warned, by whatever launcher and to whichever process, drains and can go on."""

import os
import signal
import sqlite3

import pytest

from mpi.jobs import Job
from mpi.test_orphans import scripts, the_one

SCRIPT = """
import sys, time
from pathlib import Path
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def work(item):
    x, folder = item
    (folder / f"begun-{x}").touch()
    time.sleep(0.1)
    while x >= 4 and not (folder / "go").exists():
        time.sleep(0.01)
    return x

if __name__ == "__main__":
    with Pool(checkpoint=FOLDER / "run.db", grace=float(sys.argv[2])) as pool:
        items = [(x, FOLDER) for x in range(16)]
        print(sum(pool.map(work, items, stage="work", key=lambda item: item[0])), flush=True)
"""
SLOW = [f"begun-{x}" for x in range(4, 16)]
TARGETS = {
    "the command": lambda job: job.pid,
    "rank 0": lambda job: the_one([p for p in job.agents() if p.rank == 0]).pid,
    "another rank": lambda job: the_one([p for p in job.agents() if p.rank == 2]).pid,
    "the script": lambda job: the_one(scripts(job)).pid,
}


def commands(mpi, script, folder, grace):
    path = script(SCRIPT)
    arguments = (folder, str(grace))
    run = [mpi.python, "-m", "mpipool.cli", "run", "-n", "3"]
    return {
        "script": mpi.command(3, path, *arguments),
        "driver": mpi.driver(3, path, *arguments),
        "run": [*run, str(path), *map(str, arguments)],
    }


def states(folder):
    with sqlite3.connect(folder / "run.db") as connection:
        return dict(connection.execute("SELECT state, count(*) FROM attempt GROUP BY state"))


def begun(folder):
    return sum((folder / name).exists() for name in SLOW)


@pytest.mark.parametrize(
    ("mode", "target", "number"),
    [
        ("script", "the command", signal.SIGUSR1),
        ("script", "another rank", signal.SIGTERM),
        ("script", "the script", signal.SIGTERM),
        ("driver", "rank 0", signal.SIGINT),
        ("run", "the command", signal.SIGTERM),
        ("run", "the command", signal.SIGUSR2),
    ],
)
def test_a_warned_job_drains_and_the_same_command_does_the_rest(
    mpi, script, tmp_path, mode, target, number
):
    command = commands(mpi, script, tmp_path, 1000)[mode]
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: begun(tmp_path) == 3, "each rank runs a task")
        os.kill(TARGETS[target](job), number)
        (tmp_path / "go").touch()
        done = job.finish()
        assert done.returncode == 75, done.stderr
        assert "mpipool: the run drains (SIG" in done.stderr
        assert not job.all_gone_within(5)
    first = states(tmp_path)
    assert first.keys() == {"done"}
    assert first["done"] < 16, "it drained before all was begun"
    with Job(command, mpi.environment) as job:
        done = job.finish()
    assert (done.returncode, done.stdout) == (0, f"{sum(range(16))}\n"), done.stderr
    assert states(tmp_path) == {"done": 16}, "something was done twice"


@pytest.mark.parametrize("mode", ["script", "run"])
def test_what_does_not_end_in_time_is_interrupted(mpi, script, tmp_path, mode):
    command = commands(mpi, script, tmp_path, 2)[mode]
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: begun(tmp_path) == 3, "each rank runs a task")
        os.kill(job.pid, signal.SIGUSR1)
        done = job.finish()
        assert done.returncode == 75, done.stderr
        assert not job.all_gone_within(5)
    assert states(tmp_path) == {"done": 4, "interrupted": 3}


def test_sigterm_to_mpiexec_leaves_records_however_little_time_it_gives(mpi, script, tmp_path):
    """Open MPI's kills the ranks half a second later, and exits with 1 whatever they say."""
    command = commands(mpi, script, tmp_path, 2)["script"]
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: begun(tmp_path) == 3, "each rank runs a task")
        os.kill(job.pid, signal.SIGTERM)
        done = job.finish()
        assert done.returncode == (75 if mpi.name == "mpich" else 1), done.stderr
        assert not job.all_gone_within(5)
    assert states(tmp_path)["done"] == 4
    assert states(tmp_path).keys() <= {"done", "interrupted"}


def test_a_warning_to_all_processes_of_a_job_harms_no_task(mpi, script, tmp_path):
    """So it is that Slurm sends them."""
    command = commands(mpi, script, tmp_path, 1000)["driver"]
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: begun(tmp_path) == 3, "each rank runs a task")
        for process in job.processes():
            if not process.is_mpiexec:
                os.kill(process.pid, signal.SIGUSR1)
        (tmp_path / "go").touch()
        assert job.finish().returncode == 75
    assert states(tmp_path).keys() == {"done"}


def test_what_takes_longer_than_the_walltime_of_a_run_is_not_begun(mpi, script, tmp_path):
    (tmp_path / "go").touch()
    costs = ", cost=lambda item: 5000 if item[0] == 7 else 0.1"
    path = script(SCRIPT.replace("key=lambda item: item[0]", f"key=lambda item: item[0]{costs}"))
    run = [mpi.python, "-m", "mpipool.cli", "run", "-n", "3", "--walltime", "1:00:00"]
    with Job([*run, str(path), str(tmp_path), "60"], mpi.environment) as job:
        done = job.finish()
    assert done.returncode == 75, done.stderr
    assert states(tmp_path) == {"done": 15}
    assert not (tmp_path / "begun-7").exists()


def test_a_bad_rank_is_lent_no_more(mpi, script, tmp_path):
    text = """
import os, time
from mpipool import Pool

def work(x):
    time.sleep(0.06)
    if os.environ["MPIPOOL_RANK"] == "2":
        raise OSError("the disk of this node is broken")

if __name__ == "__main__":
    results = Pool().map(work, range(200), errors="return", retries=1)
    print(sum(result is None for result in results))
"""
    with Job(mpi.command(4, script(text)), mpi.environment) as job:
        done = job.finish()
    assert done.returncode == 0, done.stderr
    assert "mpipool: rank 2 on node " in done.stderr
    assert "is quarantined: " in done.stderr
    assert int(done.stdout) > 150


def test_a_gang_which_can_not_be_ended_is_not_waited_for(mpi, script, tmp_path):
    text = """
import sys, time
from pathlib import Path
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def gang(item):
    x, folder = item
    (folder / f"begun-{x}").touch()
    while True:
        time.sleep(0.1)
        Pool().comm.Barrier()

if __name__ == "__main__":
    with Pool(checkpoint=FOLDER / "run.db", grace=3) as pool:
        items = [(x, FOLDER) for x in (4, 5, 6)]
        pool.map(gang, items, ranks=2, stage="gang", key=lambda item: item[0])
"""
    with Job(mpi.command(4, script(text), tmp_path), mpi.environment) as job:
        job.wait_until(lambda: begun(tmp_path) == 2, "two gangs run")
        os.kill(job.pid, signal.SIGUSR1)
        done = job.finish()
        assert done.returncode == 75, done.stderr
        assert not job.all_gone_within(5)
    assert states(tmp_path) == {"interrupted": 2}
