"""The names of ``lsst.ctrl.pool``, for tasks which were written for it.

Change ``lsst.ctrl.pool`` into ``mpipool.ctrl_pool`` in the imports. Names and meanings are the
predecessor's, hence the camel case; what differs stands in ``docs/ctrl_pool.md``.
"""

from __future__ import annotations

from mpipool.ctrl_pool.pool import (
    NODE,
    Comm,
    Debugger,
    Pool,
    abortOnError,
    getBatchType,
    setBatchType,
    startPool,
)

__all__ = [
    "NODE",
    "Comm",
    "Debugger",
    "Pool",
    "abortOnError",
    "getBatchType",
    "setBatchType",
    "startPool",
]
