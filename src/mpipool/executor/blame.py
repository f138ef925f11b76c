"""Finding what it was in a large object that could not be pickled.

What fails is walked from the outside in, breadth first, so that the shortest path to the culprit is
found: an object which can't say what it is made of, or which fails although nothing below it does.
Whether something fails is tried with a pickler which writes nowhere; what does not is not looked
into. So this costs little more than pickling did; nothing of it is done before something failed.
"""

from __future__ import annotations

import copyreg
import functools
import itertools
import pickle
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import cloudpickle

SECONDS: Final = 2.0
"""How long to search; after that, the object in which the culprit is must do."""
_FAILING: Final = 8
"""How many failing parts of one object are looked into."""
_PARTS: Final = 1_000_000
"""How many parts of one object are tried."""
_LONGEST: Final = 200
"""Characters of a path; of longer ones the beginning is shown."""
_SOUND: Final = (type(None), bool, int, float, complex, str, bytes, bytearray, range)
_SEQUENCES: Final = (list, tuple, set, frozenset)
_BUILTIN: Final = (*_SOUND, *_SEQUENCES, dict, types.FunctionType)
"""Types which do not fail by themselves."""
_PROTOCOL: Final = 5

Part = tuple[str, Any]
"""What is written behind the path of the whole, and the object."""


class Culprit(NamedTuple):
    """The object at fault."""

    path: str
    """How it is reached, for example ``result.catalog._lock``."""
    kind: str
    """Its type."""


class _OutOfTime(BaseException):
    """Not an `Exception`: what is being pickled must not catch it."""


class _Nowhere:
    """A file which keeps nothing; it ends what takes too long."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def write(self, _: object) -> None:
        if time.monotonic() > self._deadline:
            raise _OutOfTime


def find(roots: Iterable[Part]) -> Culprit | None:
    """Find what can't be pickled in one of some objects.

    Parameters
    ----------
    roots : iterable of (str, object)
        The objects, with their names in the path.

    Returns
    -------
    Culprit or None
        None if nothing fails, or if looking for it fails.
    """
    nowhere = _Nowhere(time.monotonic() + SECONDS)
    search = _Search(nowhere)
    try:
        return search.run(roots)
    except _OutOfTime:
        return search.best()
    except Exception:  # whatever users' classes raise when they are looked at
        return search.best()


class _Search:
    def __init__(self, nowhere: _Nowhere) -> None:
        self._nowhere = nowhere
        self._reached: Part | None = None
        """The last object that was looked into."""

    def run(self, roots: Iterable[Part]) -> Culprit | None:
        waiting = deque(self._failing(roots))
        seen = {id(thing) for _, thing in waiting}
        alive: list[Any] = []  # so that an id is not given away
        while waiting:
            path, thing = self._reached = waiting.popleft()
            alive.append(thing)
            if _can_not_be_taken_apart(thing):
                return _culprit(path, thing)
            failing = self._failing((path + label, part) for label, part in parts(thing))
            if not failing:
                return _culprit(path, thing)
            new = [part for part in failing if id(part[1]) not in seen]
            seen.update(id(part) for _, part in new)
            waiting += new
        return self.best()

    def best(self) -> Culprit | None:
        return _culprit(*self._reached) if self._reached else None

    def _failing(self, parts: Iterable[Part]) -> list[Part]:
        found: list[Part] = []
        for part in itertools.islice(parts, _PARTS):
            if type(part[1]) not in _SOUND and self._fails(part[1]):
                found.append(part)
                if len(found) == _FAILING or _can_not_be_taken_apart(part[1]):
                    break
        return found

    def _fails(self, thing: Any) -> bool:
        self._nowhere.write(b"")
        try:
            pickler = cloudpickle.Pickler(
                self._nowhere, protocol=_PROTOCOL, buffer_callback=lambda _: None
            )
            pickler.dump(thing)
        except Exception:
            return True
        return False


def _culprit(path: str, thing: Any) -> Culprit:
    if len(path) > _LONGEST:
        path = path[:_LONGEST] + "…"
    kind = type(thing)
    named = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    return Culprit(path, named)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _can_not_be_taken_apart(thing: Any) -> bool:
    """Whether an object's own reduction raises: then it is the one at fault."""
    if type(thing) in _BUILTIN or isinstance(thing, type):
        return False
    try:
        _reduced(thing)
    except RecursionError:
        return False
    except Exception:
        return True
    return False


