import pytest

from pool.conftest import new_world, python, world  # noqa: F401 - the same worlds


@pytest.fixture
def folder(tmp_path):
    """A folder in which tasks leave traces."""
    return str(tmp_path)
