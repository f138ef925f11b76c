"""The environment variables of a launcher, and of user code below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SIZE: Final = "MPIPOOL_SIZE"
"""Environment variable which tells the script how many ranks there are."""
SCRIPT_FD: Final = "MPIPOOL_FD"
"""Environment variable which tells the script at which descriptor its agent is."""
PRELOAD: Final = "MPIPOOL_PRELOAD"
"""Environment variable which passes on the modules to preload, separated by commas."""
TRAFFIC: Final = "MPIPOOL_TRAFFIC"
"""Environment variable: a folder in which each agent leaves what it sent and received, as JSON."""

_LAUNCHERS: Final = ("PMI", "PMIX", "OMPI_", "PRTE", "HYDRA", "HYDI", "MPIR_", "MPIEXEC_")
"""With these, mpi4py in user code would take itself for the rank: it aborts under MPICH and hangs
under Open MPI."""
_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def for_user_code(environment: Mapping[str, str], threads: int = 1) -> dict[str, str]:
    """Return the environment for processes below an agent: no launcher, one thread each."""
    kept = without_launcher(environment)
    kept.update(dict.fromkeys(_THREADS, str(threads)))
    return kept


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables of the MPI launcher."""
    return {name: value for name, value in environment.items() if not name.startswith(_LAUNCHERS)}


def launched(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return rank and size as the launcher promises them, or None outside of one."""
    for rank, size in (
        ("PMI_RANK", "PMI_SIZE"),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
    ):
        if rank in environment and size in environment:
            return int(environment[rank]), int(environment[size])
    return None
