"""Calls on their way into a lane, and what is known of those which were not sent yet."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from mpipool.executor.handle import taken_along


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of a single call beside its kind."""

    cost: float = 0.0
    """Expected seconds, where the kind is priced."""
    prefix: bytes = b""
    """Its key, where the kind is keyed; see `task.key_prefix`."""
    memory: int = 0
    """MiB which it is known to need; 0 where nothing is known."""


PLAIN_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class Entry:
    """A call, as a lane takes it."""

    called: tuple[Any, ...]
    """As `executor.invoking.invoke` takes it."""
    name: str
    """Of the function, for errors."""
    terms: Terms = PLAIN_TERMS


_Note = tuple[float, int, int]
"""Expected seconds, the rank where the data are, MiB."""
_NOTHING: Final[_Note] = (0.0, -1, 0)


class Foreknown:
    """What is known of the calls of a lane which were not sent yet, as `Items` has it.

    Parameters
    ----------
    priced : bool
        Whether it is known how long each call takes.
    """

    def __init__(self, priced: bool) -> None:
        self._priced = priced
        self._notes: dict[int, _Note] = {}

    def note(self, index: int, terms: Terms) -> None:
        """Note what is known of a call which was just pickled."""
        home = taken_along()
        if self._priced or home is not None or terms.memory:
            self._notes[index] = (terms.cost, -1 if home is None else home, terms.memory)

    def take(self, first: int, count: int) -> tuple[bytes, ...]:
        """Take what is known of the next calls, which are being sent."""
        if not self._notes:
            return ()
        notes = [self._notes.pop(index, _NOTHING) for index in range(first, first + count)]
        costs, homes, memories = zip(*notes, strict=True)
        return (
            array("d", costs).tobytes() if self._priced else b"",
            array("q", homes).tobytes() if max(homes) >= 0 else b"",
            array("q", memories).tobytes() if any(memories) else b"",
        )

    def move_up(self, first: int, kept: Iterable[int]) -> None:
        """Take in that of the calls from ``first`` on only some are left, and move up."""
        self._notes = {
            index: self._notes[old]
            for index, old in enumerate(kept, start=first)
            if old in self._notes
        }
