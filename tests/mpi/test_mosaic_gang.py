"""The solution of a tract on a gang of real ranks is the one of a single process."""

import json
from pathlib import Path

import numpy as np

from mpi.jobs import run

TESTS = Path(__file__).resolve().parents[1]

SOLVE = f"""
import json, sys
sys.path.insert(0, {str(TESTS)!r})
from drivers.stages.mosaic import solve_tract
from model_tract import job, make_tract
from mpipool import Pool

def solved(ranks):
    tract = make_tract(3, 500)
    solution = solve_tract(job(sys.argv[1]), tract.visits)
    found = [[*key, ccd.wcs, ccd.zero_point] for key, ccd in sorted(solution.ccds.items())]
    return Pool().comm.size, found, solution.figures

if __name__ == "__main__":
    with Pool() as pool:
        for ranks in (1, 3):
            print(json.dumps(pool.map(solved, [ranks], ranks=ranks)[0]), flush=True)
"""


def test_a_gang_finds_what_one_process_finds(mpi, script, tmp_path):
    done = run(mpi.command(3, script(SOLVE), tmp_path), mpi.environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    alone, together = map(json.loads, done.stdout.splitlines()[-2:])
    assert (alone[0], together[0]) == (1, 3)
    assert len(alone[1]) == 18
    for one, other in zip(alone[1], together[1], strict=True):
        assert one[:2] == other[:2]
        assert one[2].keys() == other[2].keys()
        values = [[cards[2][name] for name in sorted(one[2])] for cards in (one, other)]
        numbers = [[value for value in row if isinstance(value, float)] for row in values]
        assert np.allclose(*numbers, rtol=1e-9, atol=1e-12)
        assert abs(one[3] - other[3]) < 1e-9
    assert alone[2] == together[2]
