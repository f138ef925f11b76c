"""How tasks of a scatter have ended, sorted by what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mpipool.branching import Branching
from mpipool.group.events import More
from mpipool.led import Led
from mpipool.messages import TasksDone
from mpipool.outcomes import Outcomes
from mpipool.task import FAILED, INTERRUPTED, LOST, REDO, STARVED, cut_key

_UNKEYED: Final = (FAILED, LOST, INTERRUPTED, STARVED)
"""Where an executor has died, it could not say the keys of its tasks."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Of the reported tasks those which are not done, by index."""

    failed: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    redo: tuple[int, ...] = ()
    interrupted: tuple[int, ...] = ()
    starved: tuple[More, ...] = ()
    """Those which may have more memory; the others which lacked some have failed."""

    @property
    def undone(self) -> int:
        """How many are run again, whatever the number of retries."""
        return len(self.lost) + len(self.redo) + len(self.interrupted) + len(self.starved)


def sort(
    led: Led, report: TasksDone, outcomes: Outcomes, attempt: int, branching: Branching
) -> tuple[Ends, Outcomes]:
    """Sort the outcomes of a report; return them with the keys which they lack."""
    states: dict[int, tuple[int, ...]] = {}
    if report.failures or len(outcomes.parts[1]):
        states = outcomes.by_state()
        keys = _keys(led, sum((states.get(state, ()) for state in _UNKEYED), ()), attempt)
        outcomes = outcomes.completed(keys)
    starved = branching.may_have(led, outcomes) if led.origin or STARVED in states else ()
    given_up = set(states.get(STARVED, ())).difference(index for index, _ in starved)
    failed = (*states.get(FAILED, ()), *given_up)
    lost, redo, interrupted = (states.get(state, ()) for state in (LOST, REDO, INTERRUPTED))
    return Ends(failed, lost, redo, interrupted, starved), outcomes


def _keys(led: Led, indices: tuple[int, ...], attempt: int) -> dict[int, dict[str, Any]]:
    """Return the keys of tasks."""
    keys = {}
    for index in indices if led.opening.keyed else ():
        key, _ = cut_key(memoryview(led.backlog.cut(index, 1)[1]))
        key["attempt"] += attempt
        keys[index] = key
    return keys
