"""Elastic groups of MPI ranks for survey processing.

The public names are loaded when they are first used: an agent, of which there may be a thousand on
a machine, imports this package and needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpipool.checkpoint.reading import read_records
    from mpipool.errors import (
        CheckpointError,
        CheckpointLocked,
        CheckpointMismatch,
        ExecutorDied,
        LockLost,
        MpipoolError,
        RemoteTraceback,
        TaskError,
        UnpicklableError,
        UsageError,
        WorldLost,
    )
    from mpipool.executor.running import output, record
    from mpipool.launch import enter
    from mpipool.pool import MapSummary, Pool

__all__ = [
    "CheckpointError",
    "CheckpointLocked",
    "CheckpointMismatch",
    "ExecutorDied",
    "LockLost",
    "MapSummary",
    "MpipoolError",
    "Pool",
    "RemoteTraceback",
    "TaskError",
    "UnpicklableError",
    "UsageError",
    "WorldLost",
    "enter",
    "output",
    "read_records",
    "record",
]

_HOMES = {
    "MapSummary": "mpipool.pool",
    "Pool": "mpipool.pool",
    "enter": "mpipool.launch",
    "output": "mpipool.executor.running",
    "read_records": "mpipool.checkpoint.reading",
    "record": "mpipool.executor.running",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mpipool' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "mpipool.errors")), name)
