"""Ranks die by SIGKILL, and the others go on; where they can't, the last line says what it was."""

import os
import re
import signal
from pathlib import Path

import pytest

from mpi.jobs import Job, kill
from mpipool import supervisor

# --- the transport alone -------------------------------------------------------------------------

MESSAGES = """
import ctypes, os, signal, sys, time
from mpipool.agent_main import _below_supervisor
from mpipool.messages import Bye, Fetch, Hello
from mpipool.transport.mpi import MpiTransport
from argparse import Namespace

VICTIM = int(sys.argv[1])
come_up = _below_supervisor(Namespace())
transport = MpiTransport()
come_up()
others = [rank for rank in range(transport.size) if rank != transport.rank]
number, over, heard = 0, set(), set()
while True:
    if not transport.gone:
        number += 1
        for rank in others:
            # A long one goes in fragments, of which some are under way when the victim dies.
            host = "x" * (3_000_000 if number % 40 == 0 else 10)
            transport.send(rank, Hello(host=host, pid=number, memory=0))
            if transport.rank == VICTIM and number == 160 + rank:
                os.kill(os.getpid(), signal.SIGKILL)
    for sender, message in transport.receive():
        assert sender not in transport.gone
        heard.add(sender)
        if isinstance(message, Bye):
            over.add(sender)
    if transport.may_sleep():
        os.sched_yield()
    transport.wakes()
    for rank in list(transport.lost):
        if rank == 0:
            os._exit(1)
        transport.give_up(rank)
        transport.send(rank, Hello(host="y" * 3_000_000, pid=0, memory=0))  # to nobody
        others.remove(rank)
        for rank in others:
            transport.send(rank, Bye())
    if transport.gone and over == set(others) and not transport.unsent:
        break
communicator = transport.communicator(sorted([transport.rank, *others]), 1)
total = communicator.allreduce(1)
print(f"rank {transport.rank} of {total}: {sorted(heard)}, without {transport.gone}", flush=True)
communicator.Barrier()
communicator.Free()
transport.close()
if transport.rank == 0:
    time.sleep(0.5)  # an exit code makes Open MPI's launcher end the job, and drop what was printed
    ctypes.CDLL(None).exit(3)
ctypes.CDLL(None).exit(0)
"""


def surviving(mpi, ranks, *arguments):
    """mpiexec as `mpipool run --survive` calls it, and the environment of its ranks."""
    if mpi.name == "mpich":
        wrapped = mpi.command(ranks, "-I", "-S", supervisor.__file__, mpi.python, *arguments)
        return wrapped, {**mpi.environment, "MPIPOOL_SURVIVE": "supervisor"}
    mpiexec, *others = mpi.command(ranks, *arguments)
    return [mpiexec, "--with-ft", "ulfm", *others], {**mpi.environment, "MPIPOOL_SURVIVE": "ulfm"}


@pytest.mark.parametrize("victim", [1, 3])
def test_messages_go_on_without_a_rank_that_has_died_in_the_middle_of_some(mpi, script, victim):
    command, environment = surviving(mpi, 4, script(MESSAGES), victim)
    with Job(command, environment) as job:
        done = job.finish()
        assert not job.all_gone_within(5)
    left = [rank for rank in range(4) if rank != victim]
    for rank in left:
        heard = [other for other in range(4) if other != rank]
        assert f"rank {rank} of 3: {heard}, without {{{victim}}}" in done.stdout, done.stderr
    assert done.returncode == 3  # of rank 0, in spite of the death


def test_the_death_of_rank_0_ends_the_job(mpi, script):
    command, environment = surviving(mpi, 3, script(MESSAGES), 0)
    with Job(command, environment) as job:
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode != 0
    assert "without" not in done.stdout


# --- the pool ------------------------------------------------------------------------------------

WORK = """
import os, sys, time
from pathlib import Path
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def note(what):
    (FOLDER / f"{what}-{os.environ['MPIPOOL_RANK']}-{os.getpid()}-{time.monotonic_ns()}").touch()

def piece(x):
    note("piece")
    time.sleep(0.05)
    return x

def work(x):
    note("work")
    time.sleep(0.05)
    return x * x

def lead(x):
    note("lead")
    return sum(Pool().scatterGather(piece, range(x)))

if __name__ == "__main__":
    with Pool() as pool:
        assert pool.map(work, range(60)) == [x * x for x in range(60)]
        assert pool.map(lead, range(8, 16)) == [x * (x - 1) // 2 for x in range(8, 16)]
        print("complete on", os.environ["MPIPOOL_SURVIVE"])
"""


def noted(folder, what):
    """Return the ranks which have noted something, in the order in which they did."""
    names = [path.name.split("-") for path in folder.iterdir()]
    return [
        int(rank) for name, rank, _, _ in sorted(names, key=lambda n: int(n[3])) if name == what
    ]


def kill_rank(job, rank):
    (agent,) = [process for process in job.agents() if process.rank == rank]
    kill(agent.pid)


@pytest.mark.parametrize(("what", "count"), [("work", 9), ("lead", 3), ("piece", 20)])
def test_a_run_goes_on_when_ranks_die_one_after_the_other(mpi, script, tmp_path, what, count):
    """The second is one of those that had to do the work of the first."""
    (folder := tmp_path / "notes").mkdir()
    command = mpi.run(5, "--survive", script(WORK), folder)
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: len(noted(folder, what)) >= count, f"{count} tasks")
        (first, *_) = [rank for rank in reversed(noted(folder, what)) if rank]
        kill_rank(job, first)
        before = len(noted(folder, what))
        job.wait_until(lambda: len(noted(folder, what)) >= before + 2, "more tasks")
        (second, *_) = [rank for rank in reversed(noted(folder, what)) if rank not in {0, first}]
        kill_rank(job, second)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode == 0, done.stderr
    way = {"mpich": "supervisor", "openmpi": "ulfm"}[mpi.name]
    assert f"complete on {way}" in done.stdout
    assert done.stderr.startswith("mpipool: survives the death of ranks: ")
    for rank in (first, second):
        assert f"rank {rank} on " in done.stderr


