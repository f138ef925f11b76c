"""Keeping a process as it was for the next task: undoing what one has changed, ending what it left.

What can't be undone or ended spoils the process: it leaves as soon as no task needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mpipool.executor.function import Function
from mpipool.executor.remains import Remains
from mpipool.executor.surroundings import NOTICEABLE, Surroundings


class Tidying:
    """Puts a process in order between tasks.

    Parameters
    ----------
    remains : Remains, optional
        What tasks leave behind; None if the process is not only theirs, and so can't leave.
    """

    def __init__(self, remains: Remains | None) -> None:
        self._home = Surroundings()
        self._remains = remains
        self._depth = 0
        """How many tasks wait below the one that runs."""
        self.spoiled: list[str] = []
        """Why the process is not fit for further tasks."""
        self._told: set[str] = set()

    @property
    def leaves(self) -> str:
        """Why the process is to leave now; empty if it is not, or must not."""
        return "" if self._depth or not self._remains else "; ".join(self.spoiled)

    @property
    def has_channel(self) -> bool:
        """Whether no task has closed the channel."""
        return self._remains is None or self._remains.has_channel

    def keep_settings(self) -> None:
        """Let settings stay as they are now."""
        self._home.take_over()

    def keep(self) -> None:
        """Let stay what is so now: what the import of a task's module has done."""
        self._home.take_over()
        if self._remains:
            self._remains.take_over()

    def after_task(self, function: Function, wall: float) -> None:
        """Undo what is looked at after each task, and end the processes that it has started.

        Parameters
        ----------
        function : Function
            What it has called.
        wall : float
            How long it took, in seconds. A process can't be started in less than `NOTICEABLE`.
        """
        if self._remains and wall > NOTICEABLE:
            self._tell(function.name, self._remains.end_processes())
        self._undo(self._home)

    def look(self) -> bool:
        """Undo what takes longer to look at; return whether there was something to undo."""
        changed, failed = self._home.restore_the_rest()
        opened, lasting = self._remains.lasting() if self._remains else (False, [])
        self._spoil(*failed, *lasting)
        return changed or opened

    @contextmanager
    def above(self) -> Iterator[None]:
        """Have everything as between tasks; afterwards, as the task that waits has made it."""
        here = Surroundings()
        self._undo(self._home)
        self._depth += 1
        with self._remains.above() if self._remains else nullcontext():
            yield
        self._depth -= 1
        self._undo(here)
        self._spoil(*here.restore_the_rest()[1])

    def _undo(self, before: Surroundings) -> None:
        try:
            before.restore()
        except Exception as error:
            self._spoil(f"what it changed can't be undone ({error})")

    def _spoil(self, *reasons: str) -> None:
        if reasons:
            self.spoiled = list(dict.fromkeys((*self.spoiled, *reasons)))

    def _tell(self, name: str, ended: list[str]) -> None:
        if ended and name not in self._told:
            self._told.add(name)
            processes = ", ".join(sorted(set(ended)))
            said = f"mpipool: {name} left processes running, which were ended: {processes}"
            print(said, file=sys.stderr, flush=True)
