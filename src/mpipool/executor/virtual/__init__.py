"""Processes on a virtual clock: they run plans instead of functions.

A *plan* says how long a task takes, what it scatters, and how often it fails. Items name plans. The
messages are those of real executors (`runtime`), callers (`caller`, `stream`) and members of gangs
(`seated`), in the same order, so that agents see no difference.
"""

from mpipool.executor.virtual.observer import Observer
from mpipool.executor.virtual.plan import LAZY, MAP, SUBMIT, Plan, ScatterPlan, Settled, unpack
from mpipool.executor.virtual.processes import VirtualExecutor, VirtualExecutors
from mpipool.executor.virtual.script import VirtualScript
from mpipool.executor.virtual.seat import VirtualHere

__all__ = [
    "LAZY",
    "MAP",
    "SUBMIT",
    "Observer",
    "Plan",
    "ScatterPlan",
    "Settled",
    "VirtualExecutor",
    "VirtualExecutors",
    "VirtualHere",
    "VirtualScript",
    "unpack",
]
