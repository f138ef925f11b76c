"""A simulated run: the real agents, broker, scheduler and groups on a virtual clock."""

from __future__ import annotations

import random
from collections import Counter
from functools import cached_property
from itertools import pairwise

from mpipool.agent import Agent
from mpipool.broker import Broker
from mpipool.executor.process import Death
from mpipool.executor.virtual import (
    Plan,
    ScatterPlan,
    Settled,
    VirtualExecutors,
    VirtualHere,
    VirtualScript,
)
from mpipool.ganging import Ganging
from mpipool.group.invariants import check as check_scatter
from mpipool.group.scatter import MAX_LOSSES
from mpipool.ids import HERE, NO_LEASE, ExecutorId, LeaseId, Rank, ScatterId, is_own
from mpipool.led import Led
from mpipool.messages import Hello, Message
from mpipool.needs import unpack as unpack_needs
from mpipool.scheduler.cores import MAX_STACKS
from mpipool.scheduler.invariants import check as check_scheduler
from mpipool.task import DONE, FAILED, KEPT
from mpipool.transport.virtual import VirtualClock, VirtualWorld
from simulation.plans import NESTED, Planner

MAX_EVENTS = 200_000
TICK = 0.05
"""Simulated seconds between two looks of agents at what is due; they come with other events only,
so that a standstill shows."""


def outermost(held: Counter[LeaseId], above: dict[LeaseId, LeaseId]) -> int:
    """Sum up what leases hold, those below others within theirs."""
    below: dict[LeaseId, list[LeaseId]] = {}
    for lease in held:
        outer = above[lease]
        while outer in above and outer not in held:
            outer = above[outer]
        below.setdefault(outer if outer in held else NO_LEASE, []).append(lease)

    def total(lease: LeaseId) -> int:
        return max(sum(map(total, below.get(lease, ()))), held[lease])

    return total(NO_LEASE)


class Ear:
    """Tells an agent what its processes say, and the run that it was told something."""

    def __init__(self, run: SimulatedRun, agent: Agent) -> None:
        self._run, self._agent = run, agent

    @property
    def ganging(self) -> Ganging:
        self._run.stirred.add(self._agent.transport.rank)
        return self._agent.ganging

    def heard(self, executor: ExecutorId, message: Message) -> None:
        self._run.stirred.add(self._agent.transport.rank)
        self._agent.heard(executor, message)

    def ended(self, executor: ExecutorId, death: Death) -> None:
        self._run.stirred.add(self._agent.transport.rank)
        self._agent.ended(executor, death)


