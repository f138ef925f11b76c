"""What tells where something happened: ``NODE``, the ``Debugger``, ``abortOnError``."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, Self, TextIO, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Node(str):
    """``host:pid`` of the process which looks, wherever it was imported.

    A function of ``__main__`` is sent with the globals that it uses: ``NODE`` among them would
    name the script's process everywhere. So it is pickled as a reference, and made anew by forks.
    """

    def __str__(self) -> str:
        return f"{os.uname().nodename}:{os.getpid()}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> str:
        return "NODE"


NODE = _Node(f"{os.uname().nodename}:{os.getpid()}")
"""Host and process id."""


class Debugger:
    """The one log of what the pool is asked for; off until ``Debugger().enabled = True``.

    Attributes
    ----------
    enabled : bool
        Whether it writes.
    out : file
        Where to; standard error at first.
    """

    _only: Debugger | None = None
    enabled: bool
    out: TextIO

    def __new__(cls) -> Self:
        """Return the only one."""
        if cls._only is None:
            cls._only = super().__new__(cls)
            cls._only.enabled, cls._only.out = False, sys.stderr
        assert isinstance(cls._only, cls)
        return cls._only

    def log(self, source: str, msg: str, *args: Any) -> None:
        """Write a line, if enabled; ``args`` are only made into text then."""
        if self.enabled:
            self.out.write(f"{source}: {' '.join([msg, *map(str, args)])}\n")


_batch_type: list[Any] = ["unknown"]


def getBatchType() -> Any:
    """Return what `setBatchType` was told; ``"unknown"`` before that."""
    return _batch_type[0]


def setBatchType(batchType: Any) -> None:
    """Say which batch system is in use; None for none."""
    _batch_type[0] = batchType


def abortOnError(func: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that an exception in it is reported where it was raised.

    The exception goes on its way: in a script it ends the run, with its traceback and exit code 1;
    in a task it fails that task, and reaches whoever called ``map`` when the others are done.
    ``MPI_Abort`` is not called: it would take the others' work along.
    """

    @functools.wraps(func)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return func(*args, **kwargs)
        except Exception as error:
            name = getattr(func, "__name__", repr(func))
            print(f"{type(error).__name__} on {NODE} in {name}: {error}", file=sys.stderr)
            raise

    return wrapper
