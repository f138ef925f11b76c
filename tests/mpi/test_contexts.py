"""Stores, caches and handles between real ranks."""

import json

import pytest

from mpi.jobs import Job

RANKS = 4
SIZE = 3_000_000

STORE = f"""
import time
from mpipool import Pool

def look(_):
    time.sleep(0.01)
    return len(Pool().data.image)

def idle(_):
    time.sleep(0.01)

if __name__ == "__main__":
    with Pool("images") as pool:
        pool.store(image=bytes({SIZE}), never=bytes({SIZE}))
        Pool().map(idle, range(40))
        print(set(pool.map(look, range(200))) == {{{SIZE}}})
"""

KEEP = f"""
import time
from mpipool import Pool

def make(_):
    time.sleep(0.05)
    return bytes({SIZE})

def measure(data):
    time.sleep(0.05)
    return len(data)

if __name__ == "__main__":
    with Pool() as pool:
        handles = pool.scatter(make, range(12))
        print(pool.map(measure, handles) == [{SIZE}] * 12)
"""

PREVIOUS = """
import os
from mpipool import Pool

def fill(item):
    Pool().cache.item = item
    return os.getpid()

def look(other):
    return Pool().cache.item + other, os.getpid()

def lead(offset):
    pool = Pool()
    for _ in range(3):
        pids = pool.scatterGather(fill, range(offset, offset + 7))
        found = pool.scatterGather(look, range(7), previous=True)
        assert found == [(offset + 2 * i, pid) for i, pid in enumerate(pids)], (found, pids)
    return offset

if __name__ == "__main__":
    with Pool() as pool:
        print(pool.map(lead, range(0, 80, 10)) == list(range(0, 80, 10)))
"""


def traffic(folder, ranks):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


def run(mpi, ranks, text, folder):
    script = folder / "script.py"
    script.write_text(text)
    environment = mpi.environment | {"MPIPOOL_TRAFFIC": str(folder)}
    with Job(mpi.command(ranks, script), environment) as job:
        done = job.finish()
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    return traffic(folder, ranks)


def test_a_stored_value_goes_once_to_each_rank_that_asks_for_it_and_no_other(mpi, tmp_path):
    counts = run(mpi, RANKS, STORE, tmp_path)
    for rank in range(1, RANKS):
        messages, size = counts[rank]["received"].get("Fetched", [0, 0])
        assert messages == 1, f"rank {rank} received it {messages} times"
        assert SIZE <= size < 1.1 * SIZE
        everything = sum(size for _, size in counts[rank]["received"].values())
        assert everything < 1.2 * SIZE


def test_kept_results_stay_where_they_are_and_never_pass_through_rank_0(mpi, tmp_path):
    counts = run(mpi, RANKS, KEEP, tmp_path)
    moved = sum(count["received"].get("Fetched", [0, 0])[1] for count in counts)
    assert moved < 0.5 * 12 * SIZE, "most tasks run where their data are"
    asked = sum(count["sent"].get("Fetch", [0, 0])[0] for count in counts)
    through_root = sum(size for _, size in counts[0]["sent"].values())
    assert through_root < (asked + 13) * SIZE


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_leaders_scatter_back_to_caches_on_any_number_of_ranks(mpi, ranks, tmp_path):
    run(mpi, ranks, PREVIOUS, tmp_path)
