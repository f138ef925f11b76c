"""Reads ``--id visit=1228^1230..1236:2 ccd=0..103`` and turns it into a condition.

A term is a value, or an inclusive range ``first..last`` with an optional ``:step``; ``^`` separates
alternatives. All keys of one ``--id`` must fit; a frame is selected if any ``--id`` fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.command import CommandError

_RANGE = re.compile(r"(?P<first>[^:]+?)\.\.(?P<last>[^:]+?)(?::(?P<step>.+))?")

Value = int | float | str


class DataIdError(CommandError):
    """An ``--id`` that can't be understood; the message says what and why."""


@dataclass(frozen=True, slots=True)
class One:
    """A single value."""

    value: Value

    def condition(self, column: str) -> tuple[str, list[Value]]:
        """Return the SQL condition and its parameters."""
        return f"{column} = ?", [self.value]

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Span:
    """All values from `first` to `last`, both included; every `step`-th if there is a step."""

    first: int | float
    last: int | float
    step: int | None = None

    def condition(self, column: str) -> tuple[str, list[Value]]:
        """Return the SQL condition and its parameters."""
        condition = f"{column} BETWEEN ? AND ?"
        if self.step is None:
            return condition, [self.first, self.last]
        return f"({condition} AND ({column} - ?) % ? = 0)", [
            self.first, self.last, self.first, self.step,
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" + (f":{self.step}" if self.step else "")


Term = One | Span
Selection = dict[str, tuple[Term, ...]]


def parse_selection(
    words: Sequence[str], kinds: Mapping[str, type], option: str = "--id"
) -> Selection:
    """Read the words of one ``--id``.

    Parameters
    ----------
    words : sequence of str
        Such as ``["visit=1228^1230..1236:2", "ccd=0..103"]``. No word selects everything.
    kinds : Mapping of str to type
        The known keys, and whether their values are int, float or str.
    option : str
        The name of the option, for messages.

    Raises
    ------
    DataIdError
        If a word is not of this form, or a key is unknown or stands twice.
    """
    selection: Selection = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key or not text:
            raise DataIdError(f"{option} {word!r} is not of the form KEY=VALUE, such as visit=1228")
        if key not in kinds:
            there = ", ".join(kinds)
            raise DataIdError(f"{option} {word!r}: there is no {key!r}; there are {there}")
        if key in selection:
            raise DataIdError(f"{option}: {key} stands twice; separate alternatives by '^'")
        where = f"{option} {word!r}"
        selection[key] = tuple(_term(part, kinds[key], where) for part in text.split("^"))
    return selection


def _term(text: str, kind: type, where: str) -> Term:
    match = _RANGE.fullmatch(text)
    if match is None:
        return One(_value(text, kind, where))
    first = _value(match["first"], kind, where)
    last = _value(match["last"], kind, where)
    if isinstance(first, str) or isinstance(last, str):
        raise DataIdError(f"{where}: text has no ranges; separate alternatives by '^'")
    if last < first:
        raise DataIdError(f"{where}: the range {text} ends before it begins")
    return Span(first, last, _step(match["step"], kind, where))


def _step(text: str | None, kind: type, where: str) -> int | None:
    if text is None:
        return None
    if kind is not int or not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise DataIdError(f"{where}: the step {text!r} is not a positive whole number")
    return int(text)


def _value(text: str, kind: type, where: str) -> Value:
    if not text:
        raise DataIdError(f"{where}: a value is empty")
    if kind is int and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise DataIdError(f"{where}: {text!r} is not a whole number")
    try:
        value: Value = kind(text)
    except ValueError:
        raise DataIdError(f"{where}: {text!r} is not a number") from None
    return value


def condition(selections: Sequence[Selection]) -> tuple[str, list[Any]]:
    """Return the SQL condition, and its parameters, of frames that any of the selections has."""
    if not selections:
        return "1", []
    alternatives, values = [], []
    for selection in selections:
        clauses = ["1"]
        for key, terms in selection.items():
            parts = [term.condition(key) for term in terms]
            clauses.append("(" + " OR ".join(part for part, _ in parts) + ")")
            values += [value for _, some in parts for value in some]
        alternatives.append("(" + " AND ".join(clauses) + ")")
    return " OR ".join(alternatives), values


def words_of(selection: Selection) -> str:
    """Write a selection as the words of an ``--id``."""
    return " ".join(f"{key}={'^'.join(map(str, terms))}" for key, terms in selection.items())


def compact(values: Sequence[Any], limit: int = 12) -> str:
    """Write values the way ``--id`` reads them, whole numbers as ranges.

    Parameters
    ----------
    values : sequence
        Ordered and without repetition.
    limit : int
        How many terms are written before the rest becomes a count.
    """
    runs: list[list[Any]] = []
    for value in values:
        if runs and isinstance(value, int) and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value])
    words = ["..".join(str(end) for end in run) for run in runs]
    if len(words) > limit:
        return "^".join(words[:limit]) + f" and {len(words) - limit} more"
    return "^".join(words)
