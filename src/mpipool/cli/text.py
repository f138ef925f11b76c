"""How the verbs write things on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def printable(text: str) -> str:
    """Replace control characters: what tasks wrote must not steer the user's terminal."""
    replacement = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in "\n\t" else replacement for c in text)


def first_line(text: str) -> str:
    """Return the first line that says something."""
    stripped = text.strip()
    return printable(stripped.splitlines()[0]) if stripped else ""


def data_id(value: Any) -> str:
    """Write a data ID as it is given on the command line."""
    pairs = value.items() if isinstance(value, dict) else [("id", value)]
    return printable(" ".join(f"{key}={inner}" for key, inner in pairs))


def duration(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def memory(kib: int) -> str:
    """Write an amount of memory."""
    return f"{kib / 2**20:.1f} GiB" if kib >= 2**20 else f"{kib / 2**10:.0f} MiB"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table: the first column to the left, the others, numbers, to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in cells
    )
