"""Running jobs and looking at their processes, from outside: what a user or an operator would see.

Every process of a job inherits a token in its environment, and all are found by it in ``/proc``,
whatever session or process group they have moved to. Only what carries a token made here is ever
killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "MPIPOOL_TEST_TOKEN"
TIMEOUT = 60.0
"""Seconds after which a job counts as hung. Generous: the machine is shared."""
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process of a job."""

    pid: int
    parent: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    def has(self, *words: str) -> bool:
        """Whether each of the words is an argument of its command."""
        return all(word in self.command for word in words)

    @property
    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return sum(map(int, _stat(self.pid)[11:13])) / TICK

    @property
    def is_mpiexec(self) -> bool:
        return any(Path(word).name in {"mpiexec", "prterun"} for word in self.command[:2])

    @property
    def is_agent(self) -> bool:
        return self.has("mpipool.agent_main") and not (self.is_mpiexec or self.is_supervisor)

    @property
    def is_supervisor(self) -> bool:
        """Whether it stands between MPICH's launcher and an agent."""
        return any(word.endswith("mpipool/supervisor.py") for word in self.command)

    @property
    def is_guard(self) -> bool:
        """Whether it is a guard or one of its forks, which have the same command."""
        return self.has("mpipool.executor.guard")

    @property
    def rank(self) -> int | None:
        """Which rank the launcher said it is."""
        for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK"):
            if name in self.environment:
                return int(self.environment[name])
        return None


@dataclass
class Mpi:
    """One MPI: its launcher, the Python that goes with it, and what it wants in the environment."""

    name: str
    mpiexec: str
    python: str
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    def command(self, ranks: int, *arguments: str | os.PathLike[str]) -> list[str]:
        """Script mode: ``mpiexec -n N python script.py``."""
        return [self.mpiexec, "-n", str(ranks), self.python, *map(str, arguments)]

    def driver(self, ranks: int, *arguments: str | os.PathLike[str]) -> list[str]:
        """Driver mode: what a console script turns into through `mpipool.enter`."""
        agent = ("-P", "-m", "mpipool.agent_main", "--run", self.python)
        return self.command(ranks, *agent, *arguments)

    def run(self, ranks: int, *arguments: str | os.PathLike[str]) -> list[str]:
        """``mpipool run -n N``, with its options and the script."""
        verb = [str(Path(self.python).parent / "mpipool"), "run", "-n", str(ranks)]
        return [*verb, *map(str, arguments)]


class Job:
    """A command in a session of its own, and everything that it starts.

    Leaving the ``with`` block kills what is left of it.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] = os.environ,
        cwd: Path | None = None,
    ) -> None:
        self.token = uuid.uuid4().hex
        self._process = subprocess.Popen(
            command,
            env={**environment, TOKEN: self.token},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether its command has not ended."""
        return self._process.poll() is None

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def finish(self, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Wait for its end; a job which hangs is killed and reported with what it printed."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            alive = [f"{p.pid} {' '.join(p.command)[:150]}" for p in self.processes()]
            self.clear()
            out, err = self._process.communicate()
            told = [*alive, "-- out", out[-3000:], "-- err", err[-3000:]]
            raise AssertionError("\n".join(["the job hangs", *told])) from None
        return subprocess.CompletedProcess(self._process.args, self._process.returncode, out, err)

    def processes(self) -> list[Process]:
        """All of its processes which live now, by pid."""
        return sorted(_carrying(self.token), key=lambda process: process.pid)

    def executors(self) -> list[Process]:
        """Guards' forks: where tasks run."""
        alive = self.processes()
        guards = {process.pid for process in alive if process.is_guard}
        return [process for process in alive if process.is_guard and process.parent in guards]

    def guards(self) -> list[Process]:
        alive = self.processes()
        guards = {process.pid for process in alive if process.is_guard}
        return [process for process in alive if process.is_guard and process.parent not in guards]

    def agents(self) -> list[Process]:
        return [process for process in self.processes() if process.is_agent]

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so; the job must not end before."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if self._process.poll() is not None and not condition():
                out, err = self._process.communicate()
                raise AssertionError(f"the job ended before {what}\n{out[-2000:]}\n{err[-3000:]}")
            assert time.monotonic() < deadline, f"waited in vain until {what}"
            time.sleep(0.01)

    def all_gone_within(self, seconds: float) -> list[Process]:
        """Wait until none of its processes is left; return those which still are."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            self._process.poll()
            time.sleep(0.05)
        return left

    def clear(self) -> None:
        """Kill what carries the token, until nothing does."""
        deadline = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < deadline:
            for process in left:
                kill(process.pid)
            self._process.poll()
            time.sleep(0.02)


def run(
    command: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a job to its end, and insist that it leaves no process behind."""
    with Job(command, environment, cwd) as job:
        done = job.finish(timeout)
        left = job.all_gone_within(5)
        assert not left, f"left over: {left}"
    return done


def kill(pid: int) -> None:
    """SIGKILL; no matter if it is gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _carrying(token: str) -> list[Process]:
    entry = f"{TOKEN}={token}"
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            if entry not in environment.split("\0"):
                continue
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            state, parent = _stat(int(pid))[:2]
            if state not in "ZX":
                variables = dict(
                    line.split("=", 1) for line in environment.split("\0") if "=" in line
                )
                words = tuple(command.rstrip("\0").split("\0"))
                found.append(Process(int(pid), int(parent), words, variables))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, the state first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
