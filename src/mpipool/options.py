"""The keyword arguments of a pool's calls: what each means is checked here, at the call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Final, TypedDict

from mpipool.errors import UsageError
from mpipool.needs import PLAIN, Needs

Progress = Callable[[int, int, int], None]
Cost = float | Sequence[float] | Callable[[Any], float]


class Options(TypedDict, total=False):
    """What calls may say; `Pool.map` documents each."""

    context: str | None
    previous: bool
    keep: bool
    ranks: int | tuple[int, int] | None
    threads: int
    memory: float | str
    memory_growth: float
    memory_cap: float | str
    resources: Mapping[str, int]
    timeout: float | None
    retries: int
    cost: Cost | None
    key: Callable[[Any], Any] | Mapping[str, Any] | None
    after: Iterable[Any]
    stage: str
    version: str
    config: Any
    isolation: str
    errors: str
    progress: Progress | None


OPTIONS: Final = frozenset(Options.__annotations__)
"""Names which `Pool.submit` does not pass on to the function."""

LAZY: Final = OPTIONS - {"key", "version", "config", "errors", "progress"}
"""What makes sense where items are taken, and results given, one by one."""

SUBMIT: Final = OPTIONS - {"previous", "errors", "progress"}
"""What a single task may say."""

_UNITS: Final = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30, "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip


class Wanted(dict[str, Any]):
    """The options of one call, checked: all of them, None where nothing is said.

    Parameters
    ----------
    given : Options
        As its user gave them.
    needs : Needs
        What they say of a task's needs.
    """

    def __init__(self, given: Options, needs: Needs) -> None:
        super().__init__(dict.fromkeys(OPTIONS) | _DEFAULTS)
        self.update((name, value) for name, value in given.items() if value is not None)
        self.needs = needs

    @property
    def shared(self) -> dict[str, Any]:
        """What executors and agents must know."""
        told: dict[str, Any] = {}
        if self["keep"]:
            told["keep"] = True
        if self["timeout"]:
            told["timeout"] = float(self["timeout"])
        if self.needs.threads > 1:
            told["threads"] = self.needs.threads
        if self.needs.in_place:
            told["in_place"] = True
            told["fewest"] = self.needs.ranks[0]
        growth: dict[str, float] = {}
        if self["memory_growth"]:
            growth["factor"] = float(self["memory_growth"])
        if self["memory_cap"]:
            growth["cap"] = _mib(self["memory_cap"])
        return told | {"growth": growth} if growth else told


_DEFAULTS: Final[Options] = {
    "previous": False,
    "keep": False,
    "after": (),
    "retries": 0,
    "stage": "",
    "version": "",
    "errors": "raise",
}


_LONGEST: Final = 200


def check(call: str, options: Options, allowed: frozenset[str] = OPTIONS) -> Wanted:
    """Check the options of a call.

    Parameters
    ----------
    call : str
        Names the call in errors.
    options : Options
        As they were given.
    allowed : frozenset of str
        Those which this kind of call has.

    Raises
    ------
    UsageError
        If one is unknown, has an impossible value, or makes no sense beside another.
    """
    if not options:
        return _NOTHING
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise UsageError(f"{call} has no {unknown[0]}=; it has {', '.join(sorted(allowed))}")
    senseless = sorted(set(options) - allowed)
    if senseless:
        raise UsageError(f"{senseless[0]}= makes no sense for {call}")
    for name, (legal, must) in _LEGAL.items():
        value = options.get(name)
        if name in options and value is not None and not legal(value):
            raise UsageError(f"{name}={_cut(repr(value))}: {must}")
    for conflicts, reason in _CONFLICTS:
        if conflicts(options):
            raise UsageError(reason)
    return Wanted(options, _needs(options))


def _cut(text: str) -> str:
    """Shorten a text of which a sentence must still be read."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _needs(options: Options) -> Needs:
    ranks = options.get("ranks")
    span = (ranks, ranks) if isinstance(ranks, int) else ranks or (1, 1)
    tokens = options.get("resources") or {}
    return Needs(
        ranks=(span[0], span[1]),
        threads=options.get("threads") or 1,
        memory=_mib(options.get("memory") or 0),
        tokens=tuple(sorted(tokens.items())),
        in_place=bool(ranks) or options.get("isolation") == "none",
    )


