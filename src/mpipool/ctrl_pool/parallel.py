"""What users import of the batch names."""

from __future__ import annotations

from mpipool.ctrl_pool.arguments import BatchArgumentParser
from mpipool.ctrl_pool.batch import (
    BATCH_TYPES,
    Batch,
    PbsBatch,
    SlurmBatch,
    SmpBatch,
    exportEnv,
)
from mpipool.ctrl_pool.log import printProcessStats, processStats
from mpipool.ctrl_pool.runner import BatchTaskRunner
from mpipool.ctrl_pool.tasks import (
    BatchCmdLineTask,
    BatchParallelTask,
    BatchPoolTask,
)

__all__ = [
    "BATCH_TYPES",
    "Batch",
    "BatchArgumentParser",
    "BatchCmdLineTask",
    "BatchParallelTask",
    "BatchPoolTask",
    "BatchTaskRunner",
    "PbsBatch",
    "SlurmBatch",
    "SmpBatch",
    "exportEnv",
    "printProcessStats",
    "processStats",
]
