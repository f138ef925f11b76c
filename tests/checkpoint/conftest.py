import pytest


@pytest.fixture
def path(tmp_path):
    """Where the run database of a test is."""
    return str(tmp_path / "run.db")
