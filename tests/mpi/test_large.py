"""Payloads beyond what one message of MPI can count: 2 GiB."""

import json

import pytest

from mpi.jobs import run

SIZE = (2 << 30) + 1000
TEXT = """
import os, time
import numpy as np
from mpipool import Pool

def rank_and_array(item):
    time.sleep(0.3)  # so that each rank gets one
    if item is None:
        while os.path.exists("wait"):  # keep this rank from what is meant for the other
            time.sleep(0.02)
        return os.getppid(), None
    assert item[-1] == 7
    item[0] = 5
    os.unlink("wait")
    return os.getppid(), item

pool = Pool()
array = np.zeros(SIZE, dtype=np.uint8)
array[-1] = 7
for items in ([None, array], [array, None]):  # one of the two crosses
    open("wait", "w").close()
    found = pool.map(rank_and_array, items)
    (result,) = [each for _, each in found if each is not None]
    print(len(result), result[0], result[-1])
    del found, result
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_more_than_two_gibibytes_in_both_directions(mpi, script, tmp_path):
    path = script(TEXT.replace("SIZE", str(SIZE)))
    environment = mpi.environment | {"MPIPOOL_TRAFFIC": str(tmp_path)}
    done = run(mpi.command(2, path), environment, cwd=tmp_path, timeout=600)
    assert done.stdout == f"{SIZE} 5 7\n" * 2, done.stderr
    sent = [json.loads((tmp_path / f"{rank}.json").read_text())["sent"] for rank in range(2)]
    assert sent[0]["RunTasks"][1] > SIZE, "it never went to the other rank"
    assert sent[1]["TasksDone"][1] > SIZE
