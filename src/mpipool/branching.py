"""Branches of scatters: where tasks are tried with more memory which have failed for want of it.

The tasks of a scatter all need the same, and the broker places any of them. A branch is to the
broker a scatter of its own, with greater needs; to everybody else its tasks are still those of the
scatter from which they come. There is one for each amount of memory, as long as it has tasks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mpipool.errors import MemoryExceeded
from mpipool.group import Scatter
from mpipool.group.events import More, Move
from mpipool.group.growth import Growth, Peaks
from mpipool.ids import ScatterId
from mpipool.led import Led
from mpipool.needs import unpack
from mpipool.node import Node
from mpipool.outcomes import Outcomes, pack
from mpipool.task import DONE, STARVED, Entry, Outcome, dump_details, load_details

KIB_IN_MIB = 1024


class Branching:
    """Decides how much memory tasks may have which had too little, and makes branches for them.

    Parameters
    ----------
    node : Node
        This leader's: no task is given more memory than it has, unless it says so.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._peaks = Peaks()

    def may_have(self, led: Led, outcomes: Outcomes) -> tuple[More, ...]:
        """Return which of the tasks that lacked memory may have more, and how much.

        Parameters
        ----------
        led : Led
            Where they were tried.
        outcomes : Outcomes
            What came of them.
        """
        growth = self._growth(led.root)
        typical = self._peaks.typical(led.opening.digest)
        found = []
        for index, outcome in enumerate(outcomes, start=outcomes.first):
            peak = outcome.entry.peak // KIB_IN_MIB
            if outcome.entry.state == STARVED:
                wanted = growth.after(led.memory, peak, typical)
                if wanted and not led.root.is_refused(wanted):
                    found.append((index, wanted))
                    led.root.setbacks[index] = _kept(outcome)
            elif outcome.entry.state == DONE and led.origin:
                self._peaks.learn(led.opening.digest, peak)
        return tuple(found)

    def known(self, led: Led, first: int, memories: Sequence[int]) -> tuple[More, ...]:
        """Return which of consecutive tasks need more than the others, as earlier runs say."""
        if not memories:  # as mostly, and the shared part would be read in vain
            return ()
        growth = self._growth(led)
        return tuple(
            (index, min(memory, growth.cap or memory))
            for index, memory in enumerate(memories, start=first)
            if memory > led.memory and growth.factor > 1
        )

    def branch(self, root: Led, move: Move, scatter: ScatterId) -> Led:
        """Make the branch for a task, under a number of its own."""
        needs = replace(unpack(root.needs), memory=move.memory)
        if not root.memory and not needs.in_place:
            needs = replace(needs, threads=max(needs.threads, self._cores(move.memory)))
        machine = Scatter(root.machine.retries, root.machine.pace.mixed, branch=True)
        branch = Led(
            scatter, (*root.path, scatter), root.owner, root.entry, root.opening, machine,
            root.backlog, needs=needs.packed(), origin=root,
        )  # fmt: skip
        root.branches[move.memory] = branch
        return branch

    def _cores(self, memory: int) -> int:
        """Return the cores of whose ranks so much memory is the share.

        Its neighbours may be tasks of which nobody has said what they need, as it was: to have that
        much for itself, it holds their cores too.
        """
        share = self._node.memory // self._node.ranks
        return min(-(-memory // share), self._node.ranks) if share else 1

    def _growth(self, root: Led) -> Growth:
        said = root.shared.get("growth", {})
        growth = Growth(cap=self._node.memory)
        return replace(growth, **said) if said else growth


def last_words(branch: Led, index: int, reason: str) -> Outcomes:
    """Say why a task is not tried once more: it failed, and what it needs can't be had."""
    outcome = branch.root.setbacks.pop(index, None) or _unmeasured()
    details = load_details(outcome.details)
    told = f"; it can't have {branch.memory} MiB: {reason}"
    for name in ("reason", "message"):
        if name in details:
            details[name] += told
    encoded = dump_details(details)
    entry = outcome.entry._replace(details=len(encoded))
    return Outcomes(index, pack([Outcome(entry, memoryview(encoded), outcome.result)]))


def _kept(outcome: Outcome) -> Outcome:
    """Copy an outcome, so that the message in which it came can go."""
    details, result = bytes(outcome.details), bytes(outcome.result)
    return Outcome(outcome.entry, memoryview(details), memoryview(result))


def _unmeasured() -> Outcome:
    """Describe a task which was not tried in this run."""
    reason = "in an earlier run it needed more than its memory="
    details: dict[str, Any] = {
        "error": MemoryExceeded.__name__,
        "reason": reason,
        "message": reason,
    }
    encoded = dump_details(details)
    entry = Entry(STARVED, len(encoded), time.time(), 0.0, 0.0, 0, 0)
    return Outcome(entry, memoryview(encoded), memoryview(b""))
