"""The leader's side of a drain: from when on the script's scatters begin nothing, and are ended.

Scatters which tasks have opened go on: they are part of what may end. With the task that waits for
it, what is left of them is ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from mpipool.group import events
from mpipool.ids import Rank, ScatterId
from mpipool.led import Led
from mpipool.losses import reports_of_all
from mpipool.messages import Drain, Halted, TasksDone
from mpipool.needs import unpack as unpack_needs

PATIENCE: Final = 2.0
"""Seconds which ranks have to end what they run; then they are not waited for. They have no more
than a sixth of the time which tasks had: there are to be records before the run is ended."""
HURRY: Final = 0.05
"""The same where the launcher leaves no time at all."""
NO_TIME: Final = "what is left takes longer than the walltime allows"
RESUMABLE: Final = 75
"""The exit code which says that the same command is to go on."""


class Halting:
    """What the broker has said about the end of the run, and what is due because of it.

    Attributes
    ----------
    forsaken : set
        Scatters for whose ranks nobody waits any more.
    left : bool
        Whether some scatter was halted.
    stuck : bool
        Whether a task of a gang was not waited for, which can't be ended.
    """

    def __init__(self) -> None:
        self.forsaken: set[ScatterId] = set()
        self.left = self.stuck = False
        self._reason = ""
        self._exit_code = RESUMABLE
        self._until = inf
        self._forsaken_at = inf

    @property
    def reason(self) -> str:
        """Why the run drains; empty while it does not."""
        return self._reason

    def take(self, drain: Drain, now: float) -> list[events.Event]:
        """Take in what the broker says; return what the script's scatters are to be told."""
        self._until = now + drain.seconds
        self._forsaken_at = self._until + max(HURRY, min(PATIENCE, drain.seconds / 6))
        if drain.reason:
            self._reason, self._exit_code = drain.reason, drain.exit_code
        return self._standing()

    def brief(self, led: Led) -> None:
        """Tell a new scatter what those of the script were told, if it is one of them."""
        for event in self._standing() if led.entry is None else ():
            led.machine.handle(event, 0.0)

    def _standing(self) -> list[events.Event]:
        if self._until == inf:  # nothing was said, or the time is up
            return [events.Drained()] if self._reason else []
        limited = events.Limited(self._until)
        return [limited, events.Drained()] if self._reason else [limited]

    def is_time_up(self, now: float) -> bool:
        """Whether what the script's scatters run is to be ended now; said once."""
        if not self._reason or now < self._until:
            return False
        self._until = inf
        return True

    def forsake(self, leds: Iterable[Led], now: float) -> Iterator[tuple[Rank, TasksDone]]:
        """Report, once, what ranks have not reported which were to end it long ago."""
        if not self._reason or now < self._forsaken_at:
            return
        self._forsaken_at = inf
        for led in [led for led in leds if led.entry is None]:
            reports = reports_of_all(led)
            yield from reports
            self.forsaken.add(led.scatter)
            self.stuck |= bool(reports) and unpack_needs(led.needs).in_place

    def halted(self, led: Led, interrupted: int) -> Halted:
        """Tell the caller of a scatter that what has no outcome gets none."""
        self.left = True
        return Halted(
            request=led.opening.request,
            interrupted=interrupted,
            reason=self._reason or NO_TIME,
            exit_code=self._exit_code,
        )