GANGS = """
import os, signal, sys
from functools import partial
from pathlib import Path
from mpipool import Pool

def solve(folder, x):
    comm = Pool().comm
    ranks = comm.allgather(int(os.environ["MPIPOOL_RANK"]))
    died = Path(folder) / "died"
    # Not with rank 0: where nothing gets it out, the run ends.
    if x > 2 and 0 not in ranks and comm.rank == 1 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    other = comm.Dup()
    total = sum(other.allreduce(1) for _ in range(20))
    other.Free()
    return total

if __name__ == "__main__":
    with Pool() as pool:
        assert pool.map(partial(solve, sys.argv[1]), range(8), ranks=2) == [40] * 8
        assert pool.map(abs, range(50)) == list(range(50))
        print("complete")
"""


def test_a_gang_that_loses_a_member_is_begun_again_by_others(mpi, script, tmp_path):
    """Under MPICH its other members are lost too: they wait in MPI, and nothing gets them out."""
    command = mpi.run(6, "--survive", script(GANGS), tmp_path)
    with Job(command, mpi.environment) as job:
        done = job.finish()
        assert not job.all_gone_within(5)
    assert (done.returncode, done.stdout) == (0, "complete\n"), done.stderr
    assert (tmp_path / "died").exists()


def test_the_death_of_rank_0_ends_a_run_with_a_line_that_says_so(mpi, script, tmp_path):
    (folder := tmp_path / "notes").mkdir()
    with Job(mpi.run(3, "--survive", script(WORK), folder), mpi.environment) as job:
        job.wait_until(lambda: noted(folder, "work"), "tasks")
        kill_rank(job, 0)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode not in {0, 75}
    last = done.stderr.splitlines()[-1].strip()  # prterun may have left the line begun
    assert re.fullmatch(
        r"mpipool: rank 0 died.*; the job has ended, with exit code \d+; "
        "the same command resumes it",
        last,
    )


def test_where_a_death_ends_the_job_the_last_line_says_so(mpi, script, tmp_path):
    (folder := tmp_path / "notes").mkdir()
    with Job(mpi.run(3, script(WORK), folder), mpi.environment) as job:
        job.wait_until(lambda: noted(folder, "work"), "tasks")
        kill_rank(job, 2)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode not in {0, 75}
    assert "complete" not in done.stdout
    last = done.stderr.splitlines()[-1].strip()  # prterun may have left the line begun
    assert re.fullmatch(
        r"mpipool: (a rank|rank 2) died; the job has ended, with exit code \d+; "
        "the same command resumes it",
        last,
    ), done.stderr


def test_within_mpiexec_the_ranks_survive_as_they_can(mpi, script, tmp_path):
    """MPICH's take supervisors; Open MPI's would have had to be started with ULFM."""
    (folder := tmp_path / "notes").mkdir()
    mpipool = Path(mpi.python).parent / "mpipool"
    command = mpi.command(3, mpipool, "run", "--survive", script(WORK), folder)
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: noted(folder, "work"), "tasks")
        if mpi.name == "mpich":
            kill_rank(job, 2)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode == 0, done.stderr
    said = {
        "mpich": "mpipool: survives the death of ranks: MPICH under supervisors",
        "openmpi": "mpipool: this MPI can't survive the death of ranks: ",
    }
    assert done.stderr.count(said[mpi.name]) == 1


@pytest.mark.parametrize("victim", ["mpiexec", "supervisor"])
def test_nothing_survives_mpiexec_or_a_supervisor(mpi, script, tmp_path, victim):
    if mpi.name != "mpich" and victim == "supervisor":
        pytest.skip("Open MPI needs none")
    (folder := tmp_path / "notes").mkdir()
    with Job(mpi.run(3, "--survive", script(WORK), folder), mpi.environment) as job:
        job.wait_until(lambda: noted(folder, "work"), "tasks")
        target = {
            "mpiexec": [p for p in job.processes() if p.is_mpiexec],
            "supervisor": [p for p in job.processes() if p.is_supervisor and p.rank == 1],
        }[victim][0]
        kill(target.pid)
        done = job.finish()
        left = job.all_gone_within(5)
        assert not left, left
    assert done.returncode != 0


def test_a_stopped_rank_that_is_given_up_does_not_come_back(mpi, script, tmp_path):
    """As the broker does with one that has been silent for long; here its life is cut short."""
    (folder := tmp_path / "notes").mkdir()
    with Job(mpi.run(4, "--survive", script(WORK), folder), mpi.environment) as job:
        job.wait_until(lambda: noted(folder, "work"), "tasks")
        (agent,) = [process for process in job.agents() if process.rank == 2]
        os.kill(agent.pid, signal.SIGSTOP)
        before = len(noted(folder, "work"))
        job.wait_until(lambda: len(noted(folder, "work")) >= before + 3, "the others work")
        kill(agent.pid)
        done = job.finish()
        assert not job.all_gone_within(5)
    assert done.returncode == 0, done.stderr
