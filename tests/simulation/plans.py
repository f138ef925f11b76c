"""Random plans: trees of scatters with skewed durations."""

from __future__ import annotations

import random

from mpipool.executor.virtual import Plan

MAX_TASKS = 120
"""In one simulation."""


class Planner:
    """Draws a script's plan, and numbers the plans of all tasks below it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.plans: list[Plan] = []
        self.scale = chance.choice([1e-4, 1e-2, 1.0])
        """Median duration, seconds."""
        self.spread = chance.choice([0.0, 0.5, 1.5])
        self.retries = chance.choice([0, 1, 2])
        self.faulty = chance.choice([0.0, 0.0, 0.1])
        """Probability that a task fails in some way."""
        self.futures = chance.choice([0.0, 0.0, 0.5])
        """Probability that a task goes on after it has submitted, and waits only then."""

    def script(self) -> Plan:
        plan = Plan(-1, 0.0, retries=self.retries)
        plan.scatters = [self.scatter(depth=0) for _ in range(self.chance.choice([1, 1, 2]))]
        return plan

    def scatter(self, depth: int) -> list[Plan]:
        width = self.chance.choice([0, 1, 2, 3, 5, 8, 13, 40])
        width = min(width, MAX_TASKS - len(self.plans))
        return [self.task(depth) for _ in range(max(width, 0))]

    def task(self, depth: int) -> Plan:
        seconds = self.scale * self.chance.lognormvariate(0.0, self.spread)
        plan = Plan(len(self.plans), seconds, retries=self.retries)
        if self.chance.random() < self.futures:
            plan.late = seconds * self.chance.choice([1e-3, 0.1, 1.0])
            plan.restless = self.chance.random() < 0.5
        self.plans.append(plan)
        if self.chance.random() < self.faulty:
            plan.deaths = self.chance.choice([0, 1])
            plan.failures = self.chance.choice([0, 1, 2])
        leads = (0.5, 0.3, 0.2, 0.0)[min(depth, 3)]
        if self.chance.random() < leads:
            plan.scatters = [self.scatter(depth + 1) for _ in range(self.chance.choice([1, 1, 2]))]
        return plan
