"""Shows how far a map is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

from drivers.command import complain

_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """What `Pool.map` calls as tasks end."""

    def __call__(self, done: int, failed: int, total: int) -> None:
        """Show that `done` tasks have succeeded and `failed` have failed, of `total`."""
        ...


@contextmanager
def shown(total: int, what: str, unit: str) -> Iterator[Progress]:
    """Give a function that shows the progress of `total` items."""
    if not sys.stderr.isatty():
        yield _Lines(what, unit)
        return
    with tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) as bar:

        def update(done: int, failed: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
            bar.update(done + failed - bar.n)

        yield update


class _Lines:
    """A line every ten seconds, and one at the end."""

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
        self._ended = False

    def __call__(self, done: int, failed: int, total: int) -> None:
        """Write a line if one is due."""
        ends = done + failed >= total
        if self._ended or not (ends or time.monotonic() >= self._next):
            return
        self._next, self._ended = time.monotonic() + _SECONDS_BETWEEN_LINES, ends
        failures = f", {failed} failed" if failed else ""
        complain(f"{self._what}: {done + failed} of {total} {self._unit}{failures}")
