"""Takes frames as they arrive during the night, and processes their single frames at once.

What is made of several frames follows when the last one is in: it would have to be made again with
each that comes.
"""

from __future__ import annotations

import time
from dataclasses import replace

from drivers.command import complain
from drivers.follow_options import Follow
from drivers.following import Following
from drivers.graph.graph import Graph
from drivers.graph.node import Failed, NodeId, Outcome
from drivers.graph.running import run
from drivers.intake import Intake
from drivers.planning.frames import single_frame
from drivers.planning.plan import Plan
from drivers.planning.stages import SINGLE_FRAME, Mode
from drivers.recall import Recall
from drivers.survey_summary import named
from mpipool import Pool


def process_as_they_come(plan: Plan, follow: Follow, pool: Pool, recall: Recall) -> Plan:
    """Process single frames until the following ends; return the plan of all that there is then.

    Raises
    ------
    Drained
        If the run is told to end: the same command goes on.
    """
    night = _Night(plan, follow, pool)
    with night.following:
        complain(f"following {', '.join(map(str, follow.folders))}: {night.following.how}")
        run(pool, night.graph, night.ended, recall=recall, poll=night.look)
        for path, why in [*night.intake.outcome.problems, *night.following.unfinished()]:
            complain(f"note: {path}: {why}")
    return night.plan


class _Night:
    """What has come so far."""

    def __init__(self, plan: Plan, follow: Follow, pool: Pool) -> None:
        self.plan, self.graph = plan, Graph()
        self.following = Following(follow.folders, poll=follow.poll)
        self.intake = Intake(plan.rerun.repository, "skip", pool, {})
        self._follow = follow
        self._over = False
        self._add()

    def look(self, seconds: float) -> bool:
        """Take in what has arrived within a time [s]; return whether more may come."""
        if self._over:
            return False
        self._over = self._follow.left <= 0
        wait = max(0.0, min(seconds, self._follow.left))
        files = self.following.rest() if self._over else self.following.arrived(wait)
        if files:
            self.intake.take(files, _unseen)
            self.plan = replace(self.plan, inputs=self.plan.look())
            complain(f"{time.strftime('%H:%M:%S')} {len(files)} files: {self._add()} CCDs")
        return not self._over

    def _add(self) -> int:
        """Add the nodes of frames which are new; return how many."""
        if self.plan.modes[SINGLE_FRAME.name] is not Mode.RUN:
            return 0
        added = 0
        for at, ccd in enumerate(self.plan.inputs.frames):
            node = single_frame(self.plan, ccd, (float(at),))
            if node.id not in self.graph:
                self.graph.add(node)
                added += 1
        return added

    def ended(self, node: NodeId, outcome: Outcome) -> None:
        """Tell of a CCD that has failed; all are told in the summary."""
        if isinstance(outcome, Failed):
            complain(f"failed: {named(node)}: {outcome.error}")


def _unseen(done: int, failed: int, total: int) -> None:
    """Files are told of as they come."""
