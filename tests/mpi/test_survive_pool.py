"""What becomes of tasks, caches and kept data when ranks die: see `test_survive` for launches.

A task that is chosen kills its own rank, once; so whatever is to be under way then, is.
"""

import json
import sqlite3

import pytest

from mpi.jobs import Job

DEATHS = '''
import json, os, signal, sys, time
from pathlib import Path
import mpipool
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

def first_time(name):
    try:
        (FOLDER / name).touch(exist_ok=False)
        return True
    except FileExistsError:
        return False

def rank():
    return int(os.environ["MPIPOOL_RANK"])

def die(name="death", with_signal=signal.SIGKILL):
    """Kill this rank, above the guard above this process, unless it is 0 or one has died of it."""
    if rank() and first_time(name):
        os.kill(parent(os.getppid()), with_signal)
        time.sleep(60)
'''


@pytest.fixture
def survive(mpi, tmp_path, script):
    """Run a script of which some ranks die; return what it printed as JSON, and its stderr."""

    def run(text, ranks=4, deaths=1, options=()):
        command = [mpi.python, "-m", "mpipool.cli", "run", "--survive", *options]
        command += ["-n", str(ranks), str(script(DEATHS + text)), str(tmp_path)]
        with Job(command, mpi.environment, tmp_path) as job:
            done = job.finish(timeout=120)
            left = job.all_gone_within(5)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not left, left
        assert done.stderr.count("is lost (") == deaths, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    return run


def test_tasks_of_a_rank_that_dies_are_run_by_others_and_committed_once(survive, tmp_path):
    out, _ = survive(
        """
def work(x):
    time.sleep(0.02)
    if 13 <= x < 30:
        die("first")
    if x >= 40:
        die("second")
    with mpipool.output(FOLDER / f"{x}.txt") as part:
        part.write_text(str(x))
    return x * x

if __name__ == "__main__":
    with Pool(checkpoint=FOLDER / "run.db") as pool:
        print(json.dumps(pool.map(work, range(80), stage="work", key=lambda x: {"x": x})))
""",
        deaths=2,
    )
    assert out == [x * x for x in range(80)]
    with sqlite3.connect(tmp_path / "run.db") as database:
        rows = database.execute("SELECT state, count(*) FROM attempt GROUP BY state").fetchall()
        twice = database.execute(
            "SELECT digest FROM attempt WHERE state = 'done' GROUP BY digest HAVING count(*) > 1"
        ).fetchall()
    assert dict(rows)["done"] == 80
    assert dict(rows)["lost"] >= 2
    assert not twice
    assert all((tmp_path / f"{x}.txt").read_text() == str(x) for x in range(80))


def test_scatters_which_a_dead_rank_led_are_begun_again(survive):
    out, _ = survive(
        """
def leaf(x):
    time.sleep(0.02)
    return x

def exposure(x):
    first = sum(Pool().map(leaf, range(10)))
    if x >= 5:
        die()
    return x + first + sum(Pool().map(leaf, range(10)))

if __name__ == "__main__":
    print(json.dumps(Pool().map(exposure, range(12))))
"""
    )
    assert out == [x + 90 for x in range(12)]


def test_what_was_kept_on_a_dead_rank_is_made_again_by_who_needs_it(survive):
    out, _ = survive(
        """
def make(x):
    time.sleep(0.05)
    return x, rank()

def use(made):
    return made[0] * 2

def end(x):
    time.sleep(0.05)
    die()

if __name__ == "__main__":
    pool = Pool()
    handles = pool.scatter(make, range(12))
    pool.map(end, range(12), retries=3)
    used = pool.map(use, handles)
    print(json.dumps([used, [h.get()[0] for h in handles], len({h.rank for h in handles})]))
"""
    )
    assert out[:2] == [[x * 2 for x in range(12)], list(range(12))]
    assert out[2] >= 3


def test_caches_on_a_dead_rank_are_filled_again(survive):
    out, _ = survive(
        """
def fill(x):
    time.sleep(0.05)
    Pool().cache.x = x * 10

def look(x):
    if x >= 6:
        die()
    time.sleep(0.02)
    return Pool().cache.x + x

def exposure(n):
    pool = Pool("exposure")
    pool.map(fill, range(12))
    return pool.map(look, range(12), previous=True)

if __name__ == "__main__":
    print(json.dumps([Pool().map(exposure, range(2)), exposure(0)]))
"""
    )
    expected = [x * 11 for x in range(12)]
    assert out == [[expected, expected], expected]


def test_a_silent_rank_is_given_up(survive):
    out, stderr = survive(
        """
def work(x):
    time.sleep(0.05)
    if x >= 20:
        die(with_signal=signal.SIGSTOP)
    return x

if __name__ == "__main__":
    print(json.dumps(Pool().map(work, range(60))))
""",
        options=("--silence", "15"),
    )
    assert out == list(range(60))
    assert "it has said nothing for 15 s" in stderr


def test_all_ranks_but_rank_0_die(survive):
    out, _ = survive(
        """
def work(x):
    time.sleep(0.02)
    die(f"death-{rank()}")
    return x

if __name__ == "__main__":
    print(json.dumps(Pool().map(work, range(40), retries=2)))
""",
        ranks=3,
        deaths=2,
    )
    assert out == list(range(40))
