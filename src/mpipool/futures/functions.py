"""Functions which are submitted again and again are pickled once.

The function of each submitted call goes along with it. To pickle one takes longer than all the
rest, so for a function whose pickle can't change the bytes are kept: one that is imported by name,
or one that is sent by value but refers to nothing which may change.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from mpipool.executor.pickling import PROTOCOL

MOST: Final = 256
"""Functions which are remembered."""
_CONSTANT: Final = (int, float, complex, str, bytes, bool, type(None), ModuleType)
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Packed:
    """The pickle of a function, and what it holds for."""

    pickled: bytes
    code: CodeType | None
    refers: tuple[tuple[str, Any], ...] = ()
    """Names in its module, and what they must still be."""

    def holds(self, function: Any) -> bool:
        """Whether the function would still be pickled in this way."""
        if self.code is None:
            return True
        if function.__code__ is not self.code:
            return False
        names = function.__globals__
        return all(names.get(name, _MISSING) is value for name, value in self.refers)


_known: dict[Callable[..., Any], _Packed | None] = {}


def packable(function: Callable[..., Any]) -> bytes | Callable[..., Any]:
    """Return a function's pickle, if that is always the same, or else the function."""
    if type(function) not in (FunctionType, BuiltinFunctionType, type):
        return function
    try:
        packed = _known[function]
    except KeyError:
        packed = _remember(function)
    except TypeError:  # a class which can't be hashed
        return function
    if packed is None:
        return function
    if packed.holds(function):
        return packed.pickled
    del _known[function]
    return packable(function)


def _remember(function: Callable[..., Any]) -> _Packed | None:
    if len(_known) >= MOST:
        _known.clear()
    packed = None
    try:
        packed = _pack(function)
    except Exception:
        packed = None  # it is pickled with the call, which says what is wrong
    _known[function] = packed
    return packed


def _pack(function: Any) -> _Packed | None:
    if _goes_by_name(function):
        return _Packed(pickle.dumps(function, PROTOCOL), None)
    if type(function) is not FunctionType:
        return None
    if function.__closure__ or function.__dict__ or function.__kwdefaults__:
        return None
    if not all(type(value) in _CONSTANT for value in function.__defaults__ or ()):
        return None
    names = sorted(set(_names(function.__code__)))
    refers = tuple((name, function.__globals__.get(name, _MISSING)) for name in names)
    if not all(value is _MISSING or _is_constant(value) for _, value in refers):
        return None
    return _Packed(cloudpickle.dumps(function, PROTOCOL), function.__code__, refers)


def _is_constant(value: Any) -> bool:
    if type(value) in _CONSTANT:
        return True
    return type(value) in (FunctionType, BuiltinFunctionType, type) and _goes_by_name(value)


def _goes_by_name(function: Any) -> bool:
    """Whether the other side imports it, where it is what it is here."""
    if type(function) is BuiltinFunctionType and not isinstance(function.__self__, ModuleType):
        return False
    try:
        by_name = pickle.dumps(function, PROTOCOL)
    except Exception:
        return False
    return bool(cloudpickle.dumps(function, PROTOCOL) == by_name)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
