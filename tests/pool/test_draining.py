"""Without mpiexec: a run that is warned drains, says so with its exit code, and can be resumed."""

import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from mpi.jobs import TIMEOUT

SCRIPT = """
import sys, time
from pathlib import Path
import mpipool
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def work(x):
    (FOLDER / f"begun-{x}").touch()
    time.sleep(0.1)  # long enough for tasks to go one by one
    while x in SLOW and not (FOLDER / "go").exists():
        time.sleep(0.01)
    return x

SLOW = range(4, 20)
if __name__ == "__main__":
    with Pool(workers=2, checkpoint=FOLDER / "run.db", grace=GRACE) as pool:
        print(sum(pool.map(work, range(20), stage="work", key=lambda x: x)), pool.last_map.reused)
"""

LEFT = "mpipool: work is left, and the same command goes on with it (exit code 75)\n"


class Run:
    """A script with two workers, which begins four fast tasks and then slow ones."""

    def __init__(self, folder, grace, text=SCRIPT):
        self.folder = folder
        script = folder / "script.py"
        script.write_text(text.replace("GRACE", repr(grace)))
        self.process = subprocess.Popen(
            [sys.executable, script, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def wait_for(self, name):
        while not (self.folder / name).exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.01)

    def warn(self, number):
        self.process.send_signal(number)
        line = self.process.stderr.readline()
        assert line.startswith(f"mpipool: the run drains ({number.name}): no task"), line

    def end(self):
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out, err


@pytest.fixture
def begin(tmp_path):
    begun = []

    def make(**options):
        begun.append(Run(tmp_path, **options))
        return begun[-1]

    yield make
    for one in begun:
        one.process.kill()
        one.process.communicate()


def states(folder):
    with sqlite3.connect(folder / "run.db") as connection:
        return dict(connection.execute("SELECT state, count(*) FROM attempt GROUP BY state"))


def session(folder):
    with sqlite3.connect(folder / "run.db") as connection:
        return connection.execute("SELECT state FROM session ORDER BY token").fetchall()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_what_runs_may_end_and_the_same_command_does_the_rest(begin, tmp_path, number):
    run = begin(grace=1000)
    run.wait_for("begun-4")
    run.wait_for("begun-5")
    run.warn(number)
    (tmp_path / "go").touch()
    code, out, err = run.end()
    assert (code, out, err) == (75, "", LEFT)
    assert states(tmp_path) == {"done": 6}
    assert session(tmp_path) == [("exit 75",)]
    code, out, _ = begin(grace=1000).end()
    assert (code, out) == (0, f"{sum(range(20))} 6\n")
    assert states(tmp_path) == {"done": 20}, "something was done twice"
    assert session(tmp_path)[1:] == [("complete",)]


def test_what_does_not_end_within_the_grace_is_interrupted_and_not_a_failed_attempt(
    begin, tmp_path
):
    run = begin(grace=2)
    run.wait_for("begun-4")
    run.wait_for("begun-5")
    run.warn(signal.SIGTERM)
    assert run.end()[0] == 75
    assert states(tmp_path) == {"done": 4, "interrupted": 2}
    with sqlite3.connect(tmp_path / "run.db") as connection:
        rows = connection.execute(
            "SELECT data_id, error, message, finished - started > 0 FROM attempt"
            " WHERE state = 'interrupted' ORDER BY data_id"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM failed").fetchone() == (0,)
    said = "it was ended from outside: the run drained, or nobody waited for it any more"
    assert rows == [("4", "Interrupted", said, 1), ("5", "Interrupted", said, 1)]
    (tmp_path / "go").touch()
    assert begin(grace=2).end()[:2] == (0, f"{sum(range(20))} 4\n")
    assert states(tmp_path) == {"done": 20, "interrupted": 2}


def test_the_blocked_call_raises_what_says_how_far_it_was(begin, tmp_path):
    text = SCRIPT.replace(
        "        print(sum(",
        """        try:
            pool.map(work, range(20), stage="work", key=lambda x: x)
        except mpipool.Drained as drained:
            print(drained.call, drained.reason, drained.done, drained.interrupted, drained.left)
            print([type(error).__name__ for error in attempts(pool)])
            sys.exit(drained.code)
        print(sum(""",
    ).replace(
        "SLOW = ",
        """def attempts(pool):
    for call in (
        lambda: pool.map(abs, [1]),
        lambda: list(pool.imap(abs, [1])),
        lambda: pool.submit(abs, 1).result(),
        lambda: pool.submit(abs, -1).result(),
    ):
        try:
            yield call()
        except Exception as error:
            yield error

SLOW = """,
    )
    run = begin(grace=1000, text=text)
    run.wait_for("begun-4")
    run.wait_for("begun-5")
    run.warn(signal.SIGUSR1)
    (tmp_path / "go").touch()
    code, out, err = run.end()
    assert out.splitlines() == ["work SIGUSR1 6 0 14", str(["Drained"] * 4)], err
    assert code == 75


def test_what_a_task_scatters_goes_on_as_it_is_part_of_it(begin, tmp_path):
    text = SCRIPT.replace(
        "    while x in",
        """    if x in SLOW:
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
        return Pool().map(abs, [x] * 50)[-1]
    while x in""",
    )
    run = begin(grace=1000, text=text)
    run.wait_for("begun-4")
    run.warn(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert run.end()[0] == 75
    done = states(tmp_path)
    assert done.keys() == {"done"}
    assert done["done"] in {4 + 51, 4 + 102}


def test_the_second_sigterm_ends_what_runs_at_once(begin, tmp_path):
    run = begin(grace=1000)
    run.wait_for("begun-4")
    run.wait_for("begun-5")
    run.warn(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):  # longer than one signal takes to come twice
        run.process.wait(timeout=1.5)
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 75
    assert states(tmp_path) == {"done": 4, "interrupted": 2}


def test_a_script_which_does_not_come_to_its_end_is_not_waited_for_for_ever(begin, tmp_path):
    text = SCRIPT.replace(
        "        print(sum(",
        "        Pool().submit(work, 4)\n        time.sleep(1000)\n        print(sum(",
    )
    run = begin(grace=2, text=text)
    run.wait_for("begun-4")
    run.warn(signal.SIGTERM)
    line = run.process.stderr.readline()
    assert line == "mpipool: the time to drain is over; the run ends with exit code 75\n"
    assert session_ends(tmp_path) == "exit 75"


def session_ends(folder):
    while (state := session(folder)[0][0]) == "running":
        time.sleep(0.05)
    return state


def test_a_run_ends_by_itself_before_the_walltime(python, tmp_path):
    (tmp_path / "go").touch()
    text = SCRIPT.replace("    return x", "    time.sleep(0.4)\n    return x", 1)
    done = python(text.replace("grace=GRACE", "grace=1, walltime=3"), tmp_path)
    assert done.returncode == 75, done.stderr
    assert "the run drains (the walltime)" in done.stderr
    first = states(tmp_path)
    assert first["done"] < 20
    assert first.keys() <= {"done", "interrupted"}
    assert python(text.replace("grace=GRACE", ""), tmp_path).returncode == 0
    assert states(tmp_path)["done"] == 20


def test_what_takes_longer_than_the_walltime_allows_is_not_begun(python, tmp_path):
    (tmp_path / "go").touch()
    text = SCRIPT.replace("grace=GRACE", "walltime=1000").replace(
        "key=lambda x: x", "key=lambda x: x, cost=lambda x: 5000 if x == 7 else 0.1"
    )
    done = python(text, tmp_path)
    assert done.returncode == 75, done.stderr
    assert states(tmp_path) == {"done": 19}
    assert not (tmp_path / "begun-7").exists()


def test_nor_is_what_took_longer_in_an_earlier_run(python, tmp_path):
    (tmp_path / "go").touch()
    text = SCRIPT.replace("    return x", "    time.sleep(3)\n    return x", 1)
    done = python(text.replace("grace=GRACE", "").replace("range(20), ", "range(2), "), tmp_path)
    assert done.returncode == 0, done.stderr
    done = python(text.replace("grace=GRACE", "walltime=3, grace=0.5"), tmp_path)
    assert done.returncode == 75, done.stderr
    assert states(tmp_path) == {"done": 2}
    assert not (tmp_path / "begun-2").exists()


def test_nor_is_what_was_interrupted_after_a_longer_time(begin, python, tmp_path):
    text = SCRIPT.replace("range(4, 20)", "[7]")
    run = begin(grace=2, text=text)
    run.wait_for("begun-19")
    time.sleep(4)
    run.warn(signal.SIGTERM)
    assert run.end()[0] == 75
    assert states(tmp_path) == {"done": 19, "interrupted": 1}
    for name in ("begun-7", "begun-19"):
        (tmp_path / name).unlink()
    (tmp_path / "go").touch()
    done = python(text.replace("grace=GRACE", "walltime=4, grace=0.5"), tmp_path)
    assert done.returncode == 75, done.stderr
    assert not (tmp_path / "begun-7").exists()
    assert python(text.replace("grace=GRACE", ""), tmp_path).returncode == 0
    assert states(tmp_path) == {"done": 20, "interrupted": 1}


FAILING = """
import sys, time
import mpipool
from mpipool import Pool

class Work:
    def __init__(self, each):
        self.each = each
    def __call__(self, x):
        time.sleep(0.02)  # a leader tells of failures 20 times a second
        if x % self.each == 0:
            raise OSError(f"there is no /data/{x}.fits, block {x}")

if __name__ == "__main__":
    with Pool(workers=2, max_failures=MOST) as pool:
        results = pool.map(Work(int(sys.argv[1])), range(200), stage="work", errors="return")
    print(sum(result is None for result in results))
"""


def test_a_run_gives_up_when_the_first_tasks_of_a_stage_fail_alike(python):
    done = python(FAILING.replace("MOST", "None"), "1")
    assert done.returncode == 1, done.stderr
    assert "tasks of work have all failed alike: OSError: there is no #, block #)" in done.stderr
    assert python(FAILING.replace("MOST", "None"), "2").stdout == "100\n"


def test_a_run_gives_up_when_too_many_tasks_have_failed(python):
    done = python(FAILING.replace("MOST", "30"), "4")
    assert done.returncode == 1, done.stderr
    assert "tasks have failed, and --max-failures is reached" in done.stderr
    assert python(FAILING.replace("MOST", "51"), "4").stdout == "150\n"


def test_limits_are_for_the_script_to_set(world):
    def script():
        import mpipool
        from mpipool import Pool

        def task(_):
            try:
                Pool(walltime=5)
            except mpipool.UsageError as error:
                return str(error)

        return Pool().map(task, [0])

    (said,) = world(script)
    assert "only the script" in said
