"""The pool of the predecessor, on that of mpipool, with the context as first argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mpipool.ctrl_pool import joint
from mpipool.ctrl_pool.cache import Applied, describe
from mpipool.ctrl_pool.comm import Comm
from mpipool.ctrl_pool.diagnostics import NODE, Debugger
from mpipool.ctrl_pool.joint import Context
from mpipool.errors import UsageError

_Function: TypeAlias = Callable[..., Any]
_Reducer: TypeAlias = Callable[[Any, Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a verb which maps."""

    verb: str
    context: Any
    func: _Function
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def previous(self) -> bool:
        """Whether item i is to find the cache of item i."""
        return self.verb.endswith("ToPrevious")


class PoolMaster:
    """Maps functions over data; there is one in each process that does.

    Functions are called as ``func(cache, data, *args, **kwargs)``, or without the cache if the
    context is None. They run in processes of their own, on whatever ranks are free: what they
    change in their own process, the caller does not see.

    Parameters
    ----------
    comm : Comm or mpi4py.MPI.Intracomm, optional
        All ranks, which is also what it is if not given.
    root : int
        The rank of the script: 0.

    Attributes
    ----------
    comm, root, node, debugger
        The ranks; the script's rank; ``NODE``; the `Debugger`.

    Raises
    ------
    UsageError
        If there are other ranks than those of ``comm``.
    """

    _only: PoolMaster | None = None
    comm: Any
    root: int
    node: str
    debugger: Debugger

    def __new__(cls, comm: Any = None, root: int = 0) -> PoolMaster:
        """Return the only one; the first call begins."""
        if cls._only is None:
            joint.start()
            if comm is not None and comm.Get_size() != joint.size():
                raise UsageError(
                    f"a pool on a communicator of {comm.Get_size()} ranks, but there are "
                    f"{joint.size()}: a pool has all of them, and lends them as they are needed"
                )
            only = super().__new__(cls)
            only.comm, only.root = Comm() if comm is None else comm, 0
            only.node, only.debugger = NODE, Debugger()
            only._lengths, only._lets_go, only._gone = {}, False, False
            cls._only = only
        return cls._only

    _lengths: dict[Any, int]
    _lets_go: bool
    _gone: bool

    @property
    def rank(self) -> int:
        """The rank of this process."""
        return int(self.comm.Get_rank())

    @property
    def size(self) -> int:
        """Number of ranks."""
        return int(self.comm.Get_size())

    def isMaster(self) -> bool:
        """Return True: who has a pool leads what it maps."""
        return True

    def log(self, msg: str, *args: Any) -> None:
        """Log a line, if the `Debugger` is enabled."""
        self.debugger.log("Master", msg, *args)

    # --- mapping ---------------------------------------------------------------------------------

    def map(
        self, context: Any, func: _Function, dataList: Iterable[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Scatter data over the ranks, and gather what ``func`` makes of them.

        Parameters
        ----------
        context : hashable
            Namespace of caches and stored values; None for functions without a cache.
        func : callable
            Anything that can be sent: functions of ``__main__``, lambdas and bound methods, too.
        dataList : iterable
            What can be pickled.
        *args, **kwargs
            Passed on to each call; sent once per rank.

        Returns
        -------
        list
            The results, in the order of the data.

        Raises
        ------
        Exception
            What the first failed call raised, once the others are done.
        """
        return self._map(_Call("map", context, func, args, kwargs), dataList)

    def mapNoBalance(
        self, context: Any, func: _Function, dataList: Iterable[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Do what `map` does: balance costs nothing, and a rank that waits is of no use."""
        return self._map(_Call("mapNoBalance", context, func, args, kwargs), dataList)

    def mapToPrevious(
        self, context: Any, func: _Function, dataList: Iterable[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Call ``func`` for each item with the cache which the last map of the context left it.

        Without such a map the caches are empty.

        Raises
        ------
        UsageError
            If the context is None, or the last map in it was over another number of items.
        Exception
            As from `map`.
        """
        return self._map(_Call("mapToPrevious", context, func, args, kwargs), dataList)

    def reduce(
        self,
        context: Any,
        reducer: _Reducer,
        func: _Function,
        dataList: Iterable[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Map, and fold the results two by two with ``reducer(old, new)`` as they come in.

        Parameters
        ----------
        reducer : callable, optional
            Runs where the pool is called, in the order of the data. It is not asked to fold
            anything into None: ``new`` takes its place. None gathers a list, as `map` does.
        context, func, dataList, *args, **kwargs
            As for `map`.

        Returns
        -------
        object
            The last value; None if there are no data.

        Raises
        ------
        Exception
            When its turn comes, what the first failed call raised; calls behind it are dropped.
        """
        return self._reduce(_Call("reduce", context, func, args, kwargs), reducer, dataList)

    def reduceNoBalance(
        self,
        context: Any,
        reducer: _Reducer,
        func: _Function,
        dataList: Iterable[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Do what `reduce` does; see `mapNoBalance`."""
        call = _Call("reduceNoBalance", context, func, args, kwargs)
        return self._reduce(call, reducer, dataList)

    def reduceToPrevious(
        self,
        context: Any,
        reducer: _Reducer,
        func: _Function,
        dataList: Iterable[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Reduce as `reduce` does, with the caches that `mapToPrevious` finds."""
        call = _Call("reduceToPrevious", context, func, args, kwargs)
        return self._reduce(call, reducer, dataList)

    def _map(self, call: _Call, dataList: Iterable[Any]) -> list[Any]:
        applied, data = self._prepare(call, dataList)
        results = Context(call.context).map(applied, data, previous=call.previous)
        self.log("done", call.verb)
        return results

    def _reduce(self, call: _Call, reducer: _Reducer, dataList: Iterable[Any]) -> Any:
        if reducer is None:
            return self._map(call, dataList)
        applied, data = self._prepare(call, dataList)
        folded = None
        for result in Context(call.context).imap(applied, data, call.previous):
            folded = result if folded is None else reducer(folded, result)
        self.log("done", call.verb)
        return folded

    def _prepare(self, call: _Call, dataList: Iterable[Any]) -> tuple[Applied, list[Any]]:
        if self._gone:
            raise UsageError(f"{call.verb} after exit(): the other ranks have been let go")
        data, verb, context = list(dataList), call.verb, call.context
        applied = Applied(call.func, context, call.args, call.kwargs)
        self.log(f"{verb} {applied.__name__} over {len(data)} items, context", context)
        if call.previous and context is None:
            raise UsageError(f"{verb} needs the context of the map before it; this pool has none")
        before = self._lengths.get(context)
        if call.previous and before not in {None, len(data)}:
            raise UsageError(
                f"{verb} over {len(data)} items, but the map before it in context {context!r} was "
                f"over {before}: the item with the same index is given the cache"
            )
        self._lengths[context] = len(data)
        return applied, data

    # --- what is stored, and caches --------------------------------------------------------------

    def storeSet(self, context: Any, **kwargs: Any) -> None:
        """Store values by name; the functions of the context find them in their cache."""
        self.log("storing in", context, *kwargs)
        Context(context).store(kwargs)

    def storeDel(self, context: Any, *nameList: str) -> None:
        """Forget stored values.

        Raises
        ------
        KeyError
            If there is none of a name; then none is forgotten.
        """
        self.log("deleting from", context, *nameList)
        there = Context(context)
        known = there.names()
        for name in nameList:
            if name not in known:
                raise KeyError(f"nothing is stored as {name!r} in context {context!r}")
        there.unstore(nameList)

    def storeClear(self, context: Any) -> None:
        """Forget all that is stored in a context."""
        self.log("clearing store of", context)
        there = Context(context)
        there.unstore(there.names())

    def storeList(self, context: Any) -> None:
        """Write to standard error what is stored in a context."""
        print(f"Store on {NODE} ({context}): {Context(context).stored()}", file=sys.stderr)

    def cacheList(self, context: Any) -> None:
        """Write to standard error what the caches of the last map hold, and in which processes."""
        where: dict[str, list[str]] = {}
        length = self._lengths.get(context, 0) if context is not None else 0
        applied = Applied(describe, context, (), {})
        found = Context(context).map(applied, range(length), previous=True) if length else []
        for index, (node, text) in enumerate(found):
            where.setdefault(node, []).append(f"{index}: {text}")
        for node, caches in (where or {str(NODE): []}).items():
            print(f"Cache on {node} ({context}): {{{', '.join(caches)}}}", file=sys.stderr)

    def cacheClear(self, context: Any) -> None:
        """Forget the caches of a context."""
        self.log("clearing caches of", context)
        if self._lengths.pop(context, None) is not None:
            Context(context).clear_caches()

    # --- the end ---------------------------------------------------------------------------------

    def exit(self) -> None:
        """Let the other ranks go on, if ``startPool`` was told not to end them.

        Otherwise they end with the script: nothing has to be said, and the pool stays usable.
        """
        self.log("exit")
        if self._lets_go and not self._gone:
            self._gone = True
            joint.end()

    def lets_go(self) -> None:
        """Note that the other ranks are to go on after `exit`."""
        self._lets_go = True


class PoolSlave:
    """What a rank other than 0 gets from `startPool` when the pool is gone: who it was."""

    def __init__(self, comm: Any, rank: int, size: int) -> None:
        self.comm, self.rank, self.size = comm, rank, size
        self.root, self.node, self.debugger = 0, NODE, Debugger()

    def isMaster(self) -> bool:
        """Return False."""
        return False

    def log(self, msg: str, *args: Any) -> None:
        """Log a line, if the `Debugger` is enabled."""
        self.debugger.log(f"Slave {self.rank}", msg, *args)
