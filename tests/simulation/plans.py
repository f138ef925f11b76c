"""Random plans: trees of scatters with skewed durations, and with needs of all kinds."""

from __future__ import annotations

import random
from itertools import count

from mpipool.executor.virtual import LAZY, SUBMIT, Plan, ScatterPlan
from mpipool.needs import PLAIN, Needs

MAX_TASKS = 120
"""In one simulation."""
LARGE = 70_000
"""Bytes of a function which is forgotten at the end of its scatter."""

SIMPLE = "simple"
"""Nothing but scatters which need a core."""
NESTED = "nested"
"""What is below a task needs no more than the task holds: nothing is ever refused."""
CACHING = "caching"
"""Few ranks, and many tasks which lead scatters and use caches."""
WILD = "wild"
"""Anything, and more than there is."""
KINDS = (SIMPLE, NESTED, CACHING, WILD)


class Planner:
    """Draws a script's plan, and numbers the plans of all tasks below it.

    Attributes
    ----------
    nodes : list
        How many ranks each has, and how many MiB (0: unknown).
    tokens : dict
        How many of each there are.
    """

    def __init__(self, chance: random.Random, kind: str | None = None) -> None:
        self.chance = chance
        self.kind = kind or chance.choice([SIMPLE, NESTED, CACHING, WILD, WILD])
        self.plans: list[Plan] = []
        self.scatters: list[ScatterPlan] = []
        self.scale = chance.choice([1e-4, 1e-2, 1.0])
        """Median duration, seconds."""
        self.spread = chance.choice([0.0, 0.5, 1.5])
        self.retries = chance.choice([0, 1, 2])
        self.faulty = chance.choice([0.0, 0.0, 0.1])
        """Probability that a task fails in some way."""
        self.constrained = self.likely(0.0, 0.3, 0.7, 0.95)
        """Probability that a scatter needs more than a core."""
        self.cached = self.likely(0.0, 0.3, 0.6)
        """Probability that a scatter is followed by others which use its caches."""
        if self.kind == CACHING:
            self.constrained, self.cached = self.likely(0.0, 0.0, 0.2), 0.7
        self.kept = self.likely(0.0, 0.3)
        """Probability that the results of a scatter stay where they are made."""
        self.futures = self.likely(0.0, 0.3)
        """Probability that a scatter is lazy, or that several are led at once."""
        self.tight = self.kind == WILD and self.hits(0.25)
        """Whether leaders want so much memory that they wait for what others hold."""
        if self.tight:
            self.constrained = 0.9
        self.nodes = self.draw_nodes()
        self.size = sum(ranks for ranks, _ in self.nodes)
        self.tokens = {"io": chance.randint(1, 4), "db": 1}
        self._serials = count(1)
        self.plan = self.script()

    def likely(self, *probabilities: float) -> float:
        """Draw a probability, which is 0 in simple runs."""
        return 0.0 if self.kind == SIMPLE else self.chance.choice(probabilities)

    def hits(self, probability: float) -> bool:
        return self.chance.random() < probability

    def draw_nodes(self) -> list[tuple[int, int]]:
        size = self.chance.choice([1, 2, 2, 3] if self.kind == CACHING else [1, 1, 2, 3, 4, 7, 16])
        nodes = []
        while size:
            ranks = min(self.chance.choice([1, 2, 4, 8]), size)
            nodes.append((ranks, self.chance.choice([0, 8, 16])))
            size -= ranks
        return nodes

    # --- tasks -----------------------------------------------------------------------------------

    def script(self) -> Plan:
        plan = Plan(-1, 0.0)
        self.add_steps(plan, 0, None, False)
        return plan

    def add_steps(self, plan: Plan, depth: int, outer: Needs | None, in_gang: bool) -> None:
        for _ in range(self.chance.choice([1, 1, 2])):
            if self.hits(self.futures):
                plan.steps.append(self.together(depth, outer, in_gang))
                continue
            first = self.scatter(depth, outer, in_gang)
            plan.steps.append([first])
            if self.hits(self.cached) and not first.needs.in_place:
                plan.steps += self.followers(first, depth, outer, in_gang)
            if self.hits(self.kept):
                first.keeps = True
                plan.steps.append([self.scatter(depth, outer, in_gang)])
                plan.steps[-1][0].fetches = True

    def together(self, depth: int, outer: Needs | None, in_gang: bool) -> list[ScatterPlan]:
        """Draw a lazy scatter, or some which are led at once."""
        scatters = [
            self.scatter(depth, outer, in_gang) for _ in range(self.chance.choice([1, 1, 2, 3]))
        ]
        for scatter in scatters:
            scatter.mode = SUBMIT
            scatter.cancels = self.hits(0.3)
        if len(scatters) == 1 and self.hits(0.5):
            scatters[0].mode = LAZY
            scatters[0].gives_up = self.hits(0.3)
        return scatters

    def followers(
        self, first: ScatterPlan, depth: int, outer: Needs | None, in_gang: bool
    ) -> list[list[ScatterPlan]]:
        """Draw scatters which go on with the caches of one."""
        first.touches = True
        first.context = self.chance.choice(["", "other"])
        steps = []
        for _ in range(self.chance.choice([1, 1, 2])):
            width = len(first.tasks) - self.hits(0.05)
            needs = first.needs if self.hits(0.5) else self.needs(outer, in_gang)
            if self.kind == NESTED and needs != first.needs:
                needs = self.below(first.needs)  # it must fit where the caches are
            scatter = self.scatter(depth, outer, in_gang, width, PLAIN if needs.in_place else needs)
            scatter.previous, scatter.touches = True, self.hits(0.7)
            scatter.context = first.context
            steps.append([scatter])
        return steps

    def scatter(
        self,
        depth: int,
        outer: Needs | None,
        in_gang: bool,
        width: int | None = None,
        needs: Needs | None = None,
    ) -> ScatterPlan:
        if needs is None:
            needs = self.needs(outer, in_gang)
        scatter = ScatterPlan(next(self._serials), retries=self.retries, needs=needs)
        self.scatters.append(scatter)
        scatter.priced = self.hits(self.likely(0.3))
        scatter.size = LARGE if self.hits(0.1) else 0
        if width is None:
            width = self.chance.choice([0, 1, 2, 3, 5, 8, 13, 40])
        if self.kind == CACHING:
            width = min(width, 5)
        width = max(min(width, MAX_TASKS - len(self.plans)), 0)
        inner = outer if needs == PLAIN else needs
        gang = in_gang or needs.in_place
        for _ in range(width):
            scatter.tasks.append(self.task(scatter, depth, inner, gang))
        return scatter

    def task(self, of: ScatterPlan, depth: int, inner: Needs | None, in_gang: bool) -> Plan:
        seconds = self.scale * self.chance.lognormvariate(0.0, self.spread)
        plan = Plan(len(self.plans), seconds, of=of)
        self.plans.append(plan)
        if self.hits(self.faulty):
            plan.deaths = 0 if of.needs.in_place else self.chance.choice([0, 1])
            plan.failures = self.chance.choice([0, 1, 2])
        plan.raises = self.hits(0.5)
        if self.hits((0.5, 0.3, 0.2, 0.0)[min(depth, 3)]) or (
            self.kind == CACHING and depth < 2 and self.hits(0.5)
        ):
            before = self.constrained, self.cached
            if of.needs.in_place and self.hits(0.3):
                # Who raises does not wait for the others, and nobody waits for them for long.
                # Below other members than the first the gang's ranks are busy: none may be needed.
                plan.everywhere, plan.raises, plan.failures = True, False, 0
                self.constrained = self.cached = 0.0
            self.add_steps(plan, depth + 1, inner, in_gang)
            self.constrained, self.cached = before
        return plan

    # --- needs -----------------------------------------------------------------------------------

    def needs(self, outer: Needs | None, in_gang: bool) -> Needs:
        if not self.hits(self.constrained):
            return PLAIN
        if self.kind != NESTED:
            return self.any_needs(1 if self.hits(0.9) else 3)
        if outer:
            return self.below(outer)
        return self.any_needs(1)

    def any_needs(self, excess: int) -> Needs:
        """Draw needs, up to so many times what there is."""
        chance = self.chance
        if self.tight:
            return Needs(memory=chance.randint(3, 8))
        memory = chance.choice([0, 0, chance.randint(1, 8 * excess)])
        tokens = (("io", chance.randint(1, self.tokens["io"] * excess)),) if self.hits(0.2) else ()
        if self.hits(0.1):
            tokens = (("db", 1), *tokens)
        if self.hits(0.3):
            fewest = chance.randint(1, self.size * excess)
            memory = memory and min(memory, 2)
            if self.kind == NESTED:
                memory = 0  # there may not be enough nodes
            return Needs(
                (fewest, chance.randint(fewest, self.size * excess)), 1, memory, tokens, True
            )
        most = max(ranks for ranks, _ in self.nodes)
        threads = chance.choice([1, 1, chance.randint(1, most * excess)])
        if self.kind == NESTED and threads > 1:
            memory = 0
        return Needs((1, 1), threads, memory, tokens)

    def can_never_be(self, needs: Needs) -> bool:
        """Whether there is too little of something, whoever holds what."""
        return (
            needs.ranks[0] > self.size
            or needs.threads > max(ranks for ranks, _ in self.nodes)
            or all(cap and needs.memory > cap for _, cap in self.nodes)
            or any(count > self.tokens[name] for name, count in needs.tokens)
        )

    def below(self, outer: Needs) -> Needs:
        """Draw needs which are met by what a task outside holds."""
        chance = self.chance
        memory = chance.randint(0, outer.memory)
        tokens = tuple((name, chance.randint(1, n)) for name, n in outer.tokens if self.hits(0.5))
        return Needs((1, 1), chance.randint(1, outer.threads), memory, tokens)
