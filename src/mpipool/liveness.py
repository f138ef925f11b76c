"""Which ranks have fallen silent: every rank says something now and then, if only that it is there.

Pure: what was heard and the time go in, who is to be warned about or given up comes out. When the
broker itself was held up (stopped, or its node was), nobody's silence in that time counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mpipool.ids import Rank

ALIVE_EVERY: Final = 10.0
"""Seconds between two signs of life of an agent."""
QUIET: Final = 30.0
"""Seconds of silence after which a rank is worth a line in the log."""
SILENCE: Final = 180.0
"""Seconds of silence after which a rank counts as dead, if nothing else is said. A task of a gang
which holds Python's lock for so long, in code that is not Python, looks like that."""
SHORTEST: Final = 15.0
"""Seconds: the least after which silence can mean anything."""
LOOK_EVERY: Final = 1.0
HELD_UP: Final = 5.0
"""Seconds. Looks further apart than this show that this process did not run."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What has changed since the last look."""

    quiet: tuple[Rank, ...] = ()
    """Ranks which have said nothing for `QUIET` seconds."""
    back: tuple[Rank, ...] = ()
    """Ranks which were quiet and have spoken again."""
    dead: tuple[Rank, ...] = ()
    """Ranks which were silent for too long."""


NOTHING: Final = Findings()


class Liveness:
    """When each rank was heard of last.

    Parameters
    ----------
    silence : float
        Seconds after which a silent rank counts as dead; 0 for never.
    """

    def __init__(self, silence: float = SILENCE) -> None:
        self._silence = silence
        self._heard: dict[Rank, float] = {}
        self._spoke: set[Rank] = set()
        self._quiet: set[Rank] = set()
        self._looked: float | None = None
        self._next_look = 0.0

    def heard(self, rank: Rank) -> None:
        """Note that a rank has said something since the last look."""
        self._spoke.add(rank)

    def forget(self, rank: Rank) -> None:
        """Expect nothing of a rank any more: it has left, or is dead."""
        self._spoke.discard(rank)
        self._heard.pop(rank, None)
        self._quiet.discard(rank)

    def look(self, now: float) -> Findings:
        """See who is silent."""
        away = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        if away > HELD_UP:
            self._heard = {rank: last + away for rank, last in self._heard.items()}
        if now < self._next_look:
            return NOTHING
        self._next_look = now + LOOK_EVERY
        self._heard.update(dict.fromkeys(self._spoke, now))
        self._spoke.clear()
        return self._judge(now)

    def _judge(self, now: float) -> Findings:
        quiet = set(self._silent_for(QUIET, now))
        dead = tuple(self._silent_for(self._silence, now)) if self._silence else ()
        new, back = sorted(quiet - self._quiet), sorted(self._quiet - quiet)
        self._quiet = quiet
        return Findings(tuple(new), tuple(back), dead)

    def _silent_for(self, seconds: float, now: float) -> Iterable[Rank]:
        return (rank for rank, last in self._heard.items() if now - last > seconds)
