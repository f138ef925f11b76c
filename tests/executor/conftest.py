import subprocess
import sys

import pytest

from pool.world import World


@pytest.fixture(scope="session")
def world():
    """Three ranks without mpiexec, shared by all tests of a process."""
    made = World(3)
    yield made
    assert made.close() == 0


@pytest.fixture
def python(tmp_path):
    """Run a text as a script, or hand it to an interactive interpreter line by line."""

    def run(text, interactive=False):
        path = tmp_path / "script.py"
        path.write_text(text)
        return subprocess.run(
            [sys.executable, "-i"] if interactive else [sys.executable, path],
            input=text if interactive else None,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

    return run
