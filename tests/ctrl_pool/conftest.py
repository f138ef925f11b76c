import os
import subprocess
import sys
from functools import partial

import pytest

from mpi.conftest import mpi, script  # noqa: F401 - fixtures
from mpipool.ctrl_pool import batch, diagnostics
from pool.world import World


@pytest.fixture(scope="session")
def world():
    """Three ranks, shared by all tests of a process."""
    made = World(3)
    yield made
    assert made.close() == 0


@pytest.fixture
def python(tmp_path):
    """Run a text as a script, without mpiexec."""

    def run(text, *arguments, **environment):
        path = tmp_path / "script.py"
        path.write_text(text)
        return subprocess.run(
            [sys.executable, path, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=os.environ | environment,
        )

    return run


@pytest.fixture
def plain(monkeypatch):
    """Let scripts say the same everywhere."""
    environment = {"LANG": "C.UTF-8", "QUOTED": "it's $HOME"}
    monkeypatch.setattr(batch, "exportEnv", partial(batch.exportEnv, environment))
    monkeypatch.setattr(batch.os, "getcwd", lambda: "/data/a run")
    monkeypatch.setattr(batch, "find_mpiexec", lambda: "/opt/mpi/bin/mpiexec")
    monkeypatch.setattr(batch.sys, "executable", "/opt/bin/python")


@pytest.fixture(autouse=True)
def _as_at_first(monkeypatch, tmp_path):
    """Undo what a test has told the process; scripts and logs are left in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(diagnostics, "_batch_type", ["unknown"])
    monkeypatch.setattr(diagnostics.Debugger, "_only", None)
