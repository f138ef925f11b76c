"""What users import: a `Pool` knows its context; `startPool` begins, as each rank of mpiexec's.

Both may be used anywhere: a function that runs in the pool may make a pool, and map, itself.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from mpipool.ctrl_pool import joint
from mpipool.ctrl_pool.comm import Comm
from mpipool.ctrl_pool.diagnostics import (
    NODE,
    Debugger,
    abortOnError,
    getBatchType,
    setBatchType,
)
from mpipool.ctrl_pool.master import PoolMaster, PoolSlave
from mpipool.errors import UsageError

__all__ = [
    "NODE",
    "Comm",
    "Debugger",
    "Pool",
    "PoolMaster",
    "PoolSlave",
    "abortOnError",
    "getBatchType",
    "setBatchType",
    "startPool",
]

_OF_A_CONTEXT: Final = frozenset(
    f"{noun}{verb}"
    for noun, verbs in {
        "map": ("", "NoBalance", "ToPrevious"),
        "reduce": ("", "NoBalance", "ToPrevious"),
        "store": ("Set", "Del", "Clear", "List"),
        "cache": ("List", "Clear"),
    }.items()
    for verb in verbs
)


class Pool:
    """The `PoolMaster` in one context: its methods without their first argument, its attributes.

    Parameters
    ----------
    context : hashable
        Namespace of caches and stored values; None for functions without a cache.

    Examples
    --------
    >>> pool = Pool("tracts")
    >>> pool.storeSet(skymap=skymap)
    >>> pool.map(warp, patches, threshold=5)  # warp(cache, patch, threshold)
    """

    def __init__(self, context: Any = "default") -> None:
        self._pool, self._context = PoolMaster(), context

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._pool, name)
        return functools.partial(found, self._context) if name in _OF_A_CONTEXT else found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._pool)})

    def __reduce__(self) -> tuple[Any, ...]:
        return Pool, (self._context,)  # a task which got it maps from where it is


def startPool(comm: Any = None, root: int = 0, killSlaves: bool = True) -> Any:
    """Begin: rank 0 goes on, the other ranks serve.

    Under mpiexec each rank calls this. Without mpiexec there is one. Where it is not called, the
    first `Pool` begins.

    Parameters
    ----------
    comm : Comm or mpi4py.MPI.Intracomm, optional
        All ranks, which is also what it is if not given.
    root : int
        The rank which goes on: 0.
    killSlaves : bool
        Whether the other ranks end with the run. If not, they come back from here once rank 0 has
        called the pool's ``exit()``, or has ended.

    Returns
    -------
    PoolMaster
        On rank 0. Others come back with a `PoolSlave`, which tells their ``rank``.

    Raises
    ------
    UsageError
        If the root is another rank, or ``comm`` is not all ranks.
    """
    if root != 0:
        raise UsageError(f"startPool(root={root}): the script goes on in rank 0, so say root=0")
    own = Comm() if comm is None else comm
    rank, size = own.Get_rank(), own.Get_size()
    if killSlaves or rank == 0:
        master = PoolMaster(comm)
        if not killSlaves:
            master.lets_go()
        return master
    joint.serve()
    return PoolSlave(own, rank, size)
