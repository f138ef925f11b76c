import pytest

from pool.world import World


@pytest.fixture(scope="session")
def world():
    """Two ranks without mpiexec, shared by all tests of a process: each finds it whole."""
    made = World(2)
    yield made
    assert made.close() == 0


@pytest.fixture
def new_world(tmp_path):
    """Make worlds of one's own, which run in the test's folder; those left are killed."""
    made = []

    def make(workers=1):
        made.append(World(workers, cwd=tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.kill()
