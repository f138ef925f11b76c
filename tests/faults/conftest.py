import pytest

from pool.conftest import new_world  # noqa: F401 - a fixture
from pool.world import World


@pytest.fixture(scope="session")
def world():
    """Two ranks without mpiexec, shared by all tests of a process: each finds it whole."""
    made = World(2)
    yield made
    assert made.close() == 0
