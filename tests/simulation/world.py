"""A session of a simulated run: the real agents, broker and groups on a virtual clock."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property, partial

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
    unpack,
)
from mpipool.ganging import Ganging
from mpipool.group.scatter import MAX_LOSSES
from mpipool.ids import BROKER, ExecutorId, LeaseId, Rank
from mpipool.led import Led
from mpipool.messages import Hello, Lend, Message, Refuse, RunTasks, Shun, Stop, TasksDone
from mpipool.node import Node
from mpipool.task import DONE, FAILED, KEPT, STARVED, cut_key
from mpipool.transport.virtual import VirtualClock, VirtualWorld
from simulation import faults, strikes
from simulation.cases import Case
from simulation.checks import Checks
from simulation.disk import Disk
from simulation.order import Order
from simulation.plans import NESTED
from simulation.states import rank_states

MAX_EVENTS = 200_000
TICK = 0.05
"""Simulated seconds between two looks of agents at what is due; they come with other events only,
so that a standstill shows."""
LAST_TICKS = 0.01
"""Likewise while the run ends, when they come by themselves."""


class Ear:
    """Tells an agent what its processes say, and the run that it was told something."""

    def __init__(self, run: SimulatedRun, agent: Agent) -> None:
        self._run, self._agent = run, agent
        self._rank = agent.transport.rank

    @property
    def ganging(self) -> Ganging:
        self._run.stirred.add(self._rank)
        return self._agent.ganging

    def heard(self, executor: ExecutorId, message: Message) -> None:
        self._run.tell(self._rank, f"process {executor}", message, executor)

    def ended(self, executor: ExecutorId, death: Death) -> None:
        def action() -> None:
            if death.starved:
                self._run.strikes.starved(self._rank, executor)
            self._agent.ended(executor, death)

        self._run.do(self._rank, action)


class SimulatedRun:
    """One session; `run` raises AssertionError if something is wrong.

    Parameters
    ----------
    case : Case
        What it is drawn from.
    session : int
        0 for the first one; later ones resume what was done before.
    disk : Disk or None
        Where the checkpoint is.
    trace : deque, optional
        Is given a line about each message.
    """

    def __init__(
        self, case: Case, session: int = 0, disk: Disk | None = None, trace: deque | None = None
    ) -> None:
        self.case, self.session, self.disk, self.trace = case, session, disk, trace
        self.chance = case.chance(f"run {session}")
        self.clock = VirtualClock()
        self.planner = case.planner()
        self.plan, self.plans = self.planner.plan, self.planner.plans
        self.checkpoint = disk.path if disk else ""
        self.refusals = 0
        self.struck: list[faults.Fault] = []
        self.rested = False
        self.stirred: set[int] = set()
        """Ranks where something has happened since the last check."""
        self.checked = 0
        """How many outcomes were."""
        self.arrived: set[tuple[LeaseId, int]] = set()
        """Chunks which have come to their ranks."""
        self.reporters: dict[tuple[LeaseId, int], ExecutorId] = {}
        """Which process has reported tasks of a chunk last."""
        self.frozen: dict[int, list[Callable[[], None]]] = {}
        """Ranks which do nothing now, and what they will hear when they wake."""
        self.killed: set[int] = set()
        self.hopeless = False
        """Whether some task can't have the memory which it needs."""
        self.shunned: set[int] = set()
        """Ranks in quarantine."""
        self._states: dict[int, frozenset[str]] = {}
        self._left: set[int] = set()
        delay = self.chance.choice([1e-5, 1e-4, 1e-4, 1e-2])
        self.world = VirtualWorld(self.planner.size, self.clock, self.chance, delay)
        self.strikes = strikes.Strikes(self, [f for f in case.faults() if f.session == session])
        self.checks = Checks(self)
        self.order = Order(self.planner.scatters)
        self.agents = [self._agent(rank) for rank in range(self.planner.size)]
        self.world.on_arrival = self._receive
        self._begin()

    def _begin(self) -> None:
        for agent in self.agents:
            node, memory = self.node_of(agent.transport.rank)
            hello = Hello(host=f"node{node}", pid=1, memory=memory)
            agent.transport.send(BROKER, hello)
        root = self.agents[0]
        root.script = VirtualScript(self.clock, Ear(self, root), self.plan, self)
        if self.disk:
            self.disk.on_write = partial(self.strikes.saw, faults.WRITING, 0, now=True)
            self.disk.on_commit = self._recorded

    def _recorded(self, keys: set[bytes]) -> None:
        assert self.disk
        self.order.committed(keys, self.disk.durable)
        self.strikes.saw(faults.RECORDED, 0)

    @cached_property
    def broker(self) -> Broker:
        broker = self.agents[0].broker
        assert broker
        return broker

    @property
    def living(self) -> list[Agent]:
        """The agents which were not killed."""
        return [agent for agent in self.agents if agent.transport.rank not in self.killed]

    @property
    def expected(self) -> float:
        """About how long the run takes, seconds."""
        return 1e-3 + sum(plan.seconds for plan in self.plans) / self.world.size

    def node_of(self, rank: int) -> tuple[int, int]:
        for node, (ranks, memory) in enumerate(self.planner.nodes):
            if rank < ranks:
                return node, memory
            rank -= ranks
        raise AssertionError("there are fewer ranks")

    def _agent(self, rank: int) -> Agent:
        transport = self.world.transports[rank]
        broker = None
        if rank == 0:
            recorder = {"open_recorder": self.disk.recorder_on(self.clock)} if self.disk else {}
            broker = Broker(transport, self.clock, self._wake, self.planner.tokens, **recorder)

        def executors(agent: Agent) -> VirtualExecutors:
            return VirtualExecutors(self.clock, Ear(self, agent), self.plans, self)

        def here(agent: Agent) -> VirtualHere:
            return VirtualHere(agent.executors, Ear(self, agent), Rank(rank))

        number, memory = self.node_of(rank)
        node = Node(memory, self.planner.nodes[number][0])
        return Agent(transport, executors, self.clock, broker, here, node)

    # --- what ranks hear -------------------------------------------------------------------------

    def do(self, rank: int, action: Callable[[], None]) -> None:
        """Do something on a rank: now, or when it is not frozen any more, or never."""
        if rank in self.frozen:
            self.frozen[rank].append(action)
        elif rank not in self.killed:
            self.stirred.add(rank)
            action()

    def tell(self, rank: int, sender: str, message: Message, executor: ExecutorId) -> None:
        """Tell an agent what one of its processes says."""

        def action() -> None:
            self.note(rank, sender, message)
            if isinstance(message, TasksDone) and message.count:
                self.reporters[message.lease, message.chunk] = executor
                self.strikes.saw(faults.REPORTED, rank, executor)
            self.agents[rank].heard(executor, message)

        self.do(rank, action)

    def _receive(self, rank: Rank) -> None:
        self.do(rank, lambda: self._take_all(rank))

    def _take_all(self, rank: Rank) -> None:
        agent = self.agents[rank]
        for sender, message in agent.transport.receive():
            self.note(rank, f"rank {sender}", message)
            self._look_at(rank, sender, message)
            agent.take(sender, message)
        if agent.transport.lost:
            agent.tick()

    def _look_at(self, rank: Rank, sender: Rank, message: Message) -> None:
        match message:
            case Lend():
                self.checks.lent(message)
            case RunTasks(lease=lease, chunk=chunk):
                self.checks.given(sender, message)
                self.arrived.add((lease, chunk))
                self.strikes.saw(faults.GIVEN, rank)
            case TasksDone() if message.count:
                self.strikes.saw(faults.DELIVERED, rank)
            case Refuse(scatter=scatter):
                led = self.agents[rank].leading.scatters.get(scatter)
                self.hopeless |= led is not None and led.origin is not None
            case Shun(rank=shunned):
                self.shunned.add(shunned)
            case Hello():
                self.strikes.saw(faults.STARTING, rank)
            case Stop():
                self.strikes.saw(faults.ENDING_RUN, rank)

    def note(self, rank: int, sender: str, message: object) -> None:
        """Keep what happens for whoever looks for the cause of a failure."""
        if self.trace is not None:
            said = described(message) if isinstance(message, Message) else str(message)
            self.trace.append(f"{self.clock.now:12.6f} rank {rank} <- {sender}: {said}")

    def _wake(self) -> None:
        self.clock.after(0.0, lambda: self.do(0, self.agents[0].tick))

    def bury(self) -> None:
        """Take out the ranks which have died, whoever has killed them."""
        for agent in self.living:
            rank = agent.transport.rank
            if agent.outcast:
                self.world.kill(rank)
            if rank in self.world.dead:
                self.strikes.before_death(rank)
                self.killed.add(rank)
                self.shunned.discard(rank)
                self.frozen.pop(rank, None)
                agent.executors.close()

    # --- what tasks are told ---------------------------------------------------------------------

    def settled(self, scatter: ScatterPlan, outcomes: Settled) -> None:
        """Each task has its own result, or failed as it may."""
        self.order.settled(scatter, outcomes)
        for index, outcome in outcomes.items():
            plan = scatter.tasks[index]
            self.checked += 1
            if outcome is None:
                assert scatter.cancels, f"task {index} was cancelled by nobody"
            elif outcome.entry.state == DONE and scatter.keeps:
                assert KEPT.unpack(outcome.result)[1] == len(plan.result), "another's was kept"
            elif outcome.entry.state == DONE:
                assert bytes(outcome.result) == plan.result, f"task {index} has another's result"
            elif outcome.entry.state == STARVED:
                assert self.may_starve(plan), f"plan {plan.number} can have the memory it needs"
            else:
                assert outcome.entry.state == FAILED
                assert self.may_fail(plan, scatter), f"plan {plan.number} failed without cause"

    def all_settled(self, scatter: ScatterPlan, indices: set[int]) -> None:
        """Each task has an outcome, of this session or an earlier one."""
        if not scatter.gives_up:
            assert indices == set(range(len(scatter.tasks))), "a task has no outcome"

    def may_fail(self, plan: Plan, scatter: ScatterPlan) -> bool:
        return (
            plan.deaths + plan.failures + plan.kills > scatter.retries
            or plan.losses >= MAX_LOSSES
            or (plan.raises and plan.refusals > 0)
            or plan.spoiled
        )

    def may_starve(self, plan: Plan) -> bool:
        caps = [memory for _, memory in self.planner.nodes if memory]
        too_much = bool(caps) and plan.memory > min(caps)
        return any(plan.starved.values()) and (too_much or self.hopeless)

    def refused(self, scatter: ScatterPlan, reason: str) -> None:
        """Only what can't be is refused."""
        self.refusals += 1
        if "there are" in reason and "caches" in reason:
            assert scatter.previous
            return
        assert scatter.needs.packed(), f"a scatter without needs is refused: {reason}"
        if self.world.dead:
            return  # there is less than there was
        assert self.planner.kind != NESTED, f"what could be placed is refused: {reason}"
        if self.planner.can_never_be(scatter.needs):
            assert "for ever" not in reason, f"it was not refused at once: {reason}"

    def safe_of(self, scatter: ScatterPlan) -> set[int]:
        assert self.disk
        indices = range(len(scatter.tasks))
        return {index for index in indices if scatter.key(index) in self.disk.safe}

    def found(self, scatter: ScatterPlan, results: dict[int, bytes], safe: set[int]) -> None:
        """What was done before is not done again, and what is found is right."""
        assert self.disk
        for index, plan in enumerate(scatter.tasks):
            key = scatter.key(index)
            if index in results:
                assert key in self.disk.durable, f"task {index} is found, and was not committed"
                assert results[index] == plan.result, f"another's result is found for {index}"
            else:
                assert index not in safe, f"task {index} was done, and is done again"

    def is_safe(self, key: bytes) -> None:
        """What was recorded before a question is on disk when that is answered."""
        assert self.disk
        assert key in self.disk.durable, "an answer came before what was to be on disk"
        self.disk.safe.add(key)

    def bereft(self) -> None:
        """Kept data are gone, which can only be with their rank."""
        assert self.world.dead, "kept data are gone, and their rank is there"

    def unanswered(self) -> None:
        """The checkpoint can't be asked, which only a broken disk explains."""
        assert any(fault.kind == faults.BROKEN for fault in self.struck), "nobody answers"

    def plan_of(self, led: Led, index: int) -> Plan:
        """Return the plan of a task which was not delivered yet."""
        _, item = led.backlog.cut(index, 1)
        packed = memoryview(bytes(item))
        return self.plans[unpack(cut_key(packed)[1] if led.opening.keyed else packed).plan]

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end, and return the exit code.

        Raises
        ------
        strikes.Crash
            If the job dies.
        """
        events, tick = 0, 0.0
        while not self._is_over and self.clock.step():
            events += 1
            assert events < MAX_EVENTS, "it goes on for ever"
            self.strikes.saw(faults.STEP, events % self.planner.size)
            if self.broker.oversight.draining.reason:
                self.strikes.saw(faults.DRAINING, events % self.planner.size)
            self._watch_states()
            self.checks.check()
            self.strikes.strike()
            self.bury()
            if self.broker.exit_code is not None and not self.rested:
                self.rested = True
                self._end()
            elif self.broker.exit_code is None and self.clock.now > tick + TICK:
                tick = self.clock.now
                self._tick()
        self.checks.check_end()
        assert self.broker.exit_code is not None
        return self.broker.exit_code

    def _watch_states(self) -> None:
        for rank in self.stirred:
            if rank in self.killed:
                continue
            states = rank_states(self.agents[rank])
            for state in states - self._states.get(rank, frozenset()):
                self.strikes.saw(state, rank)
            self._states[rank] = states

    def _tick(self) -> None:
        for agent in self.living:
            self.do(agent.transport.rank, agent.tick)

    def _end(self) -> None:
        if self.broker.exit_code == 0:
            self.checks.check_rest()
        self._go_on_ending()

    def _go_on_ending(self) -> None:
        """Do what the loop does while the run ends."""
        for agent in self.living:
            self.do(agent.transport.rank, partial(self._leave, agent))
        if not self._is_over:
            self.clock.after(LAST_TICKS, self._go_on_ending)

    def _leave(self, agent: Agent) -> None:
        agent.tick()
        if agent.may_leave and agent.transport.rank not in self._left:
            self._left.add(agent.transport.rank)
            agent.say_goodbye()

    @property
    def _is_over(self) -> bool:
        return self.rested and all(agent.released for agent in self.living)

    def counts(self) -> Counter[str]:
        """Return what idle cores were for."""
        return self.checks.causes


def described(message: Message) -> str:
    """Write a message in short: without its parts, and without what is empty."""
    facts = [
        f"{field.name}={value.hex()[:6] if isinstance(value, bytes) else value}"
        for field in fields(message)
        if field.name != "parts" and (value := getattr(message, field.name))
    ]
    return f"{type(message).__name__}({', '.join(facts)})"
