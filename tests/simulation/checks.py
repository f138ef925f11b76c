"""What must hold after each event of a simulated run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mpipool.agent import Agent
from mpipool.executor.process import SCRIPT
from mpipool.group.invariants import check as check_scatter
from mpipool.ids import HERE, NO_LEASE, LeaseId, Rank, ScatterId, is_own
from mpipool.led import Led
from mpipool.messages import Lend, RunTasks
from mpipool.needs import unpack as unpack_needs
from mpipool.scheduler.cores import MAX_STACKS
from mpipool.scheduler.invariants import check as check_scheduler
from simulation.causes import causes_of_idle_cores
from simulation.needed import check_needs
from simulation.places import check_places

if TYPE_CHECKING:
    from simulation.world import SimulatedRun

QUIET: Final = 5e-5
"""Seconds. If so long nothing happens, no message between an agent and a process is under way."""


class Checks:
    """The invariants of one session."""

    def __init__(self, run: SimulatedRun) -> None:
        self.causes: Counter[str] = Counter()
        """At how many quiet moments a core was idle for what cause."""
        self._run = run
        self._lent: set[LeaseId] = set()
        self._above: dict[LeaseId, LeaseId] = {}
        """The lease of the task which opened the scatter of each, as far as leaders have had them.

        Descendants may outlive a lease, and hold what is theirs within what it held."""

    def lent(self, lend: Lend) -> None:
        """No lease is used twice, and its leader knows all ranks of it."""
        assert lend.lease not in self._lent, f"lease {lend.lease} was lent before"
        self._lent.add(lend.lease)
        scheduler = self._run.broker.scheduler
        if lend.lease in scheduler.leases:
            ranks = scheduler.cores.ranks_of(lend.lease, lend.rank)
            assert ranks == (lend.ranks or (lend.rank,)), f"lease {lend.lease} is on {ranks}"

    def given(self, leader: Rank, chunk: RunTasks) -> None:
        """Tasks get as many cores as they need."""
        led = self._run.agents[leader].leading.scatters.get(chunk.scatter)
        needs, cores = unpack_needs(led.needs if led else b""), len(chunk.cores)
        assert len(set(chunk.cores)) == cores, f"{chunk.cores} has a rank twice"
        if needs.in_place:
            fewest, most = needs.ranks
            assert fewest <= cores <= most, f"a gang of {fewest} to {most} ranks has {cores}"
        elif needs.threads > 1:
            assert cores == needs.threads, f"a task needs {needs.threads} cores, and has {cores}"

    def check(self) -> None:
        """What holds after each event."""
        run = self._run
        stirred, run.stirred = run.stirred, set()
        if not stirred:
            return
        assert not run.order.wrong, run.order.wrong
        if run.broker.exit_code is None:
            if 0 in stirred:
                check_scheduler(run.broker.scheduler)
            if not (run.world.under_way or run.frozen) and self._all_know_of_the_dead():
                self._check_quiet_moment()
        for rank in stirred - run.killed:
            agent = run.agents[rank]
            for led in agent.leading.scatters.values():
                check_scatter(led.machine)
            self._check_member(agent)
        if run.planner.constrained:
            self._check_memory()

    def _all_know_of_the_dead(self) -> bool:
        dead = self._run.world.dead
        return all(dead <= agent.transport.gone for agent in self._run.living)

    def _check_quiet_moment(self) -> None:
        """While no message is on its way, the scheduler knows of all that waits anywhere."""
        run = self._run
        for agent in run.living:
            for led in agent.leading.scatters.values():
                if not led.machine.complete:
                    self._check_that_it_is_heard(led)
        if run.clock.pause > QUIET:
            check_places(run)
            check_needs(run)
            self.causes.update(causes_of_idle_cores(run).values())

    def _check_that_it_is_heard(self, led: Led) -> None:
        demands, waiting = self._run.broker.scheduler.demands, led.machine.waiting
        if not len(waiting):
            return
        assert led.scatter in demands, f"nobody knows of scatter {led.scatter}"
        demand = demands[led.scatter]
        if demand.refused:
            return
        assert demand.waits or not waiting.open, f"{waiting.open} tasks wait, and nobody knows"
        here = {lease.rank for lease in led.machine.leases.values()}
        for rank in waiting.pinned:
            assert rank in here or rank in demand.pins, f"nobody knows what waits for rank {rank}"

    def _check_member(self, agent: Agent) -> None:
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
            self._check_stacks(agent)

    def _check_stacks(self, agent: Agent) -> None:
        """Two stacks, two more above each gang, and tasks which must run in one process.

        There may be one more where everything waits for what others hold, or where a rank was lent
        before the broker heard of another stack; and where a task went that must run in one
        process.
        """
        member, alive = agent.member, self._scatters
        gangs = sum(entry.executor == HERE for entry in member.entries.values())
        most = MAX_STACKS * (1 + gangs) + 1 + (self._run.planner.cached > 0)
        stacks = [
            stack
            for stack in member.stacks
            # What belongs to an abandoned scatter is just being ended.
            if any(alive.issuperset(entry.path) for entry in stack)
            and not any(member.caching.get(entry.executor) for entry in stack)
        ]
        assert len(stacks) <= most, f"rank {agent.transport.rank} has {len(stacks)} stacks"

    @property
    def _scatters(self) -> set[ScatterId]:
        """The scatters which were not given up."""
        return {
            scatter
            for agent in self._run.living
            for scatter, led in agent.leading.scatters.items()
            if not led.machine.abandoned
        }

    def _check_memory(self) -> None:
        """What leaders have in their hands fits on each node, by their own account.

        What a descendant holds lies within what its ancestors hold, as far as that goes.
        """
        run = self._run
        held: dict[int, Counter[LeaseId]] = {}
        for agent in run.living:
            for led in agent.leading.scatters.values():
                parent = led.entry.root if led.entry else NO_LEASE
                for lease in led.machine.leases:
                    if not is_own(lease):
                        self._above[lease] = parent
                needs = unpack_needs(led.needs)
                for lease in led.machine.leases if needs.memory else ():
                    ranks, *_ = led.cores[lease]
                    for rank in ranks if needs.in_place else ranks[:1]:
                        node, _ = run.node_of(rank)
                        held.setdefault(node, Counter())[lease] += needs.memory
        for node, leases in held.items():
            total, cap = outermost(leases, self._above), run.planner.nodes[node][1]
            assert not cap or total <= cap, f"node {node} has {cap} MiB, {total} are used"

    # --- the end ---------------------------------------------------------------------------------

    def check_rest(self) -> None:
        """What holds when the script has got all it wanted: nothing is left of its tasks."""
        run = self._run
        if not self._all_know_of_the_dead():
            return
        scheduler = run.broker.scheduler
        assert not scheduler.leases, f"leases are out: {scheduler.leases}"
        assert not len(scheduler.demands), f"{len(scheduler.demands)} scatters are known"
        assert not scheduler.pins
        in_quarantine = [rank for rank in run.shunned if scheduler.cores.is_gone(Rank(rank))]
        assert scheduler.cores.free == len(scheduler.cores) == len(run.living) - len(in_quarantine)
        for node in scheduler.cores.nodes:
            assert node.memory.free == node.memory.cap, f"{node.name} has promised memory"
        for store in scheduler.holdings.tokens.values():
            assert store.free == store.cap, f"{store.name} are promised"
        self._check_keeping()
        stays = {scope.origin for scope in run.agents[0].leading._scopes.values()}
        for agent in run.living:
            rank = agent.transport.rank
            assert not agent.leading.scatters, f"rank {rank} leads something"
            assert not agent.member.entries, f"rank {rank} has tasks"
            for executor, scopes in agent.member.caching.items():
                assert scopes <= stays, f"executor {executor} of rank {rank} keeps caches"
            self._check_processes(agent, stays)
            self._check_caches(agent)

    def _check_caches(self, agent: Agent) -> None:
        """Only what the script has had made may be kept for somebody."""
        for owner, *_ in agent.leading._scopes:
            assert owner[0] == SCRIPT, f"caches are kept for a task that has ended: {owner}"

    def _check_keeping(self) -> None:
        run = self._run
        given_up = any(scatter.gives_up for scatter in run.planner.scatters)
        if not (run.planner.faulty or run.struck or run.refusals or given_up):
            # Else a leader may have gone, or raised, before it knew what was kept for it.
            assert not any(len(agent.keeping) for agent in run.agents), "data are kept for nobody"

    def _check_processes(self, agent: Agent, stays: set[ScatterId]) -> None:
        for executor, process in agent.executors.alive.items():
            assert process.caches.keys() <= stays, f"{executor} keeps caches which nobody knows"
            assert executor in agent.member.idle, f"{executor} has nothing to do, nobody knows"

    def check_end(self) -> None:
        """What holds when everything is over."""
        run = self._run
        assert run.broker.exit_code is not None, "the script never came to its end: deadlock"
        for agent in run.living:
            assert agent.released, f"rank {agent.transport.rank} has not left"


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
