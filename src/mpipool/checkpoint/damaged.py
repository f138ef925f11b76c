"""What is read from a database and can't have been written to it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Final

_ENDLESS: Final = (math.inf, -math.inf)


class Damaged(sqlite3.DatabaseError):
    """What was read is not what was written, though SQLite has read it; the message says what."""


def damage(what: str) -> str:
    """Say that a database is damaged, and what to do."""
    return f"it is damaged ({what}); restore a copy, or move it away and start anew"


def typed(rows: Iterable[Any], *kinds: type | UnionType) -> Iterator[Any]:
    """Yield rows, and refuse one of other types than its table's: SQLite takes them from the file.

    Raises
    ------
    Damaged
        With what it holds.
    """
    for row in rows:
        for value, kind in zip(row, kinds, strict=True):
            if not isinstance(value, kind) or value in _ENDLESS:
                raise Damaged(f"{value!r:.80} stands where a value of {kind} is expected")
        yield row
