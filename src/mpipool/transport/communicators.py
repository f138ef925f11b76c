"""The communicators which user code gets, and those which it makes of them.

The first reduction of Python objects on a communicator duplicates it inside mpi4py, which holds
the GIL in `MPI_Comm_dup` until all members have come. A rank which waits there serves nobody; if
another member comes only after a scatter to whose tasks that rank belongs, both wait for ever. So
members meet in a barrier before, which lets other threads go on.

Some of mpi4py's methods make a communicator of the class which they are called on, others a plain
one. Here all are of these classes, and, where ranks may die, known to `Gangs`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final

from mpipool.transport.gangs import Gangs

_KINDS: Final = ("Intracomm", "Cartcomm", "Graphcomm", "Distgraphcomm", "Intercomm")
_REDUCTIONS: Final = ("reduce", "allreduce", "scan", "exscan")
_MAKERS: Final = (
    "Clone", "Create", "Create_cart", "Create_dist_graph", "Create_dist_graph_adjacent",
    "Create_graph", "Create_group", "Create_intercomm", "Dup", "Dup_with_info", "Idup",
    "Idup_with_info", "Merge", "Shrink", "Split", "Split_type", "Sub",
)  # fmt: skip


class Communicators:
    """Gives communicators their classes.

    Parameters
    ----------
    mpi : module
        mpi4py.MPI.
    gangs : Gangs
        Is told which there are.
    """

    def __init__(self, mpi: Any, gangs: Gangs) -> None:
        self._comm, self._gangs = mpi.Comm, gangs
        plain = [getattr(mpi, kind) for kind in _KINDS]
        self._classes = {each: self._class_for(each) for each in plain}

    def adopt(self, made: Any) -> Any:
        """Return what a method has made as it is to be; it may be no communicator, or several."""
        if isinstance(made, tuple):  # Idup's, with a request
            return tuple(map(self.adopt, made))
        if not isinstance(made, self._comm):
            return made
        if type(made) in self._classes:
            made = self._classes[type(made)](made)
        if made:
            self._gangs.add(made)
        return made

    def _class_for(self, plain: type) -> type:
        methods: dict[str, Any] = {"met": False, "Free": self._freeing(plain)}
        for name in filter(partial(hasattr, plain), _MAKERS):
            methods[name] = self._making(getattr(plain, name))
        for name in filter(partial(hasattr, plain), _REDUCTIONS):
            methods[name] = _meeting(getattr(plain, name))
        return type(plain.__name__, (plain,), methods)

    def _making(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def make(comm: Any, *args: Any, **kwargs: Any) -> Any:
            return self.adopt(method(comm, *args, **kwargs))

        return make

    def _freeing(self, plain: Any) -> Callable[[Any], None]:
        @wraps(plain.Free)
        def free(comm: Any) -> None:
            self._gangs.remove(comm)
            plain.Free(comm)

        return free


def _meeting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def reduce(comm: Any, *args: Any, **kwargs: Any) -> Any:
        if not comm.met:
            comm.Barrier()
            comm.met = True
        return method(comm, *args, **kwargs)

    return reduce
