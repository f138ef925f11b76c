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
        Blocked,
        CheckpointError,
        CheckpointLocked,
        CheckpointMismatch,
        Drained,
        ExecutorDied,
        LockLost,
        MemoryExceeded,
        MpipoolError,
        RemoteTraceback,
        TaskError,
        UnpicklableError,
        UsageError,
        WorldLost,
    )
    from mpipool.executor.handle import Handle
    from mpipool.executor.running import output, record
    from mpipool.futures.future import BrokenPool, Future
    from mpipool.futures.pool_executor import PoolExecutor
    from mpipool.futures.registration import register_joblib
    from mpipool.launch import enter
    from mpipool.mapping import MapSummary
    from mpipool.pool import Pool
    from mpipool.recorded import RecordedRun

__all__ = [
    "Blocked",
    "BrokenPool",
    "CheckpointError",
    "CheckpointLocked",
    "CheckpointMismatch",
    "Drained",
    "ExecutorDied",
    "Future",
    "Handle",
    "LockLost",
    "MapSummary",
    "MemoryExceeded",
    "MpipoolError",
    "Pool",
    "PoolExecutor",
    "RecordedRun",
    "RemoteTraceback",
    "TaskError",
    "UnpicklableError",
    "UsageError",
    "WorldLost",
    "enter",
    "output",
    "read_records",
    "record",
    "register_joblib",
]

_HOMES = {
    "BrokenPool": "mpipool.futures.future",
    "Future": "mpipool.futures.future",
    "Handle": "mpipool.executor.handle",
    "MapSummary": "mpipool.mapping",
    "Pool": "mpipool.pool",
    "PoolExecutor": "mpipool.futures.pool_executor",
    "RecordedRun": "mpipool.recorded",
    "enter": "mpipool.launch",
    "output": "mpipool.executor.running",
    "read_records": "mpipool.checkpoint.reading",
    "record": "mpipool.executor.running",
    "register_joblib": "mpipool.futures.registration",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mpipool' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "mpipool.errors")), name)
