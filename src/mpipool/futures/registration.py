"""Makes the pool known to joblib, which need not be installed for anything else."""

from __future__ import annotations


def register_joblib(name: str = "mpipool") -> None:
    """Let joblib run on the pool: ``with joblib.parallel_config(backend="mpipool"): ...``.

    The world begins when joblib first uses the backend, unless it is there.

    Parameters
    ----------
    name : str
        Of the backend.

    Raises
    ------
    ImportError
        If joblib is not installed.
    """
    from joblib import register_parallel_backend

    from mpipool.futures.joblib_backend import PoolBackend

    register_parallel_backend(name, PoolBackend)
