"""What a context stores, as tasks see it: each value is fetched when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from mpipool.errors import UsageError
from mpipool.executor.caller import Caller
from mpipool.executor.running import running
from mpipool.ids import DataId
from mpipool.messages import LetGo


class Data:
    """The values which a context stores, as attributes.

    A value comes to a rank when one of its tasks first asks for it, and to each process once.

    Parameters
    ----------
    caller : Caller
        Of this process.
    context : str
        Name of the context.
    """

    def __init__(self, caller: Caller, context: str) -> None:
        self._caller = caller
        self._context = context

    def __getattr__(self, name: str) -> Any:
        ids = self._caller.within.contexts.get(self._context, {})
        if name not in ids:
            stored = ", ".join(sorted(ids)) or "nothing"
            raise AttributeError(f"context {self._context!r} stores no {name}; it stores {stored}")
        return self._caller.store.stored(DataId(ids[name]))

    def __iter__(self) -> Iterator[str]:
        """Yield the names of what is stored."""
        return iter(sorted(self._caller.within.contexts.get(self._context, {})))

    def __dir__(self) -> list[str]:
        return list(self)


class WithContext:
    """What a pool does for its context.

    Parameters
    ----------
    caller : Caller
        Of this process.
    context : str
        Name of the context; empty for the one of all pools without a name.
    """

    def __init__(self, caller: Caller, context: str) -> None:
        self._caller = caller
        self._context = context

    def store(self, **values: Any) -> None:
        """Store values for all tasks of this context, which find them in `data`.

        A value goes to a rank when a task there first asks for it. A task which stores something
        does so for what it scatters itself.

        Raises
        ------
        UnpicklableError
            If a value can't be sent to other ranks.
        """
        ids = {
            name: self._caller.store.keep(value, f"{name}= of store")
            for name, value in values.items()
        }
        self._change(ids, set(values))

    def unstore(self, *names: str) -> None:
        """Let stored values go; all of this context if no names are given.

        Raises
        ------
        UsageError
            If nothing is stored by such a name.
        """
        stored = self._caller.within.contexts.get(self._context, {})
        unknown = sorted(set(names) - set(stored))
        if unknown:
            raise UsageError(f"context {self._context!r} stores no {unknown[0]}")
        self._change({}, set(names or stored))

    @property
    def stored(self) -> tuple[str, ...]:
        """The names of what this context stores."""
        return tuple(self.data)

    @property
    def data(self) -> Data:
        """What the context stores, as attributes: this pool's context, or that of the task."""
        return Data(self._caller, self._context or self._caller.within.context)

    @property
    def cache(self) -> SimpleNamespace:
        """Inside a task, what it leaves for a later call with the same item (``previous=True``).

        It stays in the process that ran the task. If that is lost, the item's earlier calls are run
        again.

        Raises
        ------
        UsageError
            Outside of a task.
        """
        if not self._caller.in_task:
            raise UsageError("there is a cache inside tasks only")
        return running.cache()

    def clear_caches(self) -> None:
        """Let the caches go which tasks of this context have left."""
        within, task = self._caller.within.scatter, running.task
        self._caller.send(LetGo(within=within, task=task, context=self._context))

    def _change(self, new: Mapping[str, int], gone: set[str]) -> None:
        within = self._caller.within
        stored = within.contexts.get(self._context, {})
        self._caller.store.release([DataId(stored[name]) for name in gone if name in stored])
        kept = {name: data for name, data in stored.items() if name not in gone}
        contexts = {**within.contexts, self._context: {**kept, **new}}
        self._caller.within = replace(within, contexts=contexts)
