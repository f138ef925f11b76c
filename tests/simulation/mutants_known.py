"""Mutants of which it is known why neither a seed nor a unit test notices them."""

from __future__ import annotations

from typing import Final

KNOWN: Final[dict[tuple[str, str, str], str]] = {
    ("mpipool.serving", "self._known.pop(executor, None)", "left out"): (
        "numbers of processes are never used again, and a new one gets a new entry: it frees memory"
    ),
}
"""By module, line and kind of change, the reason."""
