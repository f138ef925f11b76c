"""A function as an executor gets it: pickled, with its further arguments and what tasks share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mpipool.executor.pickling import loads

Loaded = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]
"""The function, and the arguments behind the item."""


class Function:
    """A function, and what all tasks of its scatter share."""

    def __init__(self, shared: memoryview, pickled: memoryview) -> None:
        self.shared: dict[str, Any] = json.loads(bytes(shared))
        self._pickled = pickled
        self._loaded: Loaded | None = None

    def load(self) -> Loaded:
        """Return the function and its further arguments, unpickled once."""
        if self._loaded is None:
            for folder in self.shared["sys_path"]:
                if folder not in sys.path:
                    sys.path.append(folder)
            self._loaded = loads(self._pickled)
            self._pickled = memoryview(b"")
        assert self._loaded is not None
        return self._loaded
