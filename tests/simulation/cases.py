"""Cases: what one seed stands for, and what of it was left out to make it smaller."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Self

from mpipool.executor.virtual import MAP, Plan, ScatterPlan
from simulation.faults import Fault, draw
from simulation.plans import Planner

RECORDED = 0.7
"""Fraction of the runs which have a checkpoint."""


@dataclass(frozen=True)
class Case:
    """A random run.

    Attributes
    ----------
    kind : str
        What sort of plan it has; see `plans`.
    seed : int
        Whatever is random follows from it.
    without : frozenset of str
        What is left out: faults (``f2``), scatters (``s13``), tasks (``t40``).
    """

    kind: str
    seed: int
    without: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, kind: str, seed: str, without: str = "") -> Self:
        """Make it of what `command` has written."""
        return cls(kind, int(seed), frozenset(without.split(",")) - {""})

    @property
    def command(self) -> str:
        """The command which runs it again, and prints its last events."""
        left_out = f" {','.join(sorted(self.without))}" if self.without else ""
        return (
            f"PYTHONPATH=tests .venv/bin/python -m simulation.replay {self.kind} {self.seed}"
            f"{left_out}"
        )

    def smaller(self, *names: str) -> Case:
        """Leave some more out."""
        return replace(self, without=self.without.union(names))

    def chance(self, what: str) -> random.Random:
        """Return the source of what is random in one respect."""
        return random.Random(f"{self.kind} {self.seed} {what}")

    def planner(self) -> Planner:
        """Draw the plans, which begin anew in each session."""
        planner = Planner(self.chance("plans"), self.kind)
        chance = self.chance("keys")
        keyed = chance.choice([0.3, 1.0]) if self.recorded else 0.0
        for scatter in planner.scatters:
            plain = not (scatter.touches or scatter.previous or scatter.keeps)
            scatter.keyed = chance.random() < keyed and plain and scatter.mode == MAP
        self._make_hungry(planner)
        if self.without:
            self._prune(planner.plan)
        return planner

    @property
    def recorded(self) -> bool:
        """Whether it has a checkpoint."""
        return self.chance("checkpoint").random() < RECORDED

    def faults(self) -> list[Fault]:
        """Draw the faults."""
        drawn = draw(self.chance("faults"), self.recorded)
        return [fault for fault in drawn if fault.name not in self.without]

    def _make_hungry(self, planner: Planner) -> None:
        """Let some tasks use more memory than was said."""
        chance = self.chance("memory")
        hungry = chance.choice([0.0, 0.1, 0.6])
        for scatter in planner.scatters:
            for task in (
                scatter.tasks if scatter.needs.memory and not scatter.needs.in_place else ()
            ):
                if chance.random() < hungry:
                    task.memory = int(scatter.needs.memory * chance.uniform(1, 6))
                    task.dies_of_it = chance.random() < 0.5

    def _prune(self, plan: Plan) -> None:
        kept = []
        for step in plan.steps:
            kept.append([scatter for scatter in step if name_of(scatter) not in self.without])
            for scatter in kept[-1]:
                scatter.tasks = [
                    task for task in scatter.tasks if name_of(task) not in self.without
                ]
                for task in scatter.tasks:
                    self._prune(task)
        plan.steps = [step for step in kept if step]


def name_of(part: ScatterPlan | Plan) -> str:
    """Return what `Case.without` calls a part of a plan."""
    return f"s{part.serial}" if isinstance(part, ScatterPlan) else f"t{part.number}"
