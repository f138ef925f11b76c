"""A simulated run: the real agents, broker, scheduler and groups on a virtual clock."""

from __future__ import annotations

import random
from itertools import pairwise

from mpipool.agent import Agent
from mpipool.broker import Broker
from mpipool.executor.virtual import Plan, VirtualExecutors, VirtualScript
from mpipool.group.invariants import check as check_scatter
from mpipool.ids import Rank
from mpipool.messages import Hello
from mpipool.scheduler.cores import MAX_STACKS
from mpipool.scheduler.invariants import check as check_scheduler
from mpipool.task import DONE, FAILED, Outcome
from mpipool.transport.virtual import VirtualClock, VirtualWorld
from simulation.plans import Planner

MAX_EVENTS = 200_000


class SimulatedRun:
    """One run, drawn from a seed; `run` raises AssertionError if something is wrong."""

    def __init__(self, seed: int, ranks: int | None = None) -> None:
        self.chance = random.Random(seed)
        self.clock = VirtualClock()
        planner = Planner(self.chance)
        self.plan = planner.script()
        self.plans = planner.plans
        self.may_fail = {
            plan.number for plan in self.plans if plan.deaths + plan.failures > planner.retries
        }
        size = ranks or self.chance.choice([1, 1, 2, 3, 4, 7, 16])
        self.world = VirtualWorld(size, self.clock, self.chance)
        self.agents = [self._agent(rank) for rank in range(size)]
        self.world.on_arrival = self._receive
        for agent in self.agents:
            agent.transport.send(Rank(0), Hello(host="simulated", pid=1, memory=0))
        root = self.agents[0]
        root.script = VirtualScript(self.clock, root, self.plan, self.check_results)
        self.strikes = self.chance.choice([0, 0, 1, 2])
        """Processes killed through no fault of their tasks; a third loss would be a failure."""
        for _ in range(self.strikes):
            self.clock.at(self.chance.uniform(0, self.expected), self._strike)

    @property
    def expected(self) -> float:
        """About how long the run takes."""
        return 1e-3 + sum(plan.seconds for plan in self.plans) / self.world.size

    def _agent(self, rank: int) -> Agent:
        transport = self.world.transports[rank]
        broker = Broker(transport, self.clock, lambda: None) if rank == 0 else None

        def executors(agent: Agent) -> VirtualExecutors:
            return VirtualExecutors(self.clock, agent, self.plans, self.check_results)

        return Agent(transport, executors, self.clock, broker)

    def _receive(self, rank: Rank) -> None:
        agent = self.agents[rank]
        for sender, message in agent.transport.receive():
            agent.take(sender, message)

    def _strike(self) -> None:
        pool = self.chance.choice(self.agents).executors
        assert isinstance(pool, VirtualExecutors)
        if pool.alive:
            pool.alive[self.chance.choice(sorted(pool.alive))].die(lost=True)

    # --- what must hold --------------------------------------------------------------------------

    def check_results(self, scatter: list[Plan], settled: dict[int, Outcome]) -> None:
        """Each task has its own result, or failed as it may."""
        assert sorted(settled) == list(range(len(scatter))), "a task has no outcome"
        for index, plan in enumerate(scatter):
            outcome = settled[index]
            if outcome.entry.state == DONE:
                assert bytes(outcome.result) == plan.result, f"task {index} has another's result"
            else:
                assert outcome.entry.state == FAILED
                assert plan.number in self.may_fail, f"plan {plan.number} failed without cause"

    def check(self) -> None:
        """What holds after each event."""
        broker = self.agents[0].broker
        assert broker
        if broker.exit_code is None:
            check_scheduler(broker.scheduler)
            if not self.world.under_way:
                self.check_work_conservation(broker)
        for agent in self.agents:
            for led in agent.leading.scatters.values():
                check_scatter(led.machine)
            self.check_member(agent)

    def check_work_conservation(self, broker: Broker) -> None:
        """While no message is on its way, no core is free for a task that waits anywhere."""
        for agent in self.agents:
            for led in agent.leading.scatters.values():
                if led.machine.waiting.open:
                    rank = broker.scheduler.cores.choose(led.path, agent.transport.rank)
                    assert rank is None, f"rank {rank} idles while {led.machine.waiting.open} tasks wait"

    def check_member(self, agent: Agent) -> None:
        """A rank has two stacks at most, and each process is in one place."""
        member = agent.member
        alive = {
            scatter
            for other in self.agents
            for scatter, led in other.leading.scatters.items()
            if not led.machine.abandoned
        }
        stacks = [
            stack for stack in member.stacks if any(alive.issuperset(e.path) for e in stack)
        ]  # what belongs to an abandoned scatter is just being ended
        assert len(stacks) <= MAX_STACKS, f"rank {agent.transport.rank} has more stacks"
        standing = [(e.lease, e.executor) for stack in member.stacks for e in stack]
        assert sorted(standing) == sorted(member.entries), "an entry stands on no stack, or on two"
        busy = {executor for _, executor in standing}
        assert not busy & set(member.idle), "a busy process counts as idle"
        for stack in member.stacks:
            for below, above in pairwise(stack):
                assert below.root != above.lease, "a lease stands on itself"

    def check_end(self) -> None:
        """What holds when everything is over."""
        broker = self.agents[0].broker
        assert broker
        assert broker.exit_code == 0, "the script never came to its end: deadlock"
        for agent in self.agents:
            assert agent.stop, f"rank {agent.transport.rank} was not told to stop"

    def run(self) -> float:
        """Run to the end, and return how long it took in simulated seconds."""
        broker = self.agents[0].broker
        assert broker
        events, ended = 0, 0.0
        while self.clock.step():
            events += 1
            assert events < MAX_EVENTS, "it goes on for ever"
            self.check()
            if broker.exit_code is None or not ended:
                ended = self.clock.now
        self.check_end()
        return ended
