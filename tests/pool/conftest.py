import subprocess
import sys

import pytest

from pool.world import World


@pytest.fixture(scope="session")
def world():
    """Three ranks, shared by all tests of a process."""
    made = World(3)
    yield made
    assert made.close() == 0


@pytest.fixture
def new_world(tmp_path):
    """Make worlds of one's own, which run in the test's folder; those left are killed."""
    made = []

    def make(workers=2):
        made.append(World(workers, cwd=tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def python(tmp_path):
    """Run a text as a script, without mpiexec."""

    def run(text, *arguments):
        path = tmp_path / "script.py"
        path.write_text(text)
        return subprocess.run(
            [sys.executable, path, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

    return run
