"""The ``cache`` which functions are given: what is stored for all, and what an item left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mpipool.ctrl_pool import joint
from mpipool.ctrl_pool.comm import Comm


class Cache:
    """Attributes which stay with an item of a context, beside those which are stored.

    What a function sets is there when `mapToPrevious` gives the same item to a function of the
    same context. Stored values are fetched when they are first looked at, and at each call they
    take the place of what earlier calls have set under their names.

    Attributes
    ----------
    comm : Comm
        The rank on which the function runs, and the number of ranks.
    """

    comm: Comm

    def begin(self, stored: Any, names: Iterable[str]) -> None:
        """Begin a call, with what is stored in the context and its names."""
        own = vars(self)
        for name in names:
            own.pop(name, None)
        own["_stored"], own["comm"] = stored, Comm()

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not among the attributes that were set.
        stored = vars(self).get("_stored")
        if stored is not None and not name.startswith("__") and hasattr(stored, name):
            return getattr(stored, name)
        raise AttributeError(f"the cache has no {name}: it was neither stored nor set by a call")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_stored"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        return f"Cache({', '.join(f'{name}={value!r}' for name, value in self.getDict().items())})"

    def getDict(self) -> dict[str, Any]:
        """Return what calls have set, without what is stored."""
        return {
            name: value for name, value in vars(self).items() if name not in {"_stored", "comm"}
        }


class Applied:
    """A function with its constant arguments, which takes an item as tasks do.

    Parameters
    ----------
    function : callable
        ``function(cache, item, *args, **kwargs)``, without the cache if ``context`` is None.
    context : hashable
        The context's name.
    args, kwargs
        The same for all items.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        context: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._function, self._context = function, context
        self._args, self._kwargs = args, kwargs
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, item: Any) -> Any:
        """Call the function."""
        if self._context is None:
            return self._function(item, *self._args, **self._kwargs)
        return self._function(running_cache(self._context), item, *self._args, **self._kwargs)


def running_cache(context: Any) -> Cache:
    """Return the cache of the item whose task is running, ready for a call."""
    kept, stored, names = joint.of_running_task(context)
    cache: Cache = kept.setdefault("ctrl_pool", Cache())
    cache.begin(stored, names)
    return cache


def describe(cache: Cache, item: Any) -> tuple[str, str]:
    """Tell what an item's cache holds, and in which process: what `cacheList` sends around."""
    from mpipool.ctrl_pool.diagnostics import NODE

    return str(NODE), repr(cache)
