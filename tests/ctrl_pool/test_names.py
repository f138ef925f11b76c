"""What users import is there, under the predecessor's names and with its parameters."""

from __future__ import annotations

import importlib
import inspect

import pytest

POOL = [
    "NODE",
    "Comm",
    "Debugger",
    "Pool",
    "abortOnError",
    "getBatchType",
    "setBatchType",
    "startPool",
]
PARALLEL = [
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
]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("mpipool.ctrl_pool", POOL),
        ("mpipool.ctrl_pool.pool", POOL),
        ("mpipool.ctrl_pool.parallel", PARALLEL),
    ],
)
def test_names_are_there(module, names):
    imported = importlib.import_module(module)
    assert not [name for name in names if not hasattr(imported, name)]
    assert set(names) <= set(imported.__all__)


def parameters(function):
    return " ".join(inspect.signature(function).parameters)


def test_parameters_are_the_predecessors():
    pool = importlib.import_module("mpipool.ctrl_pool.pool")
    batch = importlib.import_module("mpipool.ctrl_pool.parallel")
    assert parameters(pool.startPool) == "comm root killSlaves"
    assert parameters(pool.Pool) == "context"
    assert parameters(pool.Comm) == "comm recvSleep barrierSleep"
    assert parameters(pool.PoolMaster.map) == "self context func dataList args kwargs"
    assert parameters(pool.PoolMaster.reduce) == ("self context reducer func dataList args kwargs")
    assert parameters(batch.Batch) == (
        "outputDir numNodes numProcsPerNode numCores queue jobName walltime dryrun doExec mpiexec "
        "submit options verbose"
    )
    assert parameters(batch.BatchCmdLineTask.batchWallTime) == "time parsedCmd numCores"
    assert parameters(batch.BatchCmdLineTask.logOperation) == "self operation catch trace"
