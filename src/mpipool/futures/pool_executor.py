"""The pool as an executor of `concurrent.futures`."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, as_completed
from concurrent.futures import Future as AnyFuture
from functools import partial
from time import monotonic
from typing import Any, Final, Self

from mpipool.executor.caller import Caller
from mpipool.executor.invoking import invoke, invoke_initialized
from mpipool.futures.future import Future
from mpipool.futures.submissions import cancel_all_of
from mpipool.futures.submitter import AS_RAISED, Submitter
from mpipool.launch import connect_for

_IGNORED: Final = frozenset(
    {"main", "path", "wdir", "env", "globals", "python_exe", "python_args", "mpi_info", "use_pkl5"}
    | {"backoff"}
)
"""Options of mpi4py's executor, which say how processes are started."""


class PoolExecutor(Executor):
    """A `concurrent.futures.Executor` on the ranks of whoever asks.

    It takes the place of ``ProcessPoolExecutor`` and of mpi4py's ``MPIPoolExecutor``. All keyword
    arguments of `submit` go to the function; options such as ``retries=`` and ``after=`` are those
    of `Pool.submit`. Several executors, and pools, share the ranks; to shut one down ends none.

    Parameters
    ----------
    max_workers : int, optional
        How many calls run at once at most. Without mpiexec the first executor, or pool, of a
        script starts so many local ranks (as many as it has CPUs if nothing is said), which later
        ones can't exceed.
    mp_context : object
        Ignored: processes are forked from one without threads in any case.
    initializer : callable, optional
        Called once in each process before the first call runs in it. If it raises, the executor is
        broken: what was submitted to it fails with `BrokenPool`.
    initargs : tuple
        The initializer's arguments.
    max_tasks_per_child : int, optional
        Ignored, except that it must make sense.
    thread_name_prefix : str
        Ignored: there are no threads.
    **options
        Those of mpi4py which say how processes are started are ignored.

    Raises
    ------
    ValueError
        If a number makes no sense.
    TypeError
        If the initializer can't be called, or an option is unknown.

    Examples
    --------
    >>> with PoolExecutor() as executor:
    ...     squares = list(executor.map(pow, range(10), itertools.repeat(2)))
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        thread_name_prefix: str = "",
        **options: Any,
    ) -> None:
        _check(max_workers, initializer, max_tasks_per_child)
        unknown = sorted(set(options) - _IGNORED)
        if unknown:
            raise TypeError(f"PoolExecutor has no argument {unknown[0]!r}")
        self._begin(connect_for(max_workers), max_workers, initializer, initargs)

    @classmethod
    def on(cls, caller: Caller) -> Self:
        """Make an executor in a world that is there."""
        made = cls.__new__(cls)
        made._begin(caller, None, None, ())
        return made

    def _begin(
        self,
        caller: Caller,
        max_workers: int | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self._size = min(max_workers or caller.size, caller.size)
        most = self._size if self._size < caller.size else None
        if initializer is None:
            self._submitter = Submitter(caller, invoke, most=most)
        else:
            further = (os.urandom(8), initializer, initargs)
            self._submitter = Submitter(caller, invoke_initialized, further, most)
        self._shutdown = False
        self._lock = threading.RLock()
        weakref.finalize(self, _forsake, self._submitter).atexit = False

    @property
    def num_workers(self) -> int:
        """How many calls run at once at most; 0 after a shutdown, or when it is broken."""
        return 0 if self._shutdown or self._submitter.broken else self._size

    @property
    def _max_workers(self) -> int:
        """As `num_workers`: where the standard library's executors have it, and others look."""
        return self.num_workers

    @property
    def _broken(self) -> object:
        """Where the standard library's executors say whether they are."""
        return self._submitter.broken or False

    def bootup(self, wait: bool = True) -> Self:
        """Do nothing: the ranks are there; for users of mpi4py's executor.

        Raises
        ------
        RuntimeError
            After a shutdown.
        """
        self._require_open()
        return self

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have ``fn(*args, **kwargs)`` called on some rank.

        Arguments which are futures, also inside lists, tuples and dictionaries, stand for their
        results: the call waits for them in this process.

        Raises
        ------
        RuntimeError
            After a shutdown.
        BrokenPool
            If the world was lost, or the initializer failed.
        """
        with self._lock:
            self._require_open()
            return self._submitter.submit(fn, args, kwargs, AS_RAISED)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[Any]:
        """Call ``fn`` with the items of the iterables side by side; return the results' iterator.

        All calls are submitted at once, unless there is a ``buffersize``. If the iterator is left
        early, those which did not begin are cancelled.

        Parameters
        ----------
        fn : callable
            Gets as many arguments as there are iterables.
        *iterables
            The shortest decides how many calls there are.
        timeout : float, optional
            Seconds from now after which results are not waited for any more.
        chunksize : int
            How many calls make a task. There is no need to tune it: tasks are given out in chunks
            anyway.
        buffersize : int, optional
            How many calls are ahead of the results at most; the iterables may be endless then.
        unordered : bool
            Give results as they come.

        Raises
        ------
        TimeoutError
            From the iterator, if a result is not there in time.
        Exception
            From the iterator, what a call raised.
        RuntimeError
            After a shutdown.
        """
        arguments = zip(*iterables, strict=False)
        return self.starmap(fn, arguments, timeout, chunksize, buffersize, unordered)

    def starmap(
        self,
        fn: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[Any]:
        """Like `map`, for an iterable of the arguments of each call."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if buffersize is not None and unordered:
            raise ValueError("buffersize with unordered: use Pool.imap_unordered")
        end = None if timeout is None else monotonic() + timeout
        if chunksize == 1:
            return self._results(fn, iter(iterable), end, buffersize, unordered)
        chunks = ((chunk,) for chunk in _chunks(iterable, chunksize))
        if buffersize is not None:
            buffersize = -(-buffersize // chunksize)
        lists = self._results(partial(_call_each, fn), chunks, end, buffersize, unordered)
        return _flattened(lists)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls. The ranks stay, for other executors and pools.

        Parameters
        ----------
        wait : bool
            Whether to return only when all calls are over; they come to their end in any case.
        cancel_futures : bool
            Whether to cancel those which did not begin.
        """
        with self._lock:
            self._shutdown = True
        if cancel_futures:
            self._submitter.cancel_all()
        if wait:
            self._submitter.wait()
        self._submitter.close()

    def _require_open(self) -> None:
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _results(
        self,
        function: Callable[..., Any],
        arguments: Iterator[Iterable[Any]],
        end: float | None,
        ahead: int | None,
        unordered: bool,
    ) -> Iterator[Any]:
        """Submit the first calls now; return what gives their results and submits the others."""
        submitted = (self.submit(function, *each) for each in arguments)
        out = deque(itertools.islice(submitted, ahead))
        return _as_they_come(out, end) if unordered else _in_order(out, submitted, end)


def _check(max_workers: Any, initializer: Any, max_tasks_per_child: Any) -> None:
    if max_workers is not None and int(max_workers) <= 0:
        raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")


def _forsake(submitter: Submitter) -> None:
    # Nothing is sent here: a collection of garbage may come at any point of a message.
    submitter.forsaken = True


# --- maps ----------------------------------------------------------------------------------------

Out = deque[Future]


def _in_order(out: Out, further: Iterator[Future], end: float | None) -> Iterator[Any]:
    """Yield results in the order of the calls; submit another call for each."""
    try:
        while out:
            result = [out[0].result(_left(end))]
            out.popleft()
            out.extend(itertools.islice(further, 1))
            yield result.pop()  # no reference stays here while the caller has it
    finally:
        cancel_all_of(out)


def _as_they_come(out: Out, end: float | None) -> Iterator[Any]:
    """Yield results as they come."""
    known: set[AnyFuture[Any]] = set(out)
    try:
        for future in as_completed(list(known), _left(end)):
            known.remove(future)
            result = [future.result()]
            del future
            yield result.pop()
    finally:
        cancel_all_of(known)


def _left(end: float | None) -> float | None:
    return None if end is None else end - monotonic()


def _chunks(iterable: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    items = iter(iterable)
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _call_each(function: Callable[..., Any], chunk: tuple[Iterable[Any], ...]) -> list[Any]:
    return [function(*arguments) for arguments in chunk]


def _flattened(lists: Iterator[list[Any]]) -> Iterator[Any]:
    for results in lists:
        results.reverse()
        while results:
            yield results.pop()
