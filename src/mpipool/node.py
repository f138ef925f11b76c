"""What the node of this rank has to share out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mpipool import cgroups

MIB: Final = 1 << 20
PER_RANK: Final = 64 * MIB
"""What an agent and its guard need."""


class Node(NamedTuple):
    """What is known of a node."""

    memory: int = 0
    """MiB which may be promised to tasks; 0 if that is not known."""
    ranks: int = 1
    """How many of the run's ranks are on it."""


def memory_mib(
    ranks: int = 1,
    environment: Mapping[str, str] = os.environ,
    proc: Path = cgroups.PROC,
    root: Path = cgroups.ROOT,
) -> int:
    """Return how much memory may be promised to tasks on this node, MiB; 0 if that is not known.

    That is what the machine has, or the limit of a control group around this process, or what the
    batch system says that the job has, whichever is least, less what the ranks need themselves.

    Parameters
    ----------
    ranks : int
        How many of the run's ranks are on this node.
    environment : mapping
        Where the batch system says something.
    """
    limits = [group.limit for group in cgroups.around(proc, root)]
    known = [size for size in (_installed(proc), _allotted(environment), *limits) if size]
    if not known:
        return 0
    return max(min(known) - ranks * PER_RANK, MIB) // MIB


def _installed(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal")), 0)


def _allotted(environment: Mapping[str, str]) -> int:
    """Return what Slurm has given to the job here; other batch systems limit a control group."""
    per_node = environment.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit():
        return int(per_node) * MIB
    per_cpu = environment.get("SLURM_MEM_PER_CPU", "")
    cpus = environment.get("SLURM_CPUS_ON_NODE", "")
    if per_cpu.isdigit() and cpus.isdigit():
        return int(per_cpu) * int(cpus) * MIB
    return 0
