"""Futures as arguments: where they are, and their results in their places."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future as AnyFuture
from typing import Any, Final


def futures_in(value: Any) -> Iterator[AnyFuture[Any]]:
    """Yield the futures in lists, tuples and dictionaries, however deep."""
    kind = type(value)
    if kind is list or kind is tuple:
        for each in value:
            if type(each) not in _PLAIN:
                yield from futures_in(each)
    elif kind is dict:
        yield from futures_in(list(value.values()))
    elif isinstance(value, AnyFuture):
        yield value


_PLAIN: Final = frozenset({int, float, str, bytes, bool, type(None)})


def substituted(value: Any) -> Any:
    """Return a value with the results of the futures in it in their places."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind(map(substituted, value)) if any(futures_in(value)) else value
    if kind is dict:
        return {key: substituted(each) for key, each in value.items()}
    return value.result() if isinstance(value, AnyFuture) else value


class _Chain(threading.local):
    actions: deque[Callable[[], object]] | None = None


_chain = _Chain()


def one_by_one(action: Callable[[], object]) -> None:
    """Do something now, or behind what this thread is just doing in the same way."""
    if _chain.actions is not None:
        _chain.actions.append(action)
        return
    _chain.actions = actions = deque([action])
    try:
        while actions:
            actions.popleft()()
    finally:
        _chain.actions = None
