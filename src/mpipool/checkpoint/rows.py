"""Rows of table ``attempt``: what is written into them, and whether that is what is read.

A page which the disk has altered can still be a good page to SQLite, with another number in it.
So each row has a checksum over all its columns, and its result, which few readers need, one of its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from zlib import crc32

from mpipool.checkpoint.damaged import Damaged
from mpipool.task import Record

_RESULT: Final = Record._fields.index("result")
_REALS: Final = tuple(map(Record._fields.index, ("started", "finished", "cpu")))
_BETWEEN: Final = "\x1f"  # columns; texts seldom have it

CHECKED: Final = (
    "id", "session", *(name for name in Record._fields if name != "result"), "result_check",
)  # fmt: skip
"""The columns under a row's checksum, in its order."""
OUTPUTS: Final = CHECKED.index("outputs")
"""Where a row has them."""

COLUMNS: Final = (*CHECKED, "row_check", "result")
"""All columns of the table, in its order."""

CHECKS_SINCE: Final = 2
"""The schema from which on rows have checksums."""
SELECT_CHECKED: Final = f"SELECT {', '.join(CHECKED)}, row_check FROM attempt"


def stored(number: int, session: int, record: Record) -> tuple[Any, ...]:
    """Return the columns of a record's row."""
    # Names of files in messages may be no UTF-8, which SQLite can't hold as text.
    values: list[Any] = [storable(value) if isinstance(value, str) else value for value in record]
    for at in _REALS:
        values[at] = float(values[at])  # as SQLite gives them back
    result = values.pop(_RESULT)
    checked = (number, session, *values, _of_result(result))
    return (*checked, _of_row(checked), result)


def storable(text: str) -> str:
    """Return a text as UTF-8 can have it: bytes that were none are written as such."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def require_sound(checked: Sequence[Any], row_check: Any) -> None:
    """Refuse a row which is not as it was written.

    Parameters
    ----------
    checked : sequence
        The columns `CHECKED`.
    row_check : int or None
        What the row says; None if it was written before rows had checksums.

    Raises
    ------
    Damaged
        If the row is another one.
    """
    if row_check is not None and row_check != _of_row(checked):
        raise damaged(checked[0])


def require_sound_result(number: int, result: Any, result_check: int | None) -> None:
    """Refuse a result which is not as it was written, as `require_sound` does."""
    if result_check is not None and result_check != _of_result(result):
        raise damaged(number, "result of row")


def damaged(number: object, what: str = "row") -> Damaged:
    """Return the error about a row that is not as it was written."""
    return Damaged(f"the {what} {number} of table attempt is not what was written")


def _of_row(checked: Iterable[Any]) -> int:
    return crc32(_BETWEEN.join(map(str, checked)).encode())


def _of_result(result: Any) -> int | None:
    return crc32(result) if isinstance(result, bytes) else None
