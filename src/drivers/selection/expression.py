"""Reads ``--where "seeing < 0.9 and n_sources > 50"`` to a tree, and writes it as SQL.

    expression = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation = "not" negation | "(" expression ")" | comparison
    comparison = operand ("=" | "!=" | "<" | "<=" | ">" | ">=") operand
               | column "is" ["not"] "null"
    operand = column | number | text in quotes

Columns are checked against a list and values become parameters, so nothing that was typed reaches
the database as a part of a statement. A comparison with a column that is empty is false, and so is
its negation, as in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from drivers.command import CommandError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign><=|>=|==|!=|<>|[<>=()])
    )""",
    re.VERBOSE,
)
_OPERATORS = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_WORDS = ("and", "or", "not", "is", "null")
_DEEPEST = 50


class ExpressionError(CommandError):
    """A ``--where`` that can't be understood; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Value:
    """A number or a text."""

    value: int | float | str


Operand = Column | Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands, and how they are to compare."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a column is empty."""

    column: Column


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    term: Expression


@dataclass(frozen=True, slots=True)
class Joined:
    """Terms of which all, or any, are to be true."""

    word: Literal["AND", "OR"]
    terms: tuple[Expression, ...]


Expression = Comparison | IsNull | Not | Joined


def parse_expression(text: str, kinds: Mapping[str, type]) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text : str
        Such as ``seeing < 0.9 and (filter = 'g' or n_sources > 50)``.
    kinds : Mapping of str to type
        The known columns, and whether their values are int, float or str.

    Raises
    ------
    ExpressionError
        If it is not of this form, or a column is unknown, or compared with another kind of value.
    """
    return _Reader(text, kinds).read()


def as_sql(expression: Expression) -> tuple[str, list[Any]]:
    """Return the SQL condition and its parameters."""
    match expression:
        case Comparison(left, operator, right):
            texts, values = zip(_operand(left), _operand(right), strict=True)
            return f"{texts[0]} {operator} {texts[1]}", [*values[0], *values[1]]
        case IsNull(column):
            return f"{column.name} IS NULL", []
        case Not(term):
            text, parameters = as_sql(term)
            return f"NOT ({text})", parameters
        case Joined(word, terms):
            parts = [as_sql(term) for term in terms]
            joined = f" {word} ".join(f"({text})" for text, _ in parts)
            return joined, [value for _, some in parts for value in some]


def _operand(operand: Operand) -> tuple[str, list[Any]]:
    if isinstance(operand, Column):
        return operand.name, []
    return "?", [operand.value]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


class _Reader:
    """Goes through the tokens of an expression, one method for each rule of the grammar."""

    def __init__(self, text: str, kinds: Mapping[str, type]) -> None:
        self._text, self._kinds = text, kinds
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def _split(self) -> Iterator[_Token]:
        place = 0
        while self._text[place:].strip():
            match = _TOKEN.match(self._text, place)
            if match is None:
                raise self._error("this is neither a column, a number, a text nor a sign", place)
            kind = str(match.lastgroup)
            word = match[kind].lower()
            is_own = kind == "word" and word in _WORDS
            yield (
                _Token("own", word, match.start(kind))
                if is_own
                else _Token(kind, match[kind], match.start(kind))
            )
            place = match.end()
        yield _Token("end", "", len(self._text))

    def read(self) -> Expression:
        expression = self._expression()
        if self._token.kind != "end":
            raise self._error("'and' or 'or' is missing")
        return expression

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> str | None:
        """Go on behind the next token if it is one of these."""
        token = self._token
        if token.kind not in ("own", "sign") or token.text not in texts:
            return None
        self._next += 1
        return token.text

    def _expression(self) -> Expression:
        return self._joined("or", self._conjunction)

    def _conjunction(self) -> Expression:
        return self._joined("and", self._negation)

    def _joined(self, word: Literal["and", "or"], term: Any) -> Expression:
        terms = [term()]
        while self._take(word):
            terms.append(term())
        return (
            terms[0] if len(terms) == 1 else Joined("AND" if word == "and" else "OR", tuple(terms))
        )

    def _negation(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("there are too many brackets within brackets")
        try:
            if self._take("not"):
                return Not(self._negation())
            if self._take("("):
                inner = self._expression()
                if not self._take(")"):
                    raise self._error("')' is missing")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Expression:
        left = self._operand()
        if isinstance(left, Column) and self._take("is"):
            negated = self._take("not")
            if not self._take("null"):
                raise self._error("only 'null' can stand behind 'is'")
            return Not(IsNull(left)) if negated else IsNull(left)
        sign = self._take(*_OPERATORS)
        if sign is None:
            raise self._error("a comparison is missing, such as '<' or '='")
        right = self._operand()
        self._require_same_kind(left, right)
        return Comparison(left, _OPERATORS[sign], right)

    def _operand(self) -> Operand:
        token = self._token
        if token.kind == "number":
            self._next += 1
            return Value(_number(token.text))
        if token.kind == "text":
            self._next += 1
            return Value(token.text[1:-1])
        if token.kind != "word":
            raise self._error("a column or a value is missing")
        if token.text not in self._kinds:
            known = ", ".join(self._kinds)
            raise self._error(
                f"there is no column {token.text!r} (a text stands in quotes); there are {known}"
            )
        self._next += 1
        return Column(token.text)

    def _require_same_kind(self, left: Operand, right: Operand) -> None:
        """SQLite would take a number and a text for different, without a word."""
        for column, other in ((left, right), (right, left)):
            if isinstance(column, Column) and self._is_text(column) != self._is_text(other):
                kind = (
                    "a text: compare it with one in quotes" if self._is_text(column) else "a number"
                )
                raise self._error(f"{column.name} is {kind}")

    def _is_text(self, operand: Operand) -> bool:
        if isinstance(operand, Column):
            return self._kinds[operand.name] is str
        return isinstance(operand.value, str)

    def _error(self, reason: str, place: int | None = None) -> ExpressionError:
        at = self._token.place if place is None else place
        return ExpressionError(f"--where {self._text!r}, at {self._text[at:][:20]!r}: {reason}")


def _number(text: str) -> int | float:
    # A whole number which SQLite can't hold is one all the same.
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
