"""One job of everything at once, on few ranks and on many."""

from pathlib import Path

import pytest

from mpi.jobs import run

MIXTURE = Path(__file__).with_name("mixture.py")


@pytest.mark.parametrize(("ranks", "exposures"), [(1, 3), (2, 4), (3, 4), (5, 5), (16, 8)])
def test_a_mixture_of_everything_gives_what_it_should(mpi, ranks, exposures):
    done = run(mpi.command(ranks, MIXTURE, str(exposures)), mpi.environment, timeout=150)
    assert (done.returncode, done.stdout) == (0, "as expected\n"), done.stderr[-3000:]