def _reduced(thing: Any) -> Any:
    tables: Mapping[type, Callable[[Any], Any]] = cloudpickle.Pickler.dispatch_table
    for table in (tables, copyreg.dispatch_table):
        if type(thing) in table:
            return table[type(thing)](thing)
    return thing.__reduce_ex__(_PROTOCOL)


# --- what an object is made of -------------------------------------------------------------------


_ATTRIBUTES: Final[dict[type, tuple[str, ...]]] = {
    types.MethodType: ("__self__", "__func__"),
    types.BuiltinMethodType: ("__self__",),
    functools.partial: ("func", "args", "keywords"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
}


def parts(thing: Any) -> Iterator[Part]:
    """Yield what an object is made of, as pickling sees it, with the way to each."""
    kind = type(thing)
    if kind is dict:
        yield from _entries(thing)
    elif kind in _SEQUENCES:
        yield from ((f"[{index}]", part) for index, part in enumerate(thing))
    elif kind is types.FunctionType:
        yield from _of_function(thing)
    elif kind in _ATTRIBUTES:
        yield from ((f".{name}", getattr(thing, name)) for name in _ATTRIBUTES[kind])
    elif isinstance(thing, type):
        yield from ((f".{name}", part) for name, part in list(vars(thing).items()))
    else:
        yield from _of_object(thing)


def _entries(mapping: Mapping[Any, Any]) -> Iterator[Part]:
    for key, value in mapping.items():
        shown = _shown(key)
        yield f" (the key {shown})", key
        yield f"[{shown}]", value


def _shown(key: Any) -> str:
    try:
        shown = repr(key)
    except Exception:
        return f"<{type(key).__qualname__}>"
    return shown if len(shown) <= 50 else shown[:50] + "…"


def _of_function(function: types.FunctionType) -> Iterator[Part]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f": closure variable {name!r}", cell.cell_contents
        except ValueError:  # it was not assigned yet
            continue
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield f": default of {name!r}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f": default of {name!r}", value
    for name in sorted(_names(code)):
        if name in function.__globals__:
            yield f": global {name!r}", function.__globals__[name]
    yield from ((f".{name}", value) for name, value in vars(function).items())


def _names(code: types.CodeType) -> set[str]:
    """Return the global names which a function and those defined in it may use."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inner)


def _of_object(thing: Any) -> Iterator[Part]:
    reduced = _reduced(thing)
    if isinstance(reduced, str):
        return
    make, arguments, state, items, entries = (*reduced, None, None, None)[:5]
    if state is not None:
        yield from _of_state(thing, state)
    where = ".args" if isinstance(thing, BaseException) else ".__reduce__()[1]"
    yield from ((f"{where}[{index}]", part) for index, part in enumerate(arguments))
    if make is not copyreg.__newobj__:  # type: ignore[attr-defined]
        yield ".__reduce__()[0]", make
    yield from ((f"[{index}]", part) for index, part in enumerate(items or ()))
    yield from _entries(dict(entries or ()))


def _of_state(thing: Any, state: Any) -> Iterator[Part]:
    if isinstance(state, dict):
        yield from ((f".{name}", part) for name, part in state.items())
    elif type(state) is tuple and len(state) == 2 and isinstance(state[1], dict):  # with __slots__
        yield from ((f".{name}", part) for slots in state for name, part in (slots or {}).items())
    elif hasattr(thing, "tolist"):  # an array of objects
        yield ".tolist()", thing.tolist()
    else:
        yield ".__getstate__()", state


def is_about_depth(error: Exception) -> bool:
    """Whether pickling failed for nothing but the depth of an object."""
    return isinstance(error, RecursionError) or (
        isinstance(error, pickle.PicklingError) and "recursion" in str(error)
    )
