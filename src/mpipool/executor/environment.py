"""The environment variables of a launcher, and of user code below it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

SIZE: Final = "MPIPOOL_SIZE"
"""Environment variable which tells the script how many ranks there are."""
RANK: Final = "MPIPOOL_RANK"
"""Environment variable which tells executors of which rank they are."""
SCRIPT_FD: Final = "MPIPOOL_FD"
"""Environment variable which tells the script at which descriptor its agent is."""
PRELOAD: Final = "MPIPOOL_PRELOAD"
"""Environment variable which passes on the modules to preload, separated by commas."""
SHARED_BY: Final = "MPIPOOL_GROUP"
"""Environment variable: the Unix group which shares the run's checkpoint."""
RESOURCES: Final = "MPIPOOL_RESOURCES"
"""Environment variable: the run's named tokens, as ``io=32,licence=4``."""
TRAFFIC: Final = "MPIPOOL_TRAFFIC"
"""Environment variable: a folder in which each agent leaves what it sent and received, as JSON."""
END: Final = "MPIPOOL_END"
"""Environment variable: when the job ends, s since the epoch."""
GRACE: Final = "MPIPOOL_GRACE"
"""Environment variable: seconds between a warning and the end of the run."""
SILENCE: Final = "MPIPOOL_SILENCE"
"""Environment variable: seconds after which a rank that says nothing counts as dead; 0: never."""
MAX_FAILURES: Final = "MPIPOOL_MAX_FAILURES"
"""Environment variable: how many tasks may fail before the run drains."""

CPUS: Final = "MPIPOOL_CPUS"
"""Environment variable which tells executors which CPUs are theirs, separated by commas."""
NODE_CPUS: Final = "MPIPOOL_NODE_CPUS"
"""The same for all CPUs of the ranks of the node."""
PIN: Final = "MPIPOOL_PIN"
"""Environment variable: 0 leaves the CPU affinity of executors as the launcher has set it."""
CGROUP: Final = "MPIPOOL_CGROUP"
"""Environment variable: the folder in which executors make control groups, which is looked for
where nobody gives it; 0 for none."""

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


_PLACES: Final = (
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # Hydra
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"),  # Cray
    ("PALS_LOCAL_RANKID", "PALS_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
)


def for_user_code(
    environment: Mapping[str, str], own: Collection[int] = (), node: Collection[int] = ()
) -> dict[str, str]:
    """Return the environment for executors: no launcher, one thread each, and on which CPUs."""
    kept = without_launcher(environment)
    kept.update(for_threads(1))
    for name, cpus in ((CPUS, own), (NODE_CPUS, node)):
        kept[name] = ",".join(map(str, sorted(cpus)))
    return kept


def for_threads(threads: int) -> dict[str, str]:
    """Return the variables which tell libraries how many threads to use."""
    return dict.fromkeys(_THREADS, str(threads))


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


def local_place(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return which of the ranks of this node this one is, and how many they are.

    None where the launcher does not say, or outside of one.
    """
    for index, size in _PLACES:
        if index in environment and size in environment:
            return int(environment[index]), int(environment[size])
    if {"PMIX_RANK", "SLURM_LOCALID", "SLURM_NODEID"} <= environment.keys():  # srun itself
        counts = _counts(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
        node = int(environment["SLURM_NODEID"])
        if node < len(counts):
            return int(environment["SLURM_LOCALID"]), counts[node]
    return None


def _counts(listed: str) -> list[int]:
    """Read how many tasks each node has, as Slurm writes it: ``16(x2),8``."""
    found = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", listed):
        found += [int(count)] * int(times or 1)
    return found


def tokens(environment: Mapping[str, str]) -> dict[str, int]:
    """Return the run's named tokens."""
    given = filter(None, environment.get(RESOURCES, "").split(","))
    return {name: int(count) for name, _, count in (one.partition("=") for one in given)}
