"""Faults: what strikes a simulated run, and at which moment of the run's own events."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

EXECUTOR: Final = "executor"
"""An executor is killed from outside; its agent blames the running task."""
GUARD: Final = "guard"
"""A guard dies, and with it all executors of its rank at once."""
SLOW: Final = "slow node"
"""A node computes ten times as slowly from now on."""
FROZEN: Final = "frozen rank"
"""A rank does nothing for a while: it hears nobody, and nobody hears it."""
FULL: Final = "full disk"
"""Commits fail for a while."""
SLOW_DISK: Final = "slow disk"
"""A commit takes two seconds."""
BROKEN: Final = "broken disk"
"""No commit succeeds any more: the run ends, and is begun again."""
CRASH: Final = "crash"
"""All processes of the job end at once; the run is begun again."""

RANK: Final = "rank"
"""A rank dies, and all its processes; the others notice it some time later."""

DRAIN: Final = "drain"
"""A rank gets a SIGTERM, with more or less time left."""
WALLTIME: Final = "walltime"
"""It becomes known when the job will end."""

MEMORY: Final = "memory"
"""A process is killed since its task uses more memory than it may: the plans say where."""

DRAWN: Final = (
    EXECUTOR, GUARD, RANK, SLOW, FROZEN, FULL, SLOW_DISK, BROKEN, DRAIN, WALLTIME, CRASH,
)  # fmt: skip
KINDS: Final = (*DRAWN, MEMORY)
OF_THE_DISK: Final = (FULL, SLOW_DISK, BROKEN)
OF_THE_JOB: Final = (DRAIN, WALLTIME)

STEP: Final = "step"
"""Anything happens."""
STARTING: Final = "starting"
"""A rank joins."""
DRAINING: Final = "draining"
"""Anything happens while the run drains."""
ENDING_RUN: Final = "ending"
"""A rank is told that the run ends."""
GIVEN: Final = "given"
"""A rank is given tasks."""
REPORTED: Final = "reported"
"""A process reports tasks; its leader does not know yet."""
DELIVERED: Final = "delivered"
"""A leader takes in outcomes; their records are not on disk yet."""
WRITING: Final = "writing"
"""Records are being written; the transaction is not committed yet."""
RECORDED: Final = "recorded"
"""Records are on disk."""

IDLE: Final = "idle"
RUNNING: Final = "running"
BLOCKED: Final = "blocked leader"
ENTERING: Final = "entering a gang"
IN_GANG: Final = "in a gang"
SECOND: Final = "second stack"
RANK_STATES: Final = (IDLE, RUNNING, BLOCKED, ENTERING, IN_GANG, SECOND)
"""What a rank does; it may be in several at once."""

MOMENTS: Final = (
    STEP, STARTING, GIVEN, REPORTED, DELIVERED, WRITING, RECORDED, IDLE, RUNNING,
    BLOCKED,
)  # fmt: skip


class Fault(NamedTuple):
    """One fault, and when it strikes."""

    number: int
    kind: str
    moment: str
    """It strikes when this happens,"""
    nth: int
    """for so many times"""
    session: int
    """in this session of the run: 0 is the first one."""
    extent: float
    """Between 0 and 1: how bad it is."""

    @property
    def name(self) -> str:
        """What `Case.without` calls it."""
        return f"f{self.number}"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.kind} at {self.moment!r} number {self.nth} of session "
            f"{self.session}, extent {self.extent:.2f}"
        )


RARE: Final = (ENTERING, IN_GANG, SECOND, ENDING_RUN)
"""Moments of which there are few in a run, if any."""


def draw(chance: random.Random, recorded: bool) -> list[Fault]:
    """Draw the faults of a run, which has a checkpoint or not."""
    kinds = [kind for kind in DRAWN if recorded or kind not in OF_THE_DISK]
    drawn: list[Fault] = []
    for _ in range(chance.choice([0, 1, 2, 3, 4, 6])):
        kind, session = chance.choice(kinds), chance.choice([0, 0, 0, 1, 2])
        moment = chance.choice(MOMENTS + 3 * RARE)
        drawn.append(_fault(chance, len(drawn), (kind, moment, session)))
        if kind == DRAIN and chance.random() < 0.7:
            struck = (chance.choice(kinds), DRAINING, session)
            drawn.append(_fault(chance, len(drawn), struck))
    return drawn


def _fault(chance: random.Random, number: int, what: tuple[str, str, int]) -> Fault:
    kind, moment, session = what
    most = 0.4 if moment in RARE else chance.choice([1.0, 2.5])
    return Fault(number, kind, moment, int(10 ** chance.uniform(0, most)), session, chance.random())
