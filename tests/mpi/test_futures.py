"""Single calls between real ranks."""

import pytest

from mpi.jobs import Job

SCRIPT = """
import concurrent.futures, sys, time
from mpipool import Blocked, Pool, PoolExecutor

def nested(n):
    pool = Pool()
    futures = [pool.submit(pow, i, 2) for i in range(n)]
    return pool.submit(sum, futures).result()

def late(path):
    time.sleep(0.2)
    open(path, "w").close()

if __name__ == "__main__":
    pool = Pool()
    many = [pool.submit(abs, -i) for i in range(3000)]
    tasks = [pool.submit(nested, n) for n in range(20)]
    blocked = pool.submit(abs, pool.submit(divmod, 1, 0))
    done, left = concurrent.futures.wait([*many, *tasks, blocked], timeout=60)
    with PoolExecutor() as executor:
        mapped = list(executor.map(pow, range(5), range(5)))
    print(
        len(left) == 0
        and [f.result() for f in many] == list(range(3000))
        and [f.result() for f in tasks] == [sum(i * i for i in range(n)) for n in range(20)]
        and isinstance(blocked.exception(), Blocked)
        and mapped == [1, 1, 4, 27, 256]
        and pool.map(abs, [-1]) == [1]
    )
    pool.submit(late, sys.argv[0] + ".late")
"""


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_calls_between_ranks(mpi, ranks, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with Job(mpi.command(ranks, script), mpi.environment) as job:
        done = job.finish()
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert (tmp_path / "script.py.late").exists(), "the script did not wait for its last call"
