"""Runs begin, give the same results with any number of ranks, and end without a trace."""

import os
import sys

import pytest

from mpi.jobs import run

NESTED = """
import sys
from mpipool import Pool

def leaf(x):
    return x * x

def lead(x):
    return sum(Pool().scatterGather(leaf, range(x)))

if __name__ == "__main__":
    with Pool() as pool:
        squares = pool.map(leaf, range(1000))
        print(pool.map(lead, range(12)), squares == [x * x for x in range(1000)])
        print("size", pool.size)
    END
"""


def nested(end="pass"):
    return NESTED.replace("END", end)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the script prints without mpiexec."""
    path = tmp_path_factory.mktemp("alone") / "script.py"
    path.write_text(nested())
    done = run([sys.executable, str(path)])
    assert done.returncode == 0, done.stderr
    results, size = done.stdout.splitlines()
    assert size == "size 1"
    assert results.endswith("True")
    return results


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, pytest.param(16, marks=pytest.mark.slow)])
def test_any_number_of_ranks_gives_the_results_of_none(mpi, script, expected, ranks):
    done = run(mpi.command(ranks, script(nested())), mpi.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [expected, f"size {ranks}"]


@pytest.mark.parametrize("mode", ["script", "driver"])
@pytest.mark.parametrize(
    ("end", "code"), [("raise ValueError('at the end')", 1), ("sys.exit(3)", 3)]
)
def test_the_exit_code_of_the_script_is_that_of_mpiexec(mpi, script, mode, end, code):
    path = script(nested(end))
    command = mpi.command(2, path) if mode == "script" else mpi.driver(2, path)
    done = run(command, mpi.environment)
    assert done.returncode == code, done.stderr
    assert "size 2" in done.stdout
    assert ("at the end" in done.stderr) == (code == 1)


def test_a_driver_ends_with_code_0(mpi, script, expected):
    done = run(mpi.driver(3, script(nested())), mpi.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [expected, "size 3"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("starts", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_start_and_end_again_and_again(mpi, script, expected, starts):
    path = script(nested())
    for number in range(starts):
        command = mpi.command(4, path) if number % 2 else mpi.driver(4, path)
        done = run(command, mpi.environment)
        assert (done.returncode, done.stderr) == (0, ""), f"start {number}"
        assert done.stdout.splitlines() == [expected, "size 4"], f"start {number}"


def test_a_launcher_of_another_mpi_is_named_instead_of_running_n_times(mpi, script):
    """mpiexec of one MPI, Python of the other: each rank would take itself for all."""
    others = {
        "mpich": os.environ.get("MPIPOOL_TEST_OPENMPI", f"{sys.prefix}-openmpi") + "/bin/python",
        "openmpi": f"{sys.prefix}/bin/python",
    }
    python = others[mpi.name]
    if not os.path.exists(python):
        pytest.skip(f"there is no {python}")
    agent = ["-P", "-m", "mpipool.agent_main", "--run", python, str(script(nested()))]
    done = run([mpi.mpiexec, "-n", "2", python, *agent], mpi.environment)
    assert done.returncode != 0
    assert "size" not in done.stdout


# --- drivers and --cores -------------------------------------------------------------------------

DRIVER = """
import os, sys
from mpipool import Pool, enter

def main():
    enter("tiny_driver")
    with Pool() as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        print("ranks", pool.size, "arguments", sys.argv[1:])
    sys.exit(0 if "--fail" not in sys.argv else 1)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def driver(mpi, script):
    """The command of a driver, as its console script would be called, and its environment."""
    folder = script(DRIVER, "tiny_driver.py").parent
    path = os.pathsep.join(filter(None, [str(folder), mpi.environment.get("PYTHONPATH")]))
    start = "import tiny_driver; tiny_driver.main()"
    return [mpi.python, "-c", start], {**mpi.environment, "PYTHONPATH": path}


@pytest.mark.parametrize("option", [["--cores", "3"], ["--cores=3"]])
def test_cores_outside_of_mpiexec_starts_so_many_ranks(driver, option):
    command, environment = driver
    done = run([*command, "REPO", *option], environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"ranks 3 arguments {['REPO', *option]}\n"


def test_a_driver_without_cores_runs_with_one_rank(driver):
    command, environment = driver
    done = run([*command, "REPO"], environment)
    assert (done.returncode, done.stdout) == (0, "ranks 1 arguments ['REPO']\n"), done.stderr


def test_cores_that_disagree_with_mpiexec_are_refused_in_one_sentence(mpi, driver):
    command, environment = driver
    done = run([mpi.mpiexec, "-n", "2", *command, "--cores", "3"], environment)
    assert done.returncode == 2
    sentence = "error: --cores 3, but mpiexec has started 2 ranks: leave it out"
    assert done.stderr.count(sentence) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_cores_that_agree_with_mpiexec_are_no_error(mpi, driver):
    command, environment = driver
    done = run([mpi.mpiexec, "-n", "2", *command, "--cores", "2"], environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ranks 2 ")


@pytest.mark.parametrize("value", ["0", "-3", "four", ""])
def test_cores_that_are_no_number_are_refused(driver, value):
    command, environment = driver
    done = run([*command, "--cores", value], environment)
    assert done.returncode == 2
    assert "--cores" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_exit_code_of_a_driver_arrives(driver):
    command, environment = driver
    assert run([*command, "--cores", "2", "--fail"], environment).returncode == 1
