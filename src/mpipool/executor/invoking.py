"""What runs a submitted call: the items of submissions are calls, each with its own function."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mpipool.executor.handle import resolved
from mpipool.executor.running import keepers

Called = tuple[bytes | Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A function, or its pickle where that is the same for many calls, and its arguments."""


class InitializerFailed(Exception):
    """The initializer of an executor raised in this process: no task can run."""


def invoke(call: Called) -> Any:
    """Make a submitted call."""
    function, arguments, keywords = call
    if type(function) is bytes:
        function = _loaded(function)
    if arguments:
        arguments = tuple(map(resolved, arguments))
    if keywords:
        keywords = {name: resolved(value) for name, value in keywords.items()}
    return function(*arguments, **keywords)  # type: ignore[operator]


def invoke_initialized(
    call: Called, token: bytes, initializer: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Make a submitted call in a process in which an initializer has run.

    Parameters
    ----------
    call : tuple
        As in `invoke`.
    token : bytes
        Names the executor which was given the initializer: it runs once in each process.
    initializer, arguments
        What to call.

    Raises
    ------
    InitializerFailed
        If the initializer raised, here or for an earlier call.
    """
    if token not in _initialized:
        try:
            initializer(*arguments)
        except BaseException as error:
            _initialized[token] = f"{type(error).__name__}: {error}"
            raise InitializerFailed(_initialized[token]) from error
        else:
            _initialized[token] = ""
            for keep in keepers:
                keep()
    if _initialized[token]:
        raise InitializerFailed(_initialized[token])
    return invoke(call)


_initialized: dict[bytes, str] = {}
"""Which initializers have run in this process, and what went wrong if it did."""


@lru_cache(maxsize=256)
def _loaded(pickled: bytes) -> Callable[..., Any]:
    return pickle.loads(pickled)  # type: ignore[no-any-return]
