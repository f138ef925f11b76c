"""Selects patches: ``--id tract=9000 patch=1,2^3,4 filter=HSC-I``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from drivers.data_id import DataIdError, One, Selection, Span, parse_selection

PATCH_KINDS: Mapping[str, type] = MappingProxyType({"tract": int, "patch": str, "filter": str})
"""What coadds are selected by: a patch is its column and row, like ``1,2``."""


def parse_patch(text: str) -> tuple[int, int]:
    """Return column and row of a patch like ``1,2``.

    Raises
    ------
    DataIdError
        If it is none.
    """
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text)
    if match is None:
        raise DataIdError(f"{text!r} is not a patch: its column and row, such as 1,2")
    return int(match[1]), int(match[2])


def parse_patches(words: Sequence[str], option: str = "--id") -> Selection:
    """Read the words of one ``--id`` which selects patches.

    Raises
    ------
    DataIdError
        If a word is not of this form, or a patch is no patch.
    """
    selection = parse_selection(words, PATCH_KINDS, option)
    for term in selection.get("patch", ()):
        parse_patch(str(term))
    return selection


def wants(selections: Sequence[Selection], values: Mapping[str, Any]) -> bool:
    """Whether any of the selections has a data ID; keys which that lacks don't count.

    Without a selection everything is wanted.
    """
    return not selections or any(
        all(
            any(_fits(term, values[key]) for term in terms)
            for key, terms in selection.items()
            if key in values
        )
        for selection in selections
    )


def _fits(term: One | Span, value: Any) -> bool:
    if isinstance(term, One):
        return bool(term.value == value)
    inside = term.first <= value <= term.last
    return inside and (term.step is None or (value - term.first) % term.step == 0)
