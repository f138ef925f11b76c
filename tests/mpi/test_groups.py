"""Groups of real ranks: elastic, cheap when idle, and no payload takes the way through rank 0."""

import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import pytest

from mpi.jobs import Job, run

# Three scatters, the longer the later: the rank without one of its own begins with a short one,
# which it has to leave before that is over.
ELASTIC = """
import random, sys, time
from mpipool import Pool

def sleeps(task):
    chance = random.Random(task)
    return [min(chance.lognormvariate(0, 1), 6) * 0.03 * (task + 1) for _ in range(24)]

def lead(task):
    time.sleep(0.15 * task)
    Pool().scatterGather(time.sleep, sleeps(task))

if __name__ == "__main__":
    with Pool(checkpoint=sys.argv[1]) as pool:
        pool.map(lead, range(3))
"""


@dataclass(frozen=True)
class Attempt:
    scatter: int
    rank: int
    started: float
    finished: float


@dataclass(frozen=True)
class Scatter:
    leader: int
    opened: float
    closed: float


def read(database):
    """Return the scatters which tasks led, and the attempts of their tasks."""
    with sqlite3.connect(database) as connection:
        scatters = {
            row[0]: Scatter(*row[1:])
            for row in connection.execute(
                "SELECT id, leader, opened, closed FROM scatter WHERE parent IS NOT NULL"
            )
        }
        attempts = [
            Attempt(*row)
            for row in connection.execute(
                "SELECT scatter, rank, started, finished FROM attempt ORDER BY started"
            )
            if row[0] in scatters
        ]
    return scatters, attempts


def test_ranks_move_between_scatters_while_these_run(mpi, script, tmp_path):
    database = tmp_path / "run.db"
    done = run(mpi.command(4, script(ELASTIC), database), mpi.environment)
    assert done.returncode == 0, done.stderr
    scatters, attempts = read(database)
    assert (len(scatters), len(attempts)) == (3, 72)
    ranks, times = defaultdict(set), defaultdict(list)
    for attempt in attempts:
        ranks[attempt.scatter].add(attempt.rank)
        times[attempt.scatter] += [attempt.started, attempt.finished]
    span = {scatter: (min(those), max(those)) for scatter, those in times.items()}

    def lives(scatter, moment):
        return span[scatter][0] <= moment <= span[scatter][1]

    assert any(lives(b, span[a][0]) for a in span for b in span if a != b), "none overlap"
    assert max(map(len, ranks.values())) >= 3, ranks
    last_start = {a.scatter: a.started for a in attempts}  # they are in this order
    moves = [
        (before, after)
        for rank in range(4)
        for before, after in pairwise([a for a in attempts if a.rank == rank])
        if before.scatter != after.scatter and after.started < last_start[before.scatter]
    ]
    assert moves, "no rank left a scatter for another one before all its tasks had begun"
    total = sum(a.finished - a.started for a in attempts)
    longest = max(a.finished - a.started for a in attempts)
    makespan = max(a.finished for a in attempts) - min(a.started for a in attempts)
    # Usually below 1.1. A rank that is not lent on costs far more than this bound.
    assert makespan <= 1.4 * max(total / 4, longest)


PAYLOADS = """
import sys, time
from mpipool import Pool

ITEM, RESULT = 300_000, 200_000

def work(item):
    time.sleep(0.06)
    return bytes(RESULT)

def lead(task):
    results = Pool().scatterGather(work, [bytes(ITEM)] * 8 * (task + 1))
    return sum(map(len, results))

if __name__ == "__main__":
    with Pool(checkpoint=sys.argv[1]) as pool:
        assert pool.map(lead, range(3)) == [8 * RESULT * n for n in (1, 2, 3)]
"""
ITEM, RESULT, SLACK = 300_000, 200_000, 100_000


def test_payloads_go_from_leader_to_member_and_not_through_rank_0(mpi, script, tmp_path):
    """Each rank sends the items of its own scatter and receives those which it runs, no others."""
    database = tmp_path / "run.db"
    environment = mpi.environment | {"MPIPOOL_TRAFFIC": str(tmp_path)}
    done = run(mpi.command(4, script(PAYLOADS), database), environment)
    assert done.returncode == 0, done.stderr
    scatters, attempts = read(database)
    traffic = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(4)]

    def moved(rank, way, message):
        return traffic[rank][way].get(message, [0, 0])[1]

    for rank in range(4):
        led = [a for a in attempts if scatters[a.scatter].leader == rank and a.rank != rank]
        worked = [a for a in attempts if scatters[a.scatter].leader != rank and a.rank == rank]
        for way, message, expected in (
            ("sent", "RunTasks", len(led) * ITEM),
            ("received", "TasksDone", len(led) * RESULT),
            ("received", "RunTasks", len(worked) * ITEM),
            ("sent", "TasksDone", len(worked) * RESULT),
        ):
            assert abs(moved(rank, way, message) - expected) < SLACK, (rank, way, message)
    assert sum(moved(rank, "sent", "RunTasks") for rank in range(1, 4)) > ITEM, "nothing moved"
    others = {
        name: size
        for name, (_, size) in (traffic[0]["sent"] | traffic[0]["received"]).items()
        if name not in {"RunTasks", "TasksDone"}
    }
    assert sum(others.values()) < SLACK, others


IDLE = """
import time
from mpipool import Pool

with Pool() as pool:
    pool.map(time.sleep, [0.1] * 8)
    print("idle", flush=True)
    time.sleep(8)
"""


@pytest.mark.parametrize("mode", ["script", "driver"])
def test_an_idle_rank_uses_less_than_2_percent_of_a_core(mpi, script, mode):
    path = script(IDLE)
    command = mpi.command(4, path) if mode == "script" else mpi.driver(4, path)
    with Job(command, mpi.environment) as job:
        job.wait_until(lambda: len(job.executors()) >= 4, "all ranks have worked")
        time.sleep(2)
        processes = [p for p in job.processes() if not p.is_mpiexec]
        before = {process.pid: process.cpu for process in processes}
        began = time.monotonic()
        time.sleep(4)
        spent = {process.pid: process.cpu - before[process.pid] for process in processes}
        elapsed = time.monotonic() - began
        agents = [process.pid for process in job.agents()]
        job.finish()
    assert len(agents) == 4
    shares = {pid: round(100 * cpu / elapsed, 2) for pid, cpu in spent.items()}
    print({"agents": [shares[pid] for pid in agents], "all": sum(shares.values())})
    assert max(shares.values()) < 2, shares
