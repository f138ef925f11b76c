"""How the tasks of a leader's scatters fare, on which ranks: told to the broker now and then.

A chunk counts as one observation, which failed if a task in it did: what stands side by side is
often bad together. Only first attempts count, so that one bad item does not count again and again.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

from mpipool.ids import Rank
from mpipool.led import Led
from mpipool.messages import Tally, TasksDone
from mpipool.outcomes import Outcomes
from mpipool.task import load_details

EVERY: Final = 1.0
"""Seconds between two tallies, if nothing has failed."""
LONG: Final = 0.05
"""Seconds. How long shorter tasks take says more about the machine's other work."""
STEPS: Final = 4
"""Into so many steps a factor of two of the time against the expected one is divided."""
MOST_STEPS: Final = 40
LONGEST: Final = 200
"""Characters of a reason."""
_VARIES: Final = re.compile(r"(?:/[^\s'\",:;]*)+|0x[0-9a-fA-F]+|\d+(?:\.\d+)?")
"""What differs between failures that are alike: paths, addresses, numbers."""


@dataclass(slots=True)
class Ended:
    """How tasks of a stage have ended for good."""

    done: int = 0
    failed: int = 0
    how: set[str] = field(default_factory=set)
    """What the failures say."""


class Tallying:
    """What was not told to the broker yet."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[Rank, bytes], list[int]] = {}
        """By rank and function: chunks, those with a failure; tasks, and those which failed."""
        self._steps: list[tuple[Rank, int]] = []
        self._ended: dict[str, Ended] = {}
        self._next = 0.0
        self._urgent = False

    def saw(
        self,
        led: Led,
        rank: Rank,
        report: TasksDone,
        failed: tuple[int, ...],
        undone: int,
        outcomes: Outcomes,
    ) -> None:
        """Take in what a rank reports, before the scatter's machine does.

        Parameters
        ----------
        led : Led
            The scatter.
        rank : Rank
            Who reports.
        report : TasksDone
            Its tasks.
        failed : tuple of int
            Those which have failed.
        undone : int
            How many others will be run again.
        outcomes : Outcomes
            What came of them.
        """
        ended = report.count - undone
        if not ended or led.machine.abandoned:
            return
        attempt = led.machine.attempt(report.lease, report.chunk)
        if attempt == 1:
            chunk = self._chunks.setdefault((rank, led.opening.digest), [0, 0, 0, 0])
            chunk[0] += 1
            chunk[1] += bool(failed)
            chunk[2] += ended
            chunk[3] += len(failed)
        if ended == 1 and report.busy > LONG and not failed:
            self._note_pace(led, rank, report)
        entry = self._ended.setdefault(led.opening.stage, Ended())
        entry.done += ended - len(failed)
        if failed and attempt > led.machine.retries:
            entry.failed += len(failed)
            entry.how.update(_reasons(outcomes, failed))
        self._urgent |= bool(failed)

    def _note_pace(self, led: Led, rank: Rank, report: TasksDone) -> None:
        expected = led.machine.expected(report.first)
        if expected:
            steps = round(STEPS * math.log2(report.busy / expected))
            self._steps.append((rank, max(-MOST_STEPS, min(steps, MOST_STEPS))))

    def take(self, now: float) -> Tally | None:
        """Return what is due to be told."""
        if not self._ended or not (self._urgent or now >= self._next):
            return None
        self._next, self._urgent = now + EVERY, False
        told: dict[str, Any] = {
            "chunks": [(rank, kind.hex(), *n) for (rank, kind), n in self._chunks.items()],
            "steps": self._steps,
            "stages": [
                (stage, each.done, each.failed, each.how.pop() if len(each.how) == 1 else "")
                for stage, each in self._ended.items()
            ],
        }
        self._chunks, self._steps, self._ended = {}, [], {}
        return Tally(parts=(json.dumps(told, separators=(",", ":")).encode(),))


def _reasons(outcomes: Outcomes, failed: tuple[int, ...]) -> set[str]:
    """Return in which different ways tasks have failed, two at most."""
    found: set[str] = set()
    wanted = set(failed)
    for index, outcome in enumerate(outcomes, start=outcomes.first):
        if index in wanted:
            details = load_details(outcome.details)
            lines = str(details.get("message", "")).strip().splitlines() or [""]
            said = f"{details.get('error', '')}: {lines[0]}"[:LONGEST]
            found.add(_VARIES.sub("#", said))
            if len(found) > 1:
                break
    return found
