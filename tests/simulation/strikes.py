"""What faults do to a simulated run, and the count of what they have struck."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Final

from mpipool.draining import Limits
from mpipool.executor.process import SCRIPT
from mpipool.executor.virtual import VirtualExecutor
from mpipool.ids import BROKER, ExecutorId
from mpipool.messages import Warned
from simulation import faults
from simulation.disk import FOREVER, MOST_FAILURES, SLOW
from simulation.faults import Fault
from simulation.states import RUNS, rank_states, run_state, task_states

if TYPE_CHECKING:
    from simulation.world import SimulatedRun

Cell = tuple[str, str]
"""A kind of fault, and a state in which it has struck."""
SLOWNESS: Final = 10.0
OF_RANKS: Final = (
    faults.GUARD, faults.SLOW, faults.FROZEN, faults.RANK, faults.DRAIN, faults.WALLTIME,
)  # fmt: skip
"""Faults which come by way of one rank."""
OF_THE_RECORDS: Final = (faults.WRITING, faults.RECORDED)
HURRIED: Final = 0.2
"""A drain of less extent leaves no time at all."""


class Strikes:
    """The faults of one session, and when they are due."""

    def __init__(self, run: SimulatedRun, due: list[Fault]) -> None:
        self.cells: Counter[Cell] = Counter()
        self._run = run
        self._counts: Counter[str] = Counter()
        self._watched = {fault.moment for fault in due}
        self._due = due
        self._pending: list[tuple[Fault, int, ExecutorId | None]] = []

    def saw(
        self, moment: str, rank: int, executor: ExecutorId | None = None, now: bool = False
    ) -> None:
        """Take in that something has happened on a rank; strike now, or after this event."""
        if moment not in self._watched:
            return
        self._counts[moment] += 1
        count = self._counts[moment]
        due = [fault for fault in self._due if (fault.moment, fault.nth) == (moment, count)]
        self._pending += [(fault, rank, executor) for fault in due]
        if now:
            self.strike()

    def strike(self) -> None:
        """Let what is due happen."""
        pending, self._pending = self._pending, []
        for fault, there, executor in pending:
            rank = self._a_leader(fault) if fault.moment in OF_THE_RECORDS else there
            if rank in self._run.killed or self._run._is_over:
                continue
            self._run.note(rank, "fault", fault)
            if fault.kind == faults.EXECUTOR:
                self._kill_one(fault, rank, executor)
            elif fault.kind in OF_RANKS:
                self._harm(fault, rank)
            else:
                self._harm_all(fault)

    def _a_leader(self, fault: Fault) -> int:
        """Choose a rank where outcomes were delivered to a task, if there is one."""
        leaders = [
            agent.transport.rank
            for agent in self._run.living
            for led in agent.leading.scatters.values()
            if led.machine.delivered and led.owner != SCRIPT
        ]
        return leaders[int(fault.extent * len(leaders))] if leaders else 0

    def _harm(self, fault: Fault, rank: int) -> None:
        run = self._run
        if fault.kind == faults.RANK:
            self._kill_rank(fault, rank)
            return
        self._count(fault, None if fault.kind in faults.OF_THE_JOB else rank)
        match fault.kind:
            case faults.GUARD:
                for process in list(run.agents[rank].executors.alive.values()):
                    process.die(lost=True)
            case faults.SLOW:
                for other in run.living:
                    if run.node_of(other.transport.rank) == run.node_of(rank):
                        other.executors.slowness = SLOWNESS
            case faults.FROZEN:
                self._freeze(rank, 10 ** (4 * fault.extent - 4))
            case _:
                self._warn(fault, rank)

    def _harm_all(self, fault: Fault) -> None:
        self._count(fault)
        disk = self._run.disk
        match fault.kind:
            case faults.FULL if disk:
                disk.failures_left = 1 + int(fault.extent * MOST_FAILURES)
            case faults.SLOW_DISK if disk:
                disk.delay = SLOW
            case faults.BROKEN if disk:
                disk.failures_left = FOREVER
            case faults.CRASH:
                raise Crash

    # --- processes -------------------------------------------------------------------------------

    def _kill_one(self, fault: Fault, rank: int, executor: ExecutorId | None) -> None:
        alive = self._run.agents[rank].executors.alive
        victim = alive[executor] if executor in alive else self._victim(fault, rank)
        if victim:
            self._count(fault, rank, victim.number)
            victim.die(killed=True)

    def _victim(self, fault: Fault, rank: int) -> VirtualExecutor | None:
        """Choose a process, one that is in the state which the fault is aimed at if there is."""
        agent = self._run.agents[rank]
        alive = agent.executors.alive
        blocked = [e.executor for e in agent.member.entries.values() if e.waits_for]
        aimed = {
            faults.IDLE: list(agent.member.idle),
            faults.BLOCKED: blocked,
            faults.RECORDED: [led.owner for led in agent.leading.scatters.values()],
            faults.DELIVERED: [led.owner for led in agent.leading.scatters.values()],
        }.get(fault.moment, [])
        numbers = [number for number in aimed if number in alive] or sorted(alive)
        return alive[numbers[int(fault.extent * len(numbers))]] if numbers else None

    def starved(self, rank: int, executor: ExecutorId) -> None:
        """Count a process which was ended for want of memory."""
        run = self._run
        states = task_states(run, rank, executor) | {RUNS, run_state(run)}
        self.cells.update(
            (faults.MEMORY, state) for state in states | rank_states(run.agents[rank])
        )

    # --- ranks -----------------------------------------------------------------------------------

    def _freeze(self, rank: int, seconds: float) -> None:
        run = self._run
        if rank in run.frozen:
            return
        run.frozen[rank] = []

        def thaw() -> None:
            for action in run.frozen.pop(rank, []):
                run.do(rank, action)

        run.clock.after(seconds, thaw)

    def _kill_rank(self, fault: Fault, rank: int) -> None:
        if rank == 0:  # it is the end of the job: see `CRASH`
            rank = 1 + int(fault.extent * (self._run.planner.size - 1))
        if rank >= self._run.planner.size or rank in self._run.world.dead:
            return
        self._count(fault, rank)
        self._run.world.kill(rank, notice=10 ** (4 * fault.extent - 4))

    def _warn(self, fault: Fault, rank: int) -> None:
        """Let the end of the job come near."""
        run = self._run
        seconds = run.expected * 4 * fault.extent**2
        draining, now = run.broker.oversight.draining, run.clock.now
        if fault.kind == faults.DRAIN:
            draining.know(Limits(grace=seconds), now, 0.0)
            warning = Warned(signal=signal.SIGTERM, hurried=fault.extent < HURRIED)
            run.agents[rank].transport.send(BROKER, warning)
        else:
            draining.know(Limits(end=seconds, grace=seconds * fault.extent), now, 0.0)

    def before_death(self, rank: int) -> None:
        """Note which tasks may count as lost, now that a rank dies."""
        run = self._run
        for agent in run.living:
            for led in agent.leading.scatters.values():
                for lease in led.machine.leases.values():
                    for chunk in lease.chunks.values() if lease.rank == rank else ():
                        for index in range(chunk.first, chunk.first + chunk.count):
                            run.plan_of(led, index).losses += 1

    # --- coverage --------------------------------------------------------------------------------

    def _count(
        self, fault: Fault, rank: int | None = None, executor: ExecutorId | None = None
    ) -> None:
        run = self._run
        run.struck.append(fault)
        states = task_states(run, rank, executor) | {run_state(run)}
        for agent in run.living if rank is None else [run.agents[rank]]:
            states |= rank_states(agent)
        self.cells.update((fault.kind, state) for state in states)


class Crash(BaseException):
    """All processes of the job end at once."""
