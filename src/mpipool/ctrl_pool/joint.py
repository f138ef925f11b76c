"""Where the predecessor's names meet mpipool's own: all that they ask of it stands here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from mpipool import launch
from mpipool.executor import caller
from mpipool.executor.environment import RANK, launched
from mpipool.pool import Pool

CHECKPOINT: Final = "MPIPOOL_CHECKPOINT"
"""Environment variable: the run's database, for scripts which attach none themselves."""


def started() -> bool:
    """Whether this process is in a pool's world: the script after its first pool, and tasks."""
    return caller.installed() is not None


def size() -> int:
    """Return the number of ranks."""
    return Pool().size


def rank() -> int:
    """Return the rank of this process, or of the one that runs the task."""
    place = launched(os.environ) or (0, 1)
    return int(os.environ.get(RANK, place[0]))


def start() -> None:
    """Begin the world, if it is not there yet; ranks other than 0 do not come back."""
    if not started():
        Pool(checkpoint=os.environ.get(CHECKPOINT))


def is_recorded() -> bool:
    """Whether the run has a checkpoint."""
    there = caller.installed()
    return there is not None and there.attachment.recorded


def serve() -> None:
    """Serve as a rank other than 0, and come back when the run is over."""
    launch.serve_and_return()


def end() -> None:
    """End the world while the script goes on: ranks which serve come back."""
    launch.leave()


def of_running_task(context: Any) -> tuple[dict[str, Any], Any, Iterable[str]]:
    """Return what a task finds in its context: its item's cache, what is stored, and its names."""
    pool: Any = Pool()
    return vars(pool.cache), pool.data, pool.stored


class Task(Protocol):
    """A function of one item; its name stands in records and errors."""

    __name__: str

    def __call__(self, item: Any) -> Any:
        """Do an item."""


class Context:
    """One context, as the caller of ``map`` sees it.

    Parameters
    ----------
    context : hashable
        The name; None for the tasks which have no cache.
    """

    def __init__(self, context: Any) -> None:
        # Numbers and the like name contexts too; a text stands for itself, so that
        # mpipool.Pool("tracts") is the same context.
        named = context if isinstance(context, str) else f"{context!r} ({type(context).__name__})"
        self._pool: Any = Pool() if context is None else Pool(named)

    def map(self, function: Task, items: Sequence[Any], **options: Any) -> list[Any]:
        """Call a function for each item, with the options of `mpipool.Pool.map`."""
        found: list[Any] = self._pool.map(
            function, items, **{"stage": function.__name__, **options}
        )
        return found

    def imap(self, function: Task, items: Sequence[Any], previous: bool) -> Iterator[Any]:
        """Do the same, one result at a time, in the order of the items."""
        found: Iterator[Any] = self._pool.imap(
            function, items, stage=function.__name__, previous=previous
        )
        return found

    def store(self, values: dict[str, Any]) -> None:
        """Store values for all tasks of the context."""
        self._pool.store(**values)

    def unstore(self, names: Iterable[str]) -> None:
        """Forget values."""
        self._pool.unstore(*names)

    def names(self) -> tuple[str, ...]:
        """Return the names of what is stored."""
        return tuple(self._pool.stored)

    def stored(self) -> dict[str, Any]:
        """Return what is stored."""
        return {name: getattr(self._pool.data, name) for name in self.names()}

    def clear_caches(self) -> None:
        """Forget what tasks have left behind."""
        self._pool.clear_caches()
