"""Single calls of a pool, and the executor on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpipool.errors import UsageError
from mpipool.futures.future import Future
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
            ``memory_growth=``, ``memory_cap=``, ``threads=``, ``ranks=``, ``resources=`` and
            ``isolation=`` are as `map` describes them.
            To pass such a name to the function, put it into a `functools.partial`.

        Returns
        -------
        Future
            A `concurrent.futures.Future`. If what it waits for failed, its exception is `Blocked`.

        Raises
        ------
        UsageError
            If an option makes no sense.
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
        kind = self._kind(wanted)
        return submitter.submit(function, args, kwargs, kind, wanted["after"], cost or 0.0)

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
            options=tuple(sorted(wanted.shared.items())),
        )
