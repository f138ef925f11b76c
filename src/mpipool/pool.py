"""The pool: what users call."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from types import TracebackType
from typing import Any, Self, Unpack

from mpipool.attaching import WithCheckpoint
from mpipool.contexts import WithContext
from mpipool.draining import Limits, limits
from mpipool.errors import Drained, UsageError
from mpipool.executor.handle import Handle
from mpipool.futures.with_futures import WithFutures
from mpipool.launch import connect
from mpipool.lazily import Settled, settle
from mpipool.mapping import MapSummary, make_call, run, wait_for
from mpipool.options import LAZY, Options, check


class Pool(WithContext, WithFutures, WithCheckpoint):
    """The ranks of whoever asks: all of them in the script, the group inside a task.

    In a script the first pool starts the world. Code written for one level runs at every other:
    inside a task, under ``mpiexec -n 1``, and without mpiexec.

    Parameters
    ----------
    context : str, optional
        Name of a context: what it stores, and the caches which its tasks leave, are apart from
        those of other contexts. A number is taken for ``workers``.
    workers : int, optional
        How many ranks to start when there is no mpiexec; 1 if it is not given. They are local
        processes.
    checkpoint : path-like, optional
        The run's database. Calls with ``stage=`` that it knows as done are not run again, and all
        attempts are recorded in it. Only the script can attach one.
    config : mapping, optional
        The configuration of the run, JSON values: a database that was made with another one is
        refused.
    take_over : bool
        Take the database from a run on another host of which nobody can say whether it lives.
    clobber_config : bool
        Go on with a database of another configuration, which then has this one: what is done
        stays done, and it is for the keys of the calls to say what depends on what has changed.
    group : str, optional
        A Unix group which shares the run: its members may go on with it, and their results are
        trusted. Else only this user's are. Without it, what ``mpipool run --group`` says.
    resources : mapping, optional
        Named tokens of the run, for ``resources=`` of its calls: ``{"io": 32}`` lets at most 32
        tasks at once hold an ``io``. Only the script can give some.
    walltime : float or str, optional
        When the job ends, counted from now: seconds, or like ``"1:30:00"``. The run drains before
        it (`Drained`). Slurm says it itself.
    grace : float or str, optional
        The time between a warning (a signal, or before the end of the walltime) and the end of the
        run.
    max_failures : int, optional
        How many tasks may fail before the run drains. If nothing is said it drains when the first
        20 tasks of a stage have all failed alike.

    Raises
    ------
    CheckpointLocked
        If another live run has the database.
    CheckpointMismatch
        If it was made with another configuration.
    CheckpointError
        If it can't be used for another reason.
    UsageError
        If the arguments make no sense here.

    Examples
    --------
    >>> with Pool() as pool:
    ...     squares = pool.map(lambda x: x * x, range(100))
    """

    def __init__(  # noqa: PLR0913 - keyword-only, and each is needed once
        self,
        context: str | int | None = None,
        *,
        workers: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        take_over: bool = False,
        clobber_config: bool = False,
        group: str = "",
        resources: Mapping[str, int] | None = None,
        walltime: float | str | None = None,
        grace: float | str | None = None,
        max_failures: int | None = None,
    ) -> None:
        if isinstance(context, int):
            context, workers = None, context
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(f"Pool(workers={workers!r}): that is a number from 1 up")
        super().__init__(connect(workers), context or "")
        self.last_map = MapSummary()
        """What the last map did."""
        said = limits(walltime, grace, max_failures, time.time())
        if self._caller.in_task and (checkpoint, resources, said) != (None, None, Limits()):
            raise UsageError("only the script can give a run its checkpoint, resources and limits")
        if said != Limits():
            self._caller.ask("limit", **asdict(said))
        self._attach(checkpoint, config, take_over, clobber_config, group)
        if resources is not None:
            check("Pool", {"resources": resources})
            self._caller.ask("provide", tokens=dict(resources))

    @property
    def size(self) -> int:
        """Number of ranks in the world."""
        return self._caller.size

    @property
    def comm(self) -> Any:
        """The communicator of the gang whose task asks: an ``mpi4py.MPI.Intracomm``.

        None in the script, and in tasks without ``ranks=``. It has the members alone, the first
        of them (whose result counts) as rank 0, and is freed when the task has ended.
        """
        if self._caller.comm is None and self._caller.alone:  # without mpiexec
            return import_module("mpi4py.MPI").COMM_SELF
        return self._caller.comm

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all records of this pool are on disk."""
        if kind is None or issubclass(kind, Drained):
            self.shutdown()

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        **options: Unpack[Options],
    ) -> list[Any]:
        """Call ``function(item)`` for each item, on whatever ranks there are.

        Parameters
        ----------
        function : callable
            Lambdas, closures and functions of ``__main__`` are allowed.
        items : iterable
            What can be pickled. Of a `Handle`, the function gets the value.
        stage : str
            Name of the kind of task: in records, in errors, and part of the key.
        key : callable, optional
            Makes the data ID (JSON values) of an item. With it, ``stage=`` and a checkpoint, a
            task that is done in the run's database is not run again.
        version : str
            The author's version of the function, part of the key. Code is never looked at.
        config : object
            The configuration of this stage, JSON values, part of the key.
        retries : int
            How often a task that failed is tried again.
        timeout : float
            Seconds after which a task is ended, with its process, and counts as failed.
        errors : {"raise", "return"}
            What to do at the end if tasks failed: raise the first one's exception, or put
            exceptions in the places of results. The others are finished in both cases.
        progress : callable, optional
            Called with the numbers of tasks done, failed, and in all, as results come in.
        after : iterable of Future
            What must be done before.
        cost : float, sequence of float, or callable
            Expected seconds of each item, of which the costliest are begun first.
        memory : int or str
            What a task needs of its node's memory, in bytes or like ``"12 GB"``: it runs where, and
            when, that much was not promised to others. A task which uses more is ended.
        memory_growth : float
            A task that failed for want of memory is tried again with so many times as much (2), be
            ``retries=`` what it may; 1 for never.
        memory_cap : int or str
            No task is given more than this; by default, than what a node has.
        threads : int
            Cores of one node which a task needs: as many ranks of it are kept free for it, and
            OpenMP and BLAS use so many threads.
        resources : mapping
            Named tokens which a task holds, like ``{"io": 1}``; see `Pool`.
        ranks : int or (int, int)
            Runs each task as a gang of so many ranks, with ``Pool().comm`` between them; of a tuple
            the pool chooses the size. The result is that of the first rank.
        isolation : {"process", "none"}
            Where a task runs: below the rank in a process of its own, or in that of the rank, which
            has MPI. What it does there may take the run along.
        context : str
            The context of this call, instead of the pool's.
        previous : bool
            Send each item where the last call in this context has left its cache (`cache`).
        keep : bool
            Leave the results where they are made, and return a `Handle` for each.

        Returns
        -------
        list
            The results, in the order of the items.

        Raises
        ------
        Exception
            What the first failed task raised, with the remote traceback as its cause.
        ExecutorDied
            If its process died.
        UnpicklableError
            If the function or an item can't be sent.
        UsageError
            If two items have the same data ID, or a data ID is not made of JSON values; if an
            option is unknown or makes no sense beside another; if tasks need what no rank has.
        """
        wanted = check("map", options)
        self.last_map = MapSummary()
        call = make_call(function, wanted, self._context)
        return run(self._caller, call, items, wanted, self.last_map)

    def scatterGather(  # noqa: N802 - the name which its users know
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *args: Any,
        previous: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Scatter items over ranks, gather ``function(item, *args, **kwargs)`` in their order.

        The same as `map`, with further arguments, which are sent once per rank. Inside a task the
        rank of the task leads the scatter, works on it itself, and is lent other ranks as they
        become free.

        Parameters
        ----------
        function, items, previous
            As in `map`.
        *args, **kwargs
            For the function.

        Raises
        ------
        Exception
            As `map` does with ``errors="raise"``.
        """
        wanted = check("scatterGather", {"previous": previous})
        self.last_map = MapSummary()
        call = make_call(function, wanted, self._context, args, kwargs)
        return run(self._caller, call, items, wanted, self.last_map)

    def scatter(
        self, function: Callable[..., Any], items: Iterable[Any], **options: Unpack[Options]
    ) -> list[Handle]:
        """Do the first half of `scatterGather`: leave the results where they are made.

        Returns
        -------
        list of Handle
            For `gather`, or as items of a further call.
        """
        kept: Options = {**options, "keep": True}
        handles: list[Handle] = self.map(function, items, **kept)
        return handles

    def gather(self, handles: Iterable[Handle]) -> list[Any]:
        """Get the values for which handles stand, in their order."""
        return [handle.get() for handle in handles]

    def imap(
        self, function: Callable[..., Any], items: Iterable[Any], **options: Unpack[Options]
    ) -> Iterator[Any]:
        """Like `map`, but give results one by one, in the order of the items.

        Items are taken from the input as ranks can work on them, with a bounded look-ahead, and
        results are let go as they are consumed: the input may be endless. It is iterated in the
        thread which consumes the results.

        Raises
        ------
        Exception
            When a failed task's turn comes, what it raised; the tasks behind it are dropped.
        """
        return self._settle("imap", function, items, options, ordered=True)

    def imap_unordered(
        self, function: Callable[..., Any], items: Iterable[Any], **options: Unpack[Options]
    ) -> Iterator[Any]:
        """Like `imap`, but give results as they come."""
        return self._settle("imap_unordered", function, items, options, ordered=False)

    def starmap(
        self,
        function: Callable[..., Any],
        items: Iterable[Iterable[Any]],
        **options: Unpack[Options],
    ) -> list[Any]:
        """Like `map`, for items which are tuples of arguments."""
        return self.map(_Spread(function), items, **options)

    def reduce(
        self,
        reducer: Callable[[Any, Any], Any],
        function: Callable[..., Any],
        items: Iterable[Any],
        **options: Unpack[Options],
    ) -> Any:
        """Map, and fold the results two by two in the order of the items.

        Parameters
        ----------
        reducer : callable
            Of two results; runs where the pool was called.
        function, items
            As in `map`.

        Raises
        ------
        UsageError
            If there are no items.
        """
        results = self.imap(function, items, **options)
        for first in results:
            return functools.reduce(reducer, results, first)
        raise UsageError("there are no items to reduce")

    # --- the rest --------------------------------------------------------------------------------

    def _settle(
        self,
        name: str,
        function: Callable[..., Any],
        items: Iterable[Any],
        options: Options,
        ordered: bool,
    ) -> Iterator[Any]:
        wanted = check(name, options, LAZY)
        call = make_call(function, wanted, self._context)
        wait_for(wanted["after"], call.name())
        return _results(settle(self._caller, call, items, ordered))


class _Spread:
    """Calls a function with an item's parts as its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", "the function")

    def __call__(self, item: Iterable[Any]) -> Any:
        return self._function(*item)


def _results(settled: Iterator[Settled]) -> Iterator[Any]:
    for _, value, error in settled:
        if error is not None:
            raise error
        yield value
