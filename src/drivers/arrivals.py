"""Decides which of the files that arrive in a folder are complete: no clock, no file is touched.

A file is looked into once it was closed or renamed, or has not changed for a while, and never twice
as it is. One which changes after it was taken is taken again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import NamedTuple

_FRAME = re.compile(r"[^.].*\.(fits|fit|fts)(\.(fz|gz))?", re.IGNORECASE)


class Look(NamedTuple):
    """What a file looks like from outside: size [bytes] and time of change [ns]."""

    size: int
    changed: int


@dataclass(slots=True)
class _File:
    look: Look
    since: float
    """When it was first seen like this [s]."""
    closed: bool = False
    checked: Look | None = None
    """How it looked when it was looked into."""
    why: str = "has not been looked into"
    """What it lacked then; empty if it was complete."""


class Arrivals:
    """The files of some folders.

    Parameters
    ----------
    settled : float
        Seconds for which a file that nobody saw being closed must not have changed.
    """

    def __init__(self, settled: float) -> None:
        self._settled = settled
        self._files: dict[str, _File] = {}

    @staticmethod
    def wants(path: str) -> bool:
        """Whether a file of this name can be a frame: FITS, not hidden as unfinished copies are."""
        return _FRAME.fullmatch(os.path.basename(path)) is not None

    def seen(
        self, path: str, look: Look, now: float, *, closed: bool = False, age: float = 0.0
    ) -> None:
        """Take in that a file looks like this.

        Parameters
        ----------
        path, look
            The file, and what it looks like.
        now : float
            The time [s].
        closed : bool
            Whether it was just closed or renamed.
        age : float
            How long ago it has changed, as far as that is known [s].
        """
        since = now - max(0.0, age)
        file = self._files.setdefault(path, _File(look, since))
        if file.look != look:
            file.look, file.since, file.closed = look, since, False
        file.closed |= closed

    def gone(self, path: str) -> None:
        """Take in that a file isn't there any more."""
        self._files.pop(path, None)

    def due(self, now: float) -> list[str]:
        """Return the files which are to be looked into, in the order in which they came."""
        return [
            path
            for path, file in self._files.items()
            if file.checked != file.look and (file.closed or now - file.since >= self._settled)
        ]

    def checked(self, path: str, look: Look, why: str) -> bool:
        """Take in what was found in a file; return whether it is complete.

        Parameters
        ----------
        path, look
            The file, and what it looked like just before.
        why : str
            What it lacks; empty if nothing.
        """
        file = self._files[path]
        file.look, file.checked, file.why = look, look, why
        return not why

    def unfinished(self) -> list[tuple[str, str]]:
        """Return the files which are not complete, and why."""
        return [
            (path, file.why or "has changed since it was taken")
            for path, file in self._files.items()
            if file.why or file.look != file.checked
        ]
