"""Single calls of a pool, and the executor on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpipool.errors import UsageError
from mpipool.futures.entries import Terms
from mpipool.futures.future import Future
from mpipool.futures.keyed import Keyed
from mpipool.futures.pool_executor import PoolExecutor
from mpipool.futures.submitter import PLAIN, Kind, shared_submitter
from mpipool.options import OPTIONS, SUBMIT, Options, Wanted, check

if TYPE_CHECKING:
    from mpipool.executor.caller import Caller


class WithFutures:
    """What a pool does with single calls."""

    _caller: Caller
    _context: str

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have ``function(*args, **kwargs)`` called on some rank.

        Calls are cheap: there may be a million of them. What a task has submitted ends before the
        task itself does.

        Parameters
        ----------
        function : callable
            Lambdas, closures and functions of ``__main__`` are allowed.
        *args
            Its arguments. Those which are futures, also inside lists, tuples and dictionaries,
            stand for their results: the call waits for them.
        **kwargs
            Its keyword arguments; but ``after=`` (futures for which it waits too), ``stage=``,
            ``retries=``, ``timeout=``, ``cost=``, ``keep=``, ``context=``, ``memory=``,
            ``memory_growth=``, ``memory_cap=``, ``threads=``, ``ranks=``, ``resources=``,
            ``isolation=``, ``version=`` and ``config=`` are as `map` describes them, and ``key=``
            is the call's data ID, a mapping: a call which is done in the run's database is not
            made again, and its future has the recorded result at once.
            To pass such a name to the function, put it into a `functools.partial`.

        Returns
        -------
        Future
            A `concurrent.futures.Future`. If what it waits for failed, its exception is `Blocked`.

        Raises
        ------
        UsageError
            If an option makes no sense, or a call with the same key is not over.
        BrokenPool
            If the world was lost.
        """
        options: Options = {}
        for name in OPTIONS.intersection(kwargs) if kwargs else ():
            options[name] = kwargs.pop(name)  # type: ignore[literal-required]
        submitter = shared_submitter(self._caller)
        if not options:
            return submitter.submit(function, args, kwargs, self._plain)
        wanted = check("submit", options, SUBMIT)
        cost = wanted["cost"]
        if cost is not None and not isinstance(cost, (int, float)):
            raise UsageError(f"cost={cost!r}: a single call takes a number of seconds")
        terms = Terms(cost or 0.0)
        keyed = Keyed.of(wanted) if wanted["key"] is not None else None
        if keyed:
            found = keyed.find(self._caller, terms)
            if isinstance(found, Future):
                return found
            terms = found
        future = submitter.submit(
            function, args, kwargs, self._kind(wanted), wanted["after"], terms
        )
        if keyed:
            keyed.hold(future)
        return future

    def executor(self) -> PoolExecutor:
        """Return a `concurrent.futures.Executor` on the ranks of this pool."""
        return PoolExecutor.on(self._caller)

    @property
    def _plain(self) -> Kind:
        return Kind(context=self._context) if self._context else PLAIN

    def _kind(self, wanted: Wanted) -> Kind:
        context = wanted["context"]
        return Kind(
            stage=wanted["stage"],
            retries=wanted["retries"],
            needs=wanted.needs.packed(),
            context=self._context if context is None else context,
            priced=wanted["cost"] is not None,
            keyed=wanted["key"] is not None,
            options=tuple(sorted(wanted.shared.items())),
        )