class SimulatedRun:
    """One run, drawn from a seed; `run` raises AssertionError if something is wrong."""

    def __init__(self, seed: int, kind: str | None = None) -> None:
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        self.planner = Planner(self.chance, kind)
        self.plan = self.planner.script()
        self.plans = self.planner.plans
        self.refusals = 0
        self.rested = False
        self.above: dict[LeaseId, LeaseId] = {}
        """The lease of the task which opened the scatter of each, as far as leaders have had them.

        Descendants may outlive a lease, and hold what is theirs within what it held."""
        self.stirred: set[int] = set()
        """Ranks where something has happened since the last check."""
        self.checked = 0
        """How many outcomes were."""
        self.world = VirtualWorld(self.planner.size, self.clock, self.chance)
        self.agents = [self._agent(rank) for rank in range(self.planner.size)]
        self.world.on_arrival = self._receive
        for agent in self.agents:
            node, memory = self._node_of(agent.transport.rank)
            hello = Hello(host=f"node{node}", pid=1, memory=memory)
            agent.transport.send(Rank(0), hello)
        root = self.agents[0]
        root.script = VirtualScript(self.clock, Ear(self, root), self.plan, self)
        self.strikes = self.chance.choice([0, 0, 1, 2])
        """Processes killed through no fault of their tasks."""
        for _ in range(self.strikes):
            self.clock.at(self.chance.uniform(0, self.expected), self._strike)

    @property
    def expected(self) -> float:
        """About how long the run takes."""
        return 1e-3 + sum(plan.seconds for plan in self.plans) / self.world.size

    @cached_property
    def broker(self) -> Broker:
        broker = self.agents[0].broker
        assert broker
        return broker

    def _node_of(self, rank: int) -> tuple[int, int]:
        for node, (ranks, memory) in enumerate(self.planner.nodes):
            if rank < ranks:
                return node, memory
            rank -= ranks
        raise AssertionError("there are fewer ranks")

    def _agent(self, rank: int) -> Agent:
        transport = self.world.transports[rank]
        broker = None
        if rank == 0:
            broker = Broker(transport, self.clock, lambda: None, self.planner.tokens)

        def executors(agent: Agent) -> VirtualExecutors:
            return VirtualExecutors(self.clock, Ear(self, agent), self.plans, self)

        def here(agent: Agent) -> VirtualHere:
            return VirtualHere(agent.executors, Ear(self, agent), Rank(rank))

        return Agent(transport, executors, self.clock, broker, here)

    def _receive(self, rank: Rank) -> None:
        agent = self.agents[rank]
        self.stirred.add(rank)
        for sender, message in agent.transport.receive():
            agent.take(sender, message)

    def _strike(self) -> None:
        pool = self.chance.choice(self.agents).executors
        assert isinstance(pool, VirtualExecutors)
        if pool.alive:
            pool.alive[self.chance.choice(sorted(pool.alive))].die(lost=True)

    # --- what tasks are told ---------------------------------------------------------------------

    def settled(self, scatter: ScatterPlan, outcomes: Settled) -> None:
        """Each task has its own result, or failed as it may."""
        if not scatter.gives_up:
            assert sorted(outcomes) == list(range(len(scatter.tasks))), "a task has no outcome"
        for index, outcome in outcomes.items():
            plan = scatter.tasks[index]
            self.checked += 1
            if outcome is None:
                assert scatter.cancels, f"task {index} was cancelled by nobody"
            elif outcome.entry.state == DONE and scatter.keeps:
                assert KEPT.unpack(outcome.result)[1] == len(plan.result), "another's was kept"
            elif outcome.entry.state == DONE:
                assert bytes(outcome.result) == plan.result, f"task {index} has another's result"
            else:
                assert outcome.entry.state == FAILED
                assert self.may_fail(plan, scatter), f"plan {plan.number} failed without cause"

    def may_fail(self, plan: Plan, scatter: ScatterPlan) -> bool:
        return (
            plan.deaths + plan.failures > scatter.retries
            or plan.losses >= MAX_LOSSES
            or (plan.raises and plan.refusals > 0)
            or plan.spoiled
        )

    def refused(self, scatter: ScatterPlan, reason: str) -> None:
        """Only what can't be is refused."""
        self.refusals += 1
        if "there are" in reason and "caches" in reason:
            assert scatter.previous
            return
        assert self.planner.kind != NESTED, f"what could be placed is refused: {reason}"
        if self.planner.can_never_be(scatter.needs):
            assert "for ever" not in reason, f"it was not refused at once: {reason}"
        assert scatter.needs.packed(), f"a scatter without needs is refused: {reason}"

    # --- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        """What holds after each event."""
        stirred, self.stirred = self.stirred, set()
        if self.broker.exit_code is None and stirred:
            if 0 in stirred:
                check_scheduler(self.broker.scheduler)
            if not self.world.under_way:
                self.check_that_leaders_are_heard()
        for rank in stirred:
            agent = self.agents[rank]
            for led in agent.leading.scatters.values():
                check_scatter(led.machine)
            self.check_member(agent)
        if self.planner.constrained and stirred:
            self.check_memory()

    def check_that_leaders_are_heard(self) -> None:
        """While no message is on its way, the scheduler knows of all that waits anywhere."""
        for agent in self.agents:
            for led in agent.leading.scatters.values():
                if not led.machine.abandoned:
                    self.check_that_it_is_heard(led)

    def check_that_it_is_heard(self, led: Led) -> None:
        demands, waiting = self.broker.scheduler.demands, led.machine.waiting
        if not len(waiting):
            return
        assert led.scatter in demands, f"nobody knows of scatter {led.scatter}"
        demand = demands[led.scatter]
        assert demand.waits or not waiting.open, f"{waiting.open} tasks wait, and nobody knows"
        here = {lease.rank for lease in led.machine.leases.values()}
        for rank in waiting.pinned:
            assert rank in here or rank in demand.pins, f"nobody knows what waits for rank {rank}"

    def check_member(self, agent: Agent) -> None:
        """A rank has few stacks, and each process is in one place."""
        member = agent.member
        standing = [(e.lease, e.executor) for stack in member.stacks for e in stack]
        assert sorted(standing) == sorted(member.entries), "an entry stands on no stack, or on two"
        busy = {executor for _, executor in standing}
        assert not busy & set(member.idle), "a busy process counts as idle"
        for stack in member.stacks:
            for below, above in pairwise(stack):
                assert below.root != above.lease, "a lease stands on itself"
        if len(member.stacks) > MAX_STACKS:
            self.check_stacks(agent)

    def check_stacks(self, agent: Agent) -> None:
        """Two stacks, two more above each gang, and tasks which must run in one process.

        There may be one more where everything waits for what others hold, or where a rank was lent
        before the broker heard of another stack; and where a task went that must run in one
        process.
        """
        member, alive = agent.member, self.alive
        gangs = sum(entry.executor == HERE for entry in member.entries.values())
        most = MAX_STACKS * (1 + gangs) + 1 + (self.planner.cached > 0)
        stacks = [
            stack
            for stack in member.stacks
            # What belongs to an abandoned scatter is just being ended.
            if any(alive.issuperset(entry.path) for entry in stack)
            and not any(member.caching.get(entry.executor) for entry in stack)
        ]
        assert len(stacks) <= most, f"rank {agent.transport.rank} has {len(stacks)} stacks"

    @property
    def alive(self) -> set[ScatterId]:
        """The scatters which were not given up."""
        return {
            scatter
            for other in self.agents
            for scatter, led in other.leading.scatters.items()
            if not led.machine.abandoned
        }

    def check_memory(self) -> None:
        """What leaders have in their hands fits on each node, by their own account.

        What a descendant holds lies within what its ancestors hold, as far as that goes.
        """
        held: dict[int, Counter[LeaseId]] = {}
        for agent in self.agents:
            for led in agent.leading.scatters.values():
                parent = led.entry.root if led.entry else NO_LEASE
                for lease in led.machine.leases:
                    if not is_own(lease):
                        self.above[lease] = parent
                needs = unpack_needs(led.opening.needs)
                for lease in led.machine.leases if needs.memory else ():
                    ranks, _ = led.cores[lease]
                    for rank in ranks if needs.in_place else ranks[:1]:
                        node, _ = self._node_of(rank)
                        held.setdefault(node, Counter())[lease] += needs.memory
        for node, leases in held.items():
            total, cap = outermost(leases, self.above), self.planner.nodes[node][1]
            assert not cap or total <= cap, f"node {node} has {cap} MiB, {total} are used"

    def check_rest(self) -> None:
        """What holds when the script has got all it wanted: nothing is left of its tasks."""
        scheduler = self.broker.scheduler
        assert not scheduler.leases, f"leases are out: {scheduler.leases}"
        assert not len(scheduler.demands), (
            f"the scheduler knows of {len(scheduler.demands)} scatters"
        )
        assert not scheduler.pins
        assert scheduler.cores.free == len(scheduler.cores) == self.planner.size
        for node in scheduler.cores.nodes:
            assert node.memory.free == node.memory.cap, f"{node.name} has promised memory"
        for store in scheduler.holdings.tokens.values():
            assert store.free == store.cap, f"{store.name} are promised"
        given_up = any(scatter.gives_up for scatter in self.planner.scatters)
        if not (self.planner.faulty or self.strikes or self.refusals or given_up):
            # Else a leader may have gone, or raised, before it knew what was kept for it.
            assert not any(len(agent.keeping) for agent in self.agents), "data are kept for nobody"
        stays = {scope.origin for scope in self.agents[0].leading._scopes.values()}
        for agent in self.agents:
            rank = agent.transport.rank
            assert not agent.leading.scatters, f"rank {rank} leads something"
            assert not agent.member.entries, f"rank {rank} has tasks"
            for executor, scopes in agent.member.caching.items():
                assert scopes <= stays, f"executor {executor} of rank {rank} keeps caches"
            self.check_processes(agent, stays)

    def check_processes(self, agent: Agent, stays: set[ScatterId]) -> None:
        pool = agent.executors
        assert isinstance(pool, VirtualExecutors)
        for executor, process in pool.alive.items():
            assert process.caches.keys() <= stays, f"{executor} keeps caches which nobody knows"
            assert executor in agent.member.idle, f"{executor} has nothing to do, nobody knows"

    def check_end(self) -> None:
        """What holds when everything is over."""
        assert self.broker.exit_code == 0, "the script never came to its end: deadlock"
        for agent in self.agents:
            assert agent.stop, f"rank {agent.transport.rank} was not told to stop"

    def run(self) -> float:
        """Run to the end, and return how long it took in simulated seconds."""
        events, ended, tick = 0, 0.0, 0.0
        while self.clock.step():
            events += 1
            assert events < MAX_EVENTS, "it goes on for ever"
            self.check()
            if self.broker.exit_code is not None and not self.rested:
                self.rested = True
                self.check_rest()
            if self.broker.exit_code is None:
                ended = self.clock.now
                if ended > tick + TICK:
                    tick = ended
                    for agent in self.agents:
                        self.stirred.add(agent.transport.rank)
                        agent.tick()
        self.check_end()
        return ended
