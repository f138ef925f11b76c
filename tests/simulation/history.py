"""A simulated run from its first session to the one which completes it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections import Counter, deque
from pathlib import Path
from typing import Final

from simulation.cases import Case
from simulation.disk import Disk
from simulation.faults import BROKEN, DRAIN, SLOW, WALLTIME
from simulation.strikes import Cell, Crash
from simulation.world import SimulatedRun

MOST_SESSIONS: Final = 8
RESUMABLE: Final = 75
"""The exit code of a run which has drained."""
STUCK: Final = 1
"""Its exit code where tasks of a gang can't be ended."""
ROOT_WAITS: Final = "rank 0: its task of a gang does not end"
FAILED_ALONE: Final = "a task of a gang raised"
IN_MEMORY: Final = Path("/dev/shm")


class History:
    """All sessions of one case; `run` raises AssertionError if something is wrong.

    Attributes
    ----------
    sessions : list of SimulatedRun
        The sessions, the last one complete.
    """

    def __init__(self, case: Case, trace: deque[str] | None = None) -> None:
        self.case = case
        self.sessions: list[SimulatedRun] = []
        self._trace = trace

    def run(self) -> History:
        """Run until a session completes the run."""
        folder = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
        said = io.StringIO()
        with (
            tempfile.TemporaryDirectory(prefix="simulated-", dir=folder) as made,
            contextlib.redirect_stderr(said),
        ):
            disk = Disk(Path(made), self.case.chance("disk")) if self.case.recorded else None
            while self._session(disk) != 0:
                if len(self.sessions) == MOST_SESSIONS:
                    raise AssertionError(f"no session completes it: {said.getvalue()}")
        return self

    def _session(self, disk: Disk | None) -> int | None:
        """Run a session; return its exit code, or None if it crashed."""
        run = SimulatedRun(self.case, len(self.sessions), disk, self._trace)
        self.sessions.append(run)
        try:
            code: int | None = run.run()
        except Crash:
            code = None
        if code:
            assert may_end_with(code, run), f"the run ended with code {code}"
        assert not run.order.wrong, run.order.wrong
        if disk:
            disk.power_fails()
            disk.check(results_of(run))
        return code

    @property
    def checked(self) -> int:
        """How many outcomes were checked."""
        return sum(run.checked for run in self.sessions)

    @property
    def cells(self) -> Counter[Cell]:
        """In which states faults have struck."""
        return sum((run.strikes.cells for run in self.sessions), Counter())

    @property
    def causes(self) -> Counter[str]:
        """For what causes cores were idle."""
        return sum((run.checks.causes for run in self.sessions), Counter())


def may_end_with(code: int, run: SimulatedRun) -> bool:
    """Whether what has struck a run explains its exit code."""
    struck = {fault.kind for fault in run.struck}
    if code == RESUMABLE:
        return bool(struck & {DRAIN, WALLTIME})
    return BROKEN in struck or (code == STUCK and _a_gang_is_stuck(run, struck))


def _a_gang_is_stuck(run: SimulatedRun, struck: set[str]) -> bool:
    """Whether a task of a gang could not be waited for, and the run had to end for it.

    Either rank 0 itself waits in one for a rank which is dead; or one has failed, and the others,
    on nodes which are slow, have not ended theirs in time.
    """
    told = run.agents[0].stop
    said = told.stuck if told else ""
    if said.startswith(ROOT_WAITS):
        gone = {int(rank) for rank in re.findall(r"\d+", said.partition("waits for rank")[2])}
        return bool(gone) and gone <= run.world.dead
    return FAILED_ALONE in said and SLOW in struck


def results_of(run: SimulatedRun) -> dict[bytes, bytes]:
    """Return what each task with a key returns."""
    return {
        scatter.key(index): plan.result
        for scatter in run.planner.scatters
        if scatter.keyed
        for index, plan in enumerate(scatter.tasks)
    }
