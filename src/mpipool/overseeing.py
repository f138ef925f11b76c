"""The broker's watch over the run: whether it is to drain, and which nodes and ranks are bad."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from mpipool.draining import Draining, Limits
from mpipool.errors import Drained
from mpipool.ids import BROKER, Rank
from mpipool.messages import Message, Tally, Warned
from mpipool.scheduler import Health

EVERY: Final = 1.0
"""Seconds between two judgements of ranks about which there is news."""


class Run(Protocol):
    """What is done with the run: the broker."""

    def send(self, rank: Rank, message: Message) -> None:
        """Send a message to a rank."""

    def say(self, sentence: str) -> None:
        """Tell the user, and whoever reads the checkpoint later."""

    def quarantine(self, ranks: Iterable[Rank]) -> None:
        """Lend these ranks no more."""

    def stop(self, exit_code: int) -> None:
        """End the run now."""


class Oversight:
    """See the module's docstring.

    Parameters
    ----------
    run : Run
        What it watches.
    clock : callable
        Returns monotonic seconds.

    Attributes
    ----------
    draining : Draining
        When the run drains.
    health : Health
        How its ranks fare.
    left : bool
        Whether the run ends with tasks of the script left.
    """

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self.draining = Draining()
        self.health = Health()
        self.left = False
        self._next = 0.0
        self._is_news = False

    @property
    def exit_code(self) -> int:
        """With which a script ends that leaves tasks: that of a `Drained`; else 0."""
        return (self.draining.exit_code or Drained.EXIT_CODE) if self.left else 0

    def know(self, limits: Limits) -> None:
        """Take in what is known of the run's end."""
        self.draining.know(limits, self._clock(), time.time())

    def take(self, sender: Rank, message: Warned | Tally) -> None:
        """Take a message of an agent."""
        match message:
            case Warned(signal=number, hurried=hurried):
                self.draining.warned(sender, signal.Signals(number), hurried, self._clock())
            case Tally(parts=parts):
                self._count(json.loads(bytes(parts[0])))

    def _count(self, told: dict[str, Any]) -> None:
        for stage, done, failed, how in told["stages"]:
            reason = self.draining.failed(stage, done, failed, how)
            if reason:
                self.draining.give_up(reason, self._clock())
        for rank, kind, *counts in told["chunks"]:
            self.health.saw_chunks(Rank(rank), kind, counts)
        for rank, step in told["steps"]:
            self.health.saw_time(Rank(rank), step)
        self._is_news = True

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        draining = self.draining
        drain = draining.due(now)
        if drain:
            self._run.send(BROKER, drain)
            if drain.reason:
                self._run.say(_sentence(drain.reason, drain.seconds))
        if draining.is_over(now):
            self._run.say(
                f"the time to drain is over; the run ends with exit code {draining.exit_code}"
            )
            self._run.stop(draining.exit_code)
        if self._is_news and now >= self._next:
            self._is_news, self._next = False, now + EVERY
            for verdict in self.health.judge():
                self._run.say(verdict.sentence)
                self._run.quarantine(verdict.ranks)


def _sentence(reason: str, seconds: float) -> str:
    if seconds < 0.5:
        return f"the run drains ({reason}): what still runs is ended now"
    return (
        f"the run drains ({reason}): no task of the script is begun any more; "
        f"what runs is ended in {seconds:.0f} s"
    )
