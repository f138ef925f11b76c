"""In which order outcomes come onto the disk: no task before what it has scattered."""

from __future__ import annotations

from collections.abc import Iterable, Set

from mpipool.executor.virtual import Plan, ScatterPlan, Settled
from mpipool.task import DONE


class Order:
    """What has come onto the disk too early, in one session.

    Parameters
    ----------
    scatters : iterable of ScatterPlan
        All of the run.
    """

    def __init__(self, scatters: Iterable[ScatterPlan]) -> None:
        self.wrong = ""
        """What is wrong, if something is."""
        self._plans: dict[bytes, Plan] = {
            scatter.key(index): plan
            for scatter in scatters
            if scatter.keyed
            for index, plan in enumerate(scatter.tasks)
        }
        self._delivered: dict[int, set[bytes]] = {}
        """By scatter, the keys of the tasks whose results the task that opened it has got last."""

    def settled(self, scatter: ScatterPlan, outcomes: Settled) -> None:
        """Take in what a task has got."""
        if scatter.keyed:
            self._delivered[scatter.serial] = {
                scatter.key(index)
                for index, outcome in outcomes.items()
                if outcome and outcome.entry.state == DONE
            }

    def committed(self, keys: Set[bytes], durable: Set[bytes]) -> None:
        """Take in that tasks are on disk as done."""
        for key in keys & self._plans.keys():
            plan = self._plans[key]
            for scatter in (scatter for step in plan.steps for scatter in step):
                if not self._delivered.get(scatter.serial, set()) <= durable:
                    self.wrong = (
                        f"plan {plan.number} is on disk before what its scatter {scatter.serial} "
                        "has given it"
                    )
