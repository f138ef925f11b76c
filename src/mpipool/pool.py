"""The pool: what users call."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mpipool import keys
from mpipool.errors import UsageError
from mpipool.executor.caller import Attachment, Caller
from mpipool.executor.stream import Call
from mpipool.launch import connect
from mpipool.lazily import Settled, settle
from mpipool.resume import Resumed, identify, resume

Progress = Callable[[int, int, int], None]


@dataclass(slots=True)
class MapSummary:
    """What a map did."""

    tasks: int = 0
    reused: int = 0
    """Tasks which the checkpoint knew as done."""
    done: int = 0
    failed: int = 0
    wall: float = 0.0
    """Seconds."""
    busy: float = 0.0
    """Seconds which the tasks took, together."""
    ranks: int = 1

    @property
    def utilisation(self) -> float:
        """Fraction of the ranks' time in which tasks ran."""
        return self.busy / (self.wall * self.ranks) if self.wall else 0.0


class Pool:
    """The ranks of whoever asks: all of them in the script, the group inside a task.

    In a script the first pool starts the world. Code written for one level runs at every other:
    inside a task, under ``mpiexec -n 1``, and without mpiexec.

    Parameters
    ----------
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

    def __init__(
        self,
        workers: int | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        take_over: bool = False,
    ) -> None:
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise UsageError(f"Pool(workers={workers!r}): that is a number from 1 up")
        self._caller: Caller = connect(workers)
        self.last_map = MapSummary()
        """What the last map did."""
        if checkpoint is not None and self._caller.in_task:
            raise UsageError("only the script can attach a checkpoint; tasks share that of the run")
        if checkpoint is not None:
            self._attach(checkpoint, config, take_over)
        elif config is not None or take_over:
            raise UsageError("config= and take_over= make sense only with checkpoint=")

    @property
    def size(self) -> int:
        """Number of ranks in the world."""
        return self._caller.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all records of this pool are on disk."""
        if self._caller.attachment.recorded and kind is None:
            self._caller.ask("sync")

    def map(  # noqa: PLR0913 - each is independent, keyword-only and documented
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *,
        stage: str = "",
        key: Callable[[Any], Any] | None = None,
        version: str = "",
        config: Any = None,
        retries: int = 0,
        errors: str = "raise",
        progress: Progress | None = None,
    ) -> list[Any]:
        """Call ``function(item)`` for each item, on whatever ranks there are.

        Parameters
        ----------
        function : callable
            Lambdas, closures and functions of ``__main__`` are allowed.
        items : iterable
            What can be pickled.
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
        errors : {"raise", "return"}
            What to do at the end if tasks failed: raise the first one's exception, or put
            exceptions in the places of results. The others are finished in both cases.
        progress : callable, optional
            Called with the numbers of tasks done, failed, and in all, as results come in.

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
            If two items have the same data ID, or a data ID is not made of JSON values.
        """
        if errors not in {"raise", "return"}:
            raise UsageError(f"errors={errors!r}: say 'raise' or 'return'")
        call = Call(function=function, stage=stage, retries=retries)
        if key is None:
            return self._run(call, items, errors, progress)
        if not stage:
            raise UsageError("key= needs stage=: it is a part of the key")
        every = list(items)
        identities = identify(stage, key, every)
        digests = [keys.digest(stage, version, config, identity) for identity in identities]
        resumed = resume(self._caller, digests, identities)
        call.prefixes = resumed.prefixes
        waiting = [every[index] for index in resumed.waiting]
        return self._run(call, waiting, errors, progress, resumed)

    def scatterGather(  # noqa: N802 - the name which its users know
        self, function: Callable[..., Any], items: Iterable[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Scatter items over ranks, gather ``function(item, *args, **kwargs)`` in their order.

        The same as `map`, with further arguments, which are sent once per rank. Inside a task the
        rank of the task leads the scatter, works on it itself, and is lent other ranks as they
        become free.

        Raises
        ------
        Exception
            As `map` does with ``errors="raise"``.
        """
        call = Call(function=function, arguments=args, keywords=kwargs)
        return self._run(call, items, "raise", None)

    def imap(
        self, function: Callable[..., Any], items: Iterable[Any], *, retries: int = 0
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
        call = Call(function=function, retries=retries)
        return _results(settle(self._caller, call, items, ordered=True))

    def imap_unordered(
        self, function: Callable[..., Any], items: Iterable[Any], *, retries: int = 0
    ) -> Iterator[Any]:
        """Like `imap`, but give results as they come."""
        call = Call(function=function, retries=retries)
        return _results(settle(self._caller, call, items, ordered=False))

    def starmap(
        self, function: Callable[..., Any], items: Iterable[Iterable[Any]], **options: Any
    ) -> list[Any]:
        """Like `map`, for items which are tuples of arguments; ``options`` are those of `map`."""
        return self.map(_Spread(function), items, **options)

    def reduce(
        self,
        reducer: Callable[[Any, Any], Any],
        function: Callable[..., Any],
        items: Iterable[Any],
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
        results = self.imap(function, items)
        for first in results:
            return functools.reduce(reducer, results, first)
        raise UsageError("there are no items to reduce")

    # --- one scatter -----------------------------------------------------------------------------

    def _run(
        self,
        call: Call,
        items: Iterable[Any],
        errors: str,
        progress: Progress | None,
        resumed: Resumed | None = None,
    ) -> list[Any]:
        reused = resumed.results if resumed else {}
        summary = self.last_map = MapSummary(reused=len(reused), ranks=self.size)
        kept: Sequence[Any] = items if isinstance(items, Sequence) else list(items)
        summary.tasks = len(kept) + len(reused)

        def on_batch(done: int, failed: int, busy: float) -> None:
            summary.done, summary.failed = done, failed
            summary.busy += busy
            if progress:
                progress(done + summary.reused, failed, summary.tasks)

        call.on_batch = on_batch
        on_batch(0, 0, 0.0)
        began = time.perf_counter()
        values, failures = self._caller.scatter(call, kept)
        summary.wall = time.perf_counter() - began
        if failures and errors == "raise":
            raise failures[min(failures)]
        for index, error in failures.items():
            values[index] = error
        return resumed.merged_with(values) if resumed else values

    # --- the checkpoint --------------------------------------------------------------------------

    def _attach(
        self,
        checkpoint: str | os.PathLike[str],
        config: Mapping[str, Any] | None,
        take_over: bool,
    ) -> None:
        plain = None if config is None else json.loads(keys.canonical(dict(config), "config"))
        facts, _ = self._caller.ask(
            "attach",
            path=os.path.abspath(checkpoint),
            config=plain,
            command=" ".join(sys.argv),
            take_over=take_over,
        )
        self._caller.attachment = Attachment(facts["token"], facts["results"], recorded=True)


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
