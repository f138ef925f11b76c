"""The options which select, and what they come to as one condition on a table of the registry."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.data_id import Selection, condition, parse_selection
from drivers.selection.expression import Expression, as_sql, parse_expression


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is selected.

    Attributes
    ----------
    ids : tuple of Selection
        Any of these must fit; all fits if there is none.
    where : tuple of Expression
        And all of these must be true.
    """

    ids: tuple[Selection, ...] = ()
    where: tuple[Expression, ...] = ()

    def condition(self) -> tuple[str, list[Any]]:
        """Return the SQL condition and its parameters."""
        parts = [condition(self.ids), *map(as_sql, self.where)]
        text = " AND ".join(f"({part})" for part, _ in parts)
        return text, [value for _, values in parts for value in values]


def add_selection(parser: argparse.ArgumentParser, *, option: str = "--id") -> None:
    """Declare ``--id`` (or ``--selectId``, for inputs) and ``--where``."""
    parser.add_argument(
        option,
        action="append",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="what to take, such as visit=1228^1230..1236 ccd=0..103; any column of the registry",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help='and only where this is true, such as "seeing < 0.9 and n_sources > 50"',
    )


def wanted(
    ids: Sequence[Sequence[str]],
    where: Sequence[str],
    kinds: Mapping[str, type],
    option: str = "--id",
) -> Wanted:
    """Read what the options say.

    Parameters
    ----------
    ids : sequence of sequence of str
        The words of each ``--id``.
    where : sequence of str
        What stands behind each ``--where``.
    kinds : Mapping of str to type
        The columns, as `drivers.registry.selectable` gives them.
    option : str
        The name of the option, for messages.

    Raises
    ------
    DataIdError, ExpressionError
        If one can't be understood.
    """
    return Wanted(
        tuple(parse_selection(words, kinds, option) for words in ids),
        tuple(parse_expression(text, kinds) for text in where),
    )
