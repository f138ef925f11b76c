"""A function as an executor gets it: pickled, with its further arguments and what tasks share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from mpipool.executor.pickling import loads

Loaded = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]
"""The function, and the arguments behind the item."""


class Function:
    """A function, and what all tasks of its scatter share.

    Parameters
    ----------
    shared, pickled : memoryview
        As they came.
    on_load : callable, optional
        Called after it was unpickled, which may have imported its module.
    """

    def __init__(
        self, shared: memoryview, pickled: memoryview, on_load: Callable[[], None] | None = None
    ) -> None:
        self.shared: dict[str, Any] = json.loads(bytes(shared))
        self._pickled = pickled
        self._on_load = on_load
        self.wary = False
        """Whether tasks of it have changed settings of the process lately."""
        self._loaded: Loaded | None = None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        function = self._loaded[0] if self._loaded else None
        return self.shared["stage"] or getattr(function, "__name__", "") or "a task"

    def load(self) -> Loaded:
        """Return the function and its further arguments, unpickled once."""
        if self._loaded is None:
            for folder in self.shared["sys_path"]:
                if folder not in sys.path:
                    sys.path.append(folder)
            self._loaded = loads(self._pickled)
            self._pickled = memoryview(b"")
            if self._on_load:
                self._on_load()
        assert self._loaded is not None
        return self._loaded


def search_path() -> list[str]:
    """Return where modules are found here, for processes with another working folder."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed; most folders are absolute anyway
        here = "/"
    return _absolute(tuple(sys.path), here)


@lru_cache(maxsize=2)
def _absolute(folders: tuple[str, ...], here: str) -> list[str]:
    return [os.path.join(here, folder) for folder in folders]
