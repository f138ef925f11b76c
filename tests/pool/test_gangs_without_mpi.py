"""What becomes of tasks for several ranks where there is no mpiexec."""

import pytest

SCRIPT = """
from mpipool import Pool, UsageError

def size(item):
    comm = Pool().comm
    return [comm.size, comm.allreduce(item)]

if __name__ == "__main__":
    pool = Pool(workers=3)
    try:
        print(pool.map(size, range(2), OPTIONS))
    except UsageError as error:
        print(f"refused: {error}")
"""


@pytest.mark.parametrize("options", ["ranks=1", "ranks=(1, 3)", "isolation='none'"])
def test_what_may_run_on_one_rank_has_a_communicator_of_one(python, options):
    done = python(SCRIPT.replace("OPTIONS", options))
    assert done.stdout == "[[1, 0], [1, 1]]\n", done.stderr


def test_what_needs_several_is_told_to_use_mpiexec(python):
    done = python(SCRIPT.replace("OPTIONS", "ranks=2"))
    assert done.stdout.startswith("refused: tasks with ranks= run on several ranks of MPI at once")
    assert "start the run with mpiexec" in done.stdout


def test_what_needs_more_ranks_than_there_are_is_refused(python):
    done = python(SCRIPT.replace("OPTIONS", "ranks=4"))
    assert done.stdout.startswith("refused: "), done.stderr


def test_an_ordinary_task_has_no_communicator(python):
    done = python(SCRIPT.replace("size, range(2), OPTIONS", "lambda _: Pool().comm, range(1)"))
    assert done.stdout == "[None]\n", done.stderr