def _mib(memory: float | str) -> int:
    """Read an amount of memory, in whole MiB."""
    return -(-_bytes(memory) // 2**20)


def _bytes(memory: float | str) -> int:
    """Read an amount of memory; -1 if it is none."""
    if isinstance(memory, (int, float)):
        return int(memory) if isfinite(memory) else -1
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-zA-Z]*)\s*", memory)
    if not match or match[2].lower() not in _UNITS:
        return -1
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_span(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(_is_count, value)) and value[0] <= value[1]
    return _is_count(value)


def _is_memory(value: Any) -> bool:
    return (
        isinstance(value, (int, float, str)) and not isinstance(value, bool) and (_bytes(value) > 0)
    )


def _are_tokens(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_count(count) for name, count in value.items()
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _is_growth(value: Any) -> bool:
    return _is_positive(value) and 1 <= value < inf


def _is_cost(value: Any) -> bool:
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return callable(value) or several or _is_positive(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


Legal = Callable[[Any], bool]

_LEGAL: Final[dict[str, tuple[Legal, str]]] = {
    "context": (_is_text, "that is the name of a context"),
    "previous": (lambda value: isinstance(value, bool), "say True or False"),
    "keep": (lambda value: isinstance(value, bool), "say True or False"),
    "ranks": (_is_span, "a number of ranks, or the fewest and the most as a tuple"),
    "threads": (_is_count, "a number of cores from 1 up"),
    "memory": (_is_memory, 'a number of bytes, or a text like "12 GB" or "500 MiB"'),
    "memory_growth": (_is_growth, "a number from 1 (never more) up"),
    "memory_cap": (_is_memory, 'a number of bytes, or a text like "64 GB"'),
    "resources": (_are_tokens, 'say how many of which, like {"io": 1}'),
    "timeout": (_is_positive, "a number of seconds above 0"),
    "retries": (lambda value: _is_count(value, 0), "a number from 0 up"),
    "cost": (_is_cost, "seconds for each item: a number, a sequence, or a function of the item"),
    "key": (
        lambda value: callable(value) or isinstance(value, Mapping),
        "a function which makes the data ID of an item; of a single call, the data ID: a mapping",
    ),
    "after": (lambda value: isinstance(value, Iterable) and not _is_text(value), "some futures"),
    "stage": (_is_text, "that is a text"),
    "version": (_is_text, "that is a text"),
    "isolation": (
        lambda value: _is_text(value) and value in {"process", "none"},
        "say 'process' or 'none'",
    ),
    "errors": (
        lambda value: _is_text(value) and value in {"raise", "return"},
        "say 'raise' or 'return'",
    ),
    "progress": (callable, "a function of the tasks done, failed, and in all"),
}


def _in_place(options: Options) -> bool:
    return bool(options.get("ranks")) or options.get("isolation") == "none"


_CONFLICTS: Final[tuple[tuple[Callable[[Options], bool], str], ...]] = (
    (
        lambda o: _mib(o.get("memory_cap") or 2**60) < _mib(o.get("memory") or 0),
        "memory_cap= is less than memory=, which tasks begin with",
    ),
    (
        lambda o: bool(o.get("key")) and not o.get("stage"),
        "key= needs stage=: it is a part of the key",
    ),
    (
        lambda o: not o.get("key") and (bool(o.get("version")) or o.get("config") is not None),
        "version= or config= without key=: they are parts of the key",
    ),
    (
        lambda o: bool(o.get("key")) and bool(o.get("keep")),
        "keep= with key=: the checkpoint needs the results; leave one of them out",
    ),
    (
        lambda o: bool(o.get("key")) and bool(o.get("previous")),
        "previous= with key=: a resumed task has no cache; give the key to the task around them",
    ),
    (
        lambda o: _in_place(o) and (o.get("threads") or 1) > 1,
        "threads= with ranks= or isolation='none': a gang has one core for each of its ranks",
    ),
    (
        lambda o: _in_place(o) and bool(o.get("previous")),
        "previous= with ranks= or isolation='none': caches are in the ranks' other processes",
    ),
    (
        lambda o: _in_place(o) and bool(o.get("timeout")),
        "timeout= with ranks= or isolation='none': code in a rank's own process can't be ended",
    ),
    (
        lambda o: bool(o.get("ranks")) and o.get("isolation") == "process",
        "ranks= with isolation='process': only the ranks' own processes have MPI",
    ),
)

_NOTHING: Final = Wanted({}, PLAIN)
"""What a call without options wants."""
