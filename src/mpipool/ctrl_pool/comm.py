"""The ``Comm`` of the predecessor: who am I, of how many; and messages that sleep while waiting.

Most programs only look at ``rank`` and ``size``, which are known without MPI. MPI is initialised
by the first thing which needs it: a pool which finds it in use is slower (``docs/pool.md``).
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from mpipool.ctrl_pool import joint
from mpipool.errors import UsageError
from mpipool.executor.environment import launched


class Comm:
    """All ranks, or a duplicate of a communicator.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        What to duplicate; the world, if it is not given.
    recvSleep, barrierSleep : float
        Seconds to sleep between looks for a message.

    Raises
    ------
    UsageError
        From everything but ``rank`` and ``size``, where there is no communicator: in tasks, and
        in a script once the other ranks serve its pool.
    """

    def __init__(self, comm: Any = None, recvSleep: float = 0.1, barrierSleep: float = 0.1) -> None:
        self._recvSleep, self._barrierSleep = recvSleep, barrierSleep
        self._intracomm = None if comm is None else comm.Dup()

    def __reduce__(self) -> tuple[Any, ...]:
        # A communicator does not travel: where this arrives, it is that process's.
        return Comm, (None, self._recvSleep, self._barrierSleep)

    @property
    def rank(self) -> int:
        """Number of this process, or of the rank that the running task is on."""
        if self._intracomm is not None:
            return int(self._intracomm.Get_rank())
        return joint.rank() if joint.started() else (launched(os.environ) or (0, 1))[0]

    @property
    def size(self) -> int:
        """Number of ranks."""
        if self._intracomm is not None:
            return int(self._intracomm.Get_size())
        return joint.size() if joint.started() else (launched(os.environ) or (0, 1))[1]

    def Get_rank(self) -> int:
        """Return ``rank``."""
        return self.rank

    def Get_size(self) -> int:
        """Return ``size``."""
        return self.size

    def send(self, obj: Any = None, *args: Any, **kwargs: Any) -> None:
        """Send an object, as mpi4py's does."""
        self._communicator().send(obj, *args, **kwargs)

    def recv(self, obj: Any = None, source: int = 0, tag: int = 0, status: Any = None) -> Any:
        """Receive an object; sleep while there is none. ``obj`` is a buffer, or None."""
        comm = self._communicator()
        while (message := comm.improbe(source=source, tag=tag, status=status)) is None:
            time.sleep(self._recvSleep)
        return message.recv(status=status)

    def Barrier(self, tag: int = 0) -> None:
        """Wait for all ranks, asleep."""
        request = self._communicator().Ibarrier()
        while not request.Test():
            time.sleep(self._barrierSleep)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the root's value on all ranks."""
        return self._communicator().bcast(value, root=root)

    def scatter(self, dataList: Any, root: int = 0, tag: int = 0) -> Any:
        """Return to each rank its item of the root's list, each of which is pickled by itself."""
        if self.rank != root:
            return self.recv(source=root, tag=tag)
        for rank, data in enumerate(dataList):
            if rank != root:
                self.send(data, rank, tag=tag)
        return dataList[root]

    def Free(self) -> None:
        """Free the duplicate."""
        if self._intracomm is not None:
            self._intracomm.Free()
            self._intracomm = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._communicator(), name)

    def _communicator(self) -> Any:
        if self._intracomm is None:
            if joint.started():
                raise UsageError(
                    "Comm has no messages here: the ranks serve the pool, and tasks run in "
                    "processes without MPI; return what is to be sent, or store it, or ask "
                    "mpipool.Pool().map for ranks=, which gives tasks a communicator"
                )
            # As if the program had imported it: it does, through us, want MPI for itself.
            self._intracomm = importlib.import_module("mpi4py.MPI").COMM_WORLD.Dup()
        return self._intracomm
