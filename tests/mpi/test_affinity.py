"""Under a launcher, executors keep to CPUs of their own; agents and the script do not."""

import json
import os

import pytest

from mpi.jobs import run

CPUS = sorted(os.sched_getaffinity(0))
TEXT = """
import json, os, time
from mpipool import Pool
def look(_):
    time.sleep(0.2)  # so that each rank gets one
    return sorted(os.sched_getaffinity(0)), sorted(os.sched_getaffinity(os.getppid()))
def here(x):
    return look(x)[0]
pool = Pool()
found = dict(
    tasks=pool.map(look, range(pool.size)),
    threads=pool.map(here, [0], threads=2),
    again=pool.map(here, [0]),
    script=sorted(os.sched_getaffinity(0)),
)
print(json.dumps(found))
"""


def look(mpi, script, ranks, *options):
    mpiexec, *rest = mpi.command(ranks, script(TEXT))
    done = run([mpiexec, *options, *rest], mpi.environment)
    assert done.returncode == 0, done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_each_rank_has_a_cpu_and_more_threads_have_more(mpi, script):
    found = look(mpi, script, 2)
    own = [cpus for cpus, _ in found["tasks"]]
    assert len(own[0]) == len(own[1]) == 1
    assert own[0] != own[1]
    assert found["script"] == CPUS
    assert all(guard == CPUS for _, guard in found["tasks"])
    assert found["threads"] == [CPUS]
    assert len(found["again"][0]) == 1


def test_more_ranks_than_cpus_are_left_alone(mpi, script):
    found = look(mpi, script, len(CPUS) + 1)
    assert all(cpus == CPUS for cpus, _ in found["tasks"])


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_what_the_launcher_has_bound_stays_so_but_for_tasks_with_threads(mpi, script):
    option = "-bind-to" if mpi.name == "mpich" else "--bind-to"
    found = look(mpi, script, 2, option, "core")
    own = [cpus for cpus, _ in found["tasks"]]
    assert len(own[0]) == len(own[1]) == 1
    assert own[0] != own[1]
    assert len(found["script"]) == 1
    assert found["threads"] == [CPUS]
    assert len(found["again"][0]) == 1
