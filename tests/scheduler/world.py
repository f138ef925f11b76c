"""A world of leaders and ranks around a scheduler, without messages, agents or processes.

Trees of scatters are drawn from a seed. Their tasks run for a while, scatter, wait, and run on.
What a rank or a leader says arrives late, in the order in which that rank said it.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from builders import led_by
from mpipool.ids import LeaseId, Rank, ScatterId
from mpipool.needs import PLAIN, Needs
from mpipool.scheduler import (
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    RankJoined,
    Refuse,
    Scheduler,
)
from mpipool.scheduler.invariants import check

MAX_EVENTS = 20_000


# --- what is to be done ------------------------------------------------------------------------


@dataclass(eq=False)
class TaskPlan:
    """Work, then scatters which are opened together and waited for in turn, then work."""

    before: float
    scatters: list[ScatterPlan] = field(default_factory=list)
    after: float = 0.0
    pin: int | None = None


@dataclass(eq=False)
class ScatterPlan:
    needs: Needs
    tasks: list[TaskPlan]
    is_known: bool
    """Whether its tasks' durations are known."""


class Planner:
    """Draws what a run has and does.

    Once a task holds something in a *nested* plan, what it scatters needs no more than that: then
    nothing can ever wait in a circle, and nothing may be refused.
    """

    def __init__(self, chance: random.Random, nested: bool) -> None:
        self.chance = chance
        self.nested = nested
        self.nodes = [
            (chance.randint(1, 4), chance.choice([0, 8, 16])) for _ in range(chance.randint(1, 4))
        ]
        self.size = sum(ranks for ranks, _ in self.nodes)
        self.tokens = {"io": chance.randint(1, 4), "db": 1}
        self.left = 60
        """So many tasks may still be planned."""

    def script(self) -> list[ScatterPlan]:
        return [self.scatter(0, None, False) for _ in range(self.chance.randint(1, 4))]

    def scatter(self, depth: int, outer: Needs | None, in_gang: bool) -> ScatterPlan:
        needs = self.needs(outer, in_gang)
        inner = outer if needs == PLAIN else needs
        gang = in_gang or needs.in_place
        tasks = [self.task(depth, inner, gang) for _ in range(self.chance.randint(1, 6))]
        if not needs.in_place and (not outer or not needs.memory or not self.nested):
            self.pin(tasks, needs)
        return ScatterPlan(needs, tasks, self.chance.random() < 0.7)

    def pin(self, tasks: list[TaskPlan], needs: Needs) -> None:
        """Bind some tasks to ranks, in one scatter of four."""
        if self.chance.random() > 0.25 or (self.nested and needs != PLAIN):
            return
        for task in tasks:
            if self.chance.random() < 0.7:
                task.pin = self.chance.randrange(self.size)

    def task(self, depth: int, inner: Needs | None, in_gang: bool) -> TaskPlan:
        chance = self.chance
        self.left -= 1
        task = TaskPlan(chance.lognormvariate(-2, 1.5), after=chance.choice([0.0, chance.random()]))
        if depth < 3 and self.left > 0 and chance.random() < 0.5:
            number = chance.choice([1, 1, 1, 2, 3])
            task.scatters = [self.scatter(depth + 1, inner, in_gang) for _ in range(number)]
        return task

    def needs(self, outer: Needs | None, in_gang: bool) -> Needs:
        if self.chance.random() < 0.35:
            return PLAIN
        if outer and self.nested:
            return self.below(outer)
        drawn = self.any_needs()
        if self.nested and in_gang:
            return PLAIN
        return drawn

    def any_needs(self) -> Needs:
        chance = self.chance
        memory = chance.choice([0, 0, chance.randint(1, 8)])
        tokens = (("io", chance.randint(1, self.tokens["io"])),) if chance.random() < 0.2 else ()
        if chance.random() < 0.1:
            tokens = (("db", 1), *tokens)
        if chance.random() < 0.3:
            fewest = chance.randint(1, self.size)
            memory = memory and min(memory, 2)
            return Needs((fewest, chance.randint(fewest, self.size)), 1, memory, tokens, True)
        threads = chance.choice([1, 1, chance.randint(1, max(ranks for ranks, _ in self.nodes))])
        return Needs((1, 1), threads, memory, tokens)

    def below(self, outer: Needs) -> Needs:
        """Draw needs which are met by what a task outside holds."""
        chance = self.chance
        memory = chance.randint(0, outer.memory)
        tokens = tuple(
            (name, chance.randint(1, n)) for name, n in outer.tokens if chance.random() < 0.5
        )
        return Needs((1, 1), chance.randint(1, outer.threads), memory, tokens)


# --- the world ---------------------------------------------------------------------------------


@dataclass(eq=False)
class Running:
    """A task under way."""

    plan: TaskPlan
    lease: LeaseId
    rank: int
    of: Leader
    opened: list[Leader] = field(default_factory=list)
    waits_for: ScatterId | None = None


@dataclass(eq=False)
class Leader:
    """One scatter, at its leader."""

    plan: ScatterPlan
    scatter: ScatterId
    path: tuple[ScatterId, ...]
    rank: int
    owner: Running | None
    queue: deque[TaskPlan]
    pinned: dict[int, deque[TaskPlan]]
    believed: int = 0
    running: int = 0
    leases: dict[LeaseId, float] = field(default_factory=dict)
    refused: bool = False
    closed: bool = False

    @property
    def complete(self) -> bool:
        return not self.queue and not self.pinned and not self.running

    def has_pin(self, rank: int) -> bool:
        return any(task.pin == rank for task in self.plan.tasks)

    @property
    def seconds(self) -> float:
        if not self.plan.is_known:
            return 0.0
        return sum(task.before + task.after for task in self.queue)


class World:
    """One run; `run` raises AssertionError if something is wrong."""

    def __init__(self, seed: int, nested: bool) -> None:
        self.chance = random.Random(seed)
        planner = Planner(self.chance, nested)
        self.plan = planner.script()
        self.nodes = planner.nodes
        self.size = planner.size
        self.tokens = planner.tokens
        self.scheduler = Scheduler(self.size, planner.tokens)
        self.scheduler.spots.spares_root = seed % 2 == 1
        self.now = 0.0
        self.serial = count(1)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.heard: dict[int, float] = {}
        """Of each rank, when the last thing it said arrives."""
        self.leaders: dict[ScatterId, Leader] = {}
        self.stacks: dict[int, list[list[Running]]] = {rank: [] for rank in range(self.size)}
        self.reported: dict[int, tuple[frozenset, tuple]] = {}
        self.said: dict[int, tuple[frozenset, tuple]] = {}
        """What each rank said last, as far as it has arrived."""
        self.out: dict[LeaseId, tuple[int, ...]] = {}
        self.refusals: list[Refuse] = []
        self.started = self.ended = 0
        self.node_of = [n for n, (ranks, _) in enumerate(self.nodes) for _ in range(ranks)]
        self.latency = self.chance.choice([0.0, 1e-4, 1e-2])

    # --- time and messages ----------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay, next(self.serial), action))

    def tell(self, sender: int, event: Event) -> None:
        """Let an event reach the scheduler after what the same rank said before."""
        arrives = max(self.heard.get(sender, 0.0), self.now + self.latency * self.chance.random())
        self.heard[sender] = arrives
        heapq.heappush(self.events, (arrives, next(self.serial), lambda: self.hear(event)))

    def hear(self, event: Event) -> None:
        match event:
            case CoreBlocked(rank, leases, tops):
                self.said[rank] = (leases, tops)
            case LeaseReturned(lease):
                del self.out[lease]
        for command in self.scheduler.handle(event, self.now):
            match command:
                case Grant():
                    self.check_grant(command)
                    self.out[command.lease] = command.ranks or (command.rank,)
                    self.at(self.latency * self.chance.random(), lambda c=command: self.lent(c))
                case Refuse():
                    self.refusals.append(command)
                    self.at(self.latency * self.chance.random(), lambda c=command: self.give_up(c))
        check(self.scheduler)
        self.check_promises()

    def run(self) -> None:
        ranks = [*range(self.size)]
        self.chance.shuffle(ranks)
        for rank in ranks:
            node = self.node_of[rank]
            self.at(
                self.chance.choice([0.0, 0.3]) * self.chance.random(),
                lambda r=rank, n=node: self.hear(RankJoined(Rank(r), f"n{n}", self.nodes[n][1])),
            )
        self.script = [self.open(plan, None, 0, ()) for plan in self.plan]
        for _ in range(MAX_EVENTS):
            if not self.events:
                break
            self.now, _, action = heapq.heappop(self.events)
            action()
        else:
            raise AssertionError("it goes on for ever")
        self.check_end()

    # --- leaders --------------------------------------------------------------------------------

    def open(self, plan: ScatterPlan, owner: Running | None, rank: int, above: tuple) -> Leader:
        scatter = led_by(rank, next(self.serial))
        queue = deque(task for task in plan.tasks if task.pin is None)
        pinned: dict[int, deque[TaskPlan]] = {}
        for task in plan.tasks:
            if task.pin is not None:
                pinned.setdefault(task.pin, deque()).append(task)
        leader = Leader(plan, scatter, (*above, scatter), rank, owner, queue, pinned)
        self.leaders[scatter] = leader
        self.report(leader, True)
        return leader

    def report(self, leader: Leader, always: bool = False) -> None:
        """Say what waits if the scheduler reckons with less, or with something where nothing is."""
        queued = len(leader.queue)
        if leader.complete and not leader.leases and not leader.closed:
            leader.closed = True
        elif not always and queued <= leader.believed and (queued or not leader.believed):
            return
        leader.believed = queued
        self.tell(
            leader.rank,
            DemandChanged(
                leader.scatter, leader.path, queued, leader.seconds, leader.closed,
                leader.plan.needs, self.pins(leader), leader.owner and leader.owner.lease,
            ),
        )  # fmt: skip

    def pins(self, leader: Leader) -> tuple[Rank, ...]:
        return tuple(map(Rank, leader.pinned))

    def lent(self, grant: Grant) -> None:
        leader = self.leaders[grant.scatter]
        leader.leases[grant.lease] = self.now + grant.quantum
        leader.believed = max(leader.believed - 1, 0)
        self.supply(leader, grant.lease, grant.rank)

    def supply(self, leader: Leader, lease: LeaseId, rank: int) -> None:
        """Start the next task under a lease, or return it."""
        task = None
        if rank in leader.pinned:
            task = leader.pinned[rank].popleft()
            if not leader.pinned[rank]:
                del leader.pinned[rank]
        elif leader.queue and self.now <= leader.leases[lease]:
            task = leader.queue.popleft()
        if task:
            self.start(Running(task, lease, rank, leader))
        else:
            del leader.leases[lease]
            leader.believed = len(leader.queue)
            self.tell(
                leader.rank,
                LeaseReturned(lease, len(leader.queue), leader.seconds, self.pins(leader)),
            )
        self.report(leader)

    def give_up(self, refuse: Refuse) -> None:
        leader = self.leaders[refuse.scatter]
        leader.refused = True
        leader.queue.clear()
        leader.pinned.clear()
        self.report(leader)
        self.completed(leader)

    def completed(self, leader: Leader) -> None:
        if leader.complete and leader.owner:
            self.go_on(leader.owner)

    # --- tasks ----------------------------------------------------------------------------------

    def start(self, run: Running) -> None:
        self.started += 1
        run.of.running += 1
        for stack in self.stacks[run.rank]:
            if stack[-1].waits_for in run.of.path:
                stack.append(run)
                break
        else:
            self.stacks[run.rank].append([run])
        self.at(run.plan.before, lambda: self.scatters(run))

    def scatters(self, run: Running) -> None:
        run.opened = [self.open(plan, run, run.rank, run.of.path) for plan in run.plan.scatters]
        self.go_on(run)

    def go_on(self, run: Running) -> None:
        """Wait for the next scatter which is not complete, or finish."""
        run.waits_for = None
        for leader in run.opened:
            if not leader.complete:
                run.waits_for = leader.scatter
                break
        self.tell_what_is_blocked(run.rank)
        if run.waits_for is None:
            self.at(run.plan.after, lambda: self.finish(run))

    def finish(self, run: Running) -> None:
        self.ended += 1
        run.of.running -= 1
        stacks = self.stacks[run.rank]
        for stack in stacks:
            if run in stack:
                stack.remove(run)
        self.stacks[run.rank] = [stack for stack in stacks if stack]
        self.tell_what_is_blocked(run.rank)
        self.supply(run.of, run.lease, run.rank)
        self.completed(run.of)

    def tell_what_is_blocked(self, rank: int) -> None:
        runs = [run for stack in self.stacks[rank] for run in stack]
        leases = frozenset(run.lease for run in runs if run.waits_for)
        tops = tuple(stack[-1].waits_for for stack in self.stacks[rank] if stack[-1].waits_for)
        report = (leases, tops if leases else ())
        if report != self.reported.get(rank, (frozenset(), ())):
            self.reported[rank] = report
            self.tell(rank, CoreBlocked(Rank(rank), *report))

    # --- what must hold -------------------------------------------------------------------------

    def lineage(self, leader: Leader) -> Iterator[LeaseId]:
        while leader.owner:
            yield leader.owner.lease
            leader = leader.owner.of

    def check_grant(self, grant: Grant) -> None:
        """By the world's own account, its ranks run nothing, and are in no foreign gang."""
        leader = self.leaders[grant.scatter]
        needs = leader.plan.needs
        ranks = grant.ranks or (grant.rank,)
        assert ranks[0] == grant.rank
        assert len(set(ranks)) == len(ranks)
        if needs.in_place:
            assert needs.ranks[0] <= len(ranks) <= needs.ranks[1]
        else:
            assert len(ranks) == needs.threads
            assert len({self.node_of[rank] for rank in ranks}) == 1
        for lease, where in self.out.items():
            if set(where) & set(ranks):
                blocked, _ = self.said.get(where[0], (frozenset(), ()))
                assert lease in blocked, f"{grant} goes to a rank which runs lease {lease}"
                if self.is_gang(lease) and not leader.has_pin(grant.rank):
                    lineage = list(self.lineage(leader))
                    # An ancestor which came onto the seat by a pin may have tasks there too.
                    guest = any(
                        above > lease and self.out[above][0] == grant.rank for above in lineage
                    )
                    assert guest or lease in lineage, f"{grant} disturbs gang {lease}"
                    assert not needs.in_place

    def check_promises(self) -> None:
        """What descendants need above what their ancestors hold fits too, on each node."""
        for number, (_, memory) in enumerate(self.nodes):
            if memory:
                held = {
                    lease: self.needs_of(lease).memory * self.ranks_on(lease, number)
                    for lease in self.out
                }
                assert self.outermost(held) <= memory, f"node {number} has promised too much"
        for name, cap in self.tokens.items():
            held = {lease: dict(self.needs_of(lease).tokens).get(name, 0) for lease in self.out}
            assert self.outermost(held) <= cap, f"more than {cap} of {name} are promised"

    def outermost(self, held: dict[LeaseId, int]) -> int:
        """Sum up what leases hold, those below others within what these hold."""
        below: dict[LeaseId | None, list[LeaseId]] = {}
        for lease in held:
            owner = self.leaders[self.scheduler.leases[lease].scatter].owner
            below.setdefault(owner and owner.lease, []).append(lease)

        def total(lease: LeaseId | None) -> int:
            inner = sum(total(each) for each in below.get(lease, ()))
            return max(inner, held.get(lease, 0))

        return total(None)

    def needs_of(self, lease: LeaseId) -> Needs:
        return self.leaders[self.scheduler.leases[lease].scatter].plan.needs

    def ranks_on(self, lease: LeaseId, node: int) -> int:
        ranks = self.out[lease] if self.is_gang(lease) else self.out[lease][:1]
        return sum(self.node_of[rank] == node for rank in ranks)

    def is_gang(self, lease: LeaseId) -> bool:
        return self.needs_of(lease).in_place

    def check_end(self) -> None:
        assert all(leader.complete for leader in self.leaders.values()), "it came to a standstill"
        assert self.started == self.ended
        assert not self.out
        assert not self.scheduler.leases
        assert not len(self.scheduler.demands)
        assert not self.scheduler.pins
        assert not self.scheduler.demands.gangs
        assert self.scheduler.cores.free == self.size
        assert not self.scheduler.cores.common.under
        for node in self.scheduler.cores.nodes:
            assert node.memory.free == node.memory.cap
            assert not node.memory.parts
        for store in self.scheduler.holdings.tokens.values():
            assert store.free == store.cap
            assert not store.parts
