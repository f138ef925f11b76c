"""The agent's side of the processes below it: its guard, its executors, and the script.

Everything here reacts to descriptors which the agent's loop found ready, and blocks only when a
guard is lost or the run ends, for seconds at most.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from mpipool.executor.channel import Channel, socketpair
from mpipool.executor.cores import Share
from mpipool.executor.descendants import end_children
from mpipool.executor.environment import CGROUP, RANK, for_user_code
from mpipool.executor.memory import Excess, Memory
from mpipool.executor.output import Output, Writer
from mpipool.executor.progress import NOTHING, Progress
from mpipool.executor.watch import Watch
from mpipool.ids import ExecutorId, LeaseId
from mpipool.messages import Exited, Fork, Kill, Message, Started, TasksDone, parcels_in
from mpipool.outcomes import Outcomes

SCRIPT: Final = ExecutorId(0)
"""The id under which the script is known to its agent."""
LINES: Final = 20
"""How many different reasons for replacing processes a rank tells; more help nobody."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    reason: str
    status: int
    """As `os.waitstatus_to_exitcode` gives it."""
    stderr: str = ""
    peak: int = 0
    """Peak resident memory, KiB."""
    running: tuple[int, int, int, float] | None = None
    """Lease, chunk, task and begin of what it was running."""
    lost: bool = False
    """Not the task's fault: the guard was killed. Of the script: the launcher's process is gone."""
    starved: bool = False
    """Whether it was for want of memory."""
    left: bool = False
    """Whether it left by itself, between two tasks, as it was not fit for more."""


class Listener(Protocol):
    """Who is told what happens below: the agent."""

    def heard(self, executor: ExecutorId, message: Message) -> None:
        """Take a message of an executor or of the script."""

    def ended(self, executor: ExecutorId, death: Death) -> None:
        """Take in that a process ended; all it had sent was heard before."""


class _Executor:
    """One process, as its agent sees it."""

    def __init__(self, descriptors: Sequence[int], writer: Writer) -> None:
        end, out, err, page = descriptors
        self.channel = Channel(socket.socket(fileno=end))
        self.outputs = (Output(out, 1, writer), Output(err, 2, writer))
        self.progress = Progress(page)
        os.close(page)

    def running(self) -> tuple[int, int, int, float] | None:
        read = self.progress.read()
        return None if read[1] == NOTHING or read[3] == 0 else read

    def with_stderr(self, report: TasksDone) -> TasksDone:
        """Add to a failed task what its process has written since the last outcome."""
        errors = self.outputs[1]
        if report.failures:
            errors.drain()
            if said := errors.said():
                told = Outcomes(report.first, report.parts).told(said)
                report = replace(report, parts=told.parts)
        errors.mark()
        return report

    def close(self) -> None:
        self.channel.close()
        self.progress.close()
        for output in self.outputs:
            os.close(output.descriptor)


class _GuardChannel(Channel):
    """A channel on which many descriptors come along with messages."""

    descriptors_at_once = 64


class GuardProcess:
    """A guard, started by exec: an agent has MPI and threads and must not fork."""

    def __init__(self, watch: Watch, environment: dict[str, str], *preload: str) -> None:
        ours, theirs = socketpair()
        command = [sys.executable, "-P", "-m", "mpipool.executor.guard", str(theirs.fileno())]
        self.process = subprocess.Popen(
            [*command, *preload],
            pass_fds=[theirs.fileno()],
            env=environment,
            start_new_session=True,  # not to be hit by what a launcher sends to the agent's group
        )
        theirs.close()
        self.channel = _GuardChannel(ours)
        self._watch = watch

    def send(self, message: Message) -> None:
        """Ask the guard for something."""
        self._watch.send(self.channel, message)

    def take_descriptors(self, count: int) -> list[int]:
        """Take what came along with the message that was read first."""
        taken = self.channel.descriptors[:count]
        del self.channel.descriptors[:count]
        return taken

    def close(self) -> None:
        """Let it go: on end-of-file it ends everything below it, and itself."""
        self._watch.drop(self.channel.fileno())
        self.channel.close()

    def bury(self, spared: set[int] | None) -> None:
        """Take in that it was killed, and end what has come up from below it to this process.

        Parameters
        ----------
        spared : set of int or None
            All guards of this process; None if other children of it may be the user's.
        """
        self.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1)
        if spared is not None:
            spared.discard(self.process.pid)
            end_children(keep=spared)


class Executors:
    """The executors of one rank.

    Parameters
    ----------
    watch : Watch
        The loop's descriptors.
    listener : Listener
        Who is told what happens.
    preload : sequence of str
        Modules which the guard imports, so that its executors share them.
    spared : set of int or None
        The guards of this process, kept up to date. When one was killed, what its executors have
        left behind comes up to this process, and is ended; not if this is the user's own (None).
    cpus : Share, optional
        What they may use, if they are to be pinned.
    told : mapping, optional
        Further environment variables for them.
    """

    def __init__(
        self,
        watch: Watch,
        listener: Listener,
        preload: Sequence[str] = (),
        spared: set[int] | None = None,
        cpus: Share | None = None,
        told: Mapping[str, str] | None = None,
    ) -> None:
        self._watch = watch
        self._cpus, self._told = cpus, told or {}
        self.memory = Memory(self._told.get(CGROUP, ""))
        self._spared = spared
        self._listener = listener
        self._preload = preload
        self._writer = Writer()
        self._guard: GuardProcess | None = None
        self._executors: dict[ExecutorId, _Executor] = {}
        self._starting: dict[ExecutorId, list[Message]] = {}
        self._ending: set[ExecutorId] = set()
        """Those which were asked to end."""
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self._executors) + len(self._starting)

    def prepare(self) -> GuardProcess:
        """Have a guard, which imports what executors will need; it takes a second, perhaps."""
        if self._guard is None:
            environment = {**for_user_code(os.environ, *(self._cpus or ())), **self._told}
            self._guard = GuardProcess(self._watch, environment, *self._preload)
            self._watch.add(self._guard.channel.fileno(), self._read_guard)
            if self._spared is not None:
                self._spared.add(self._guard.process.pid)
        return self._guard

    def start(self, executor: ExecutorId) -> None:
        """Begin to start a process; messages for it wait until it is there."""
        self._starting[executor] = []
        self.prepare().send(Fork(executor=executor))

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Send a message to an executor."""
        if executor in self._starting:
            self._starting[executor].append(message)
            for parcel in parcels_in(message):
                parcel.named = True
        elif executor in self._executors:
            self._watch.send(self._executors[executor].channel, message)

    def running_since(self, executor: ExecutorId, lease: LeaseId) -> float | None:
        """Return when a task of the lease began in it (monotonic s), if one runs there."""
        running = self._running(executor)
        if running is None or running[0] != lease:
            return None
        return self._executors[executor].progress.since()

    def hold(self, executor: ExecutorId, limit: int) -> None:
        """Let an executor use so many MiB; 0 for any amount."""
        self.memory.hold(executor, limit)

    def excesses(self, busy: Iterable[ExecutorId], now: float) -> Iterator[Excess]:
        """Yield which of the executors with work use more memory than there is for them."""
        return self.memory.look(busy, self._running, now)

    def _running(self, executor: ExecutorId) -> tuple[int, int, int, float] | None:
        process = self._executors.get(executor)
        return process.running() if process else None

    def kill(self, executor: ExecutorId) -> None:
        """End a process at once."""
        self._ending.add(executor)
        if self._guard:
            self._guard.send(Kill(executor=executor))

    def end(self, executor: ExecutorId) -> None:
        """Let an idle process go: it ends when its channel is closed."""
        self._ending.add(executor)
        process = self._executors.get(executor)
        if process:
            process.channel.end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let all processes go, and pass on what they had written."""
        if self._guard is None:
            return
        self._guard.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.process.wait(timeout=5)
        self._guard = None
        self.memory.close()
        for process in self._executors.values():
            for output in process.outputs:
                output.drain()
        self._writer.finish()

    # --- what the loop finds ready ---------------------------------------------------------------

    def _read_guard(self) -> None:
        assert self._guard
        messages, alive = self._guard.channel.read()
        for message in messages:
            match message:
                case Started(executor=executor, pid=pid):
                    self._begin(ExecutorId(executor), self._guard.take_descriptors(4))
                    excused = self._executors[ExecutorId(executor)].progress.excused
                    self.memory.begin(ExecutorId(executor), pid, excused)
                case Exited(executor=executor, status=status, peak=peak):
                    self._bury(ExecutorId(executor), how_it_ended(status), status, peak)
        if not alive:
            self._lose_guard()

    def _begin(self, executor: ExecutorId, descriptors: list[int]) -> None:
        process = _Executor(descriptors, self._writer)
        self._executors[executor] = process
        self._watch.add(process.channel.fileno(), partial(self._read, executor))
        for output in process.outputs:
            self._watch.add(output.descriptor, partial(self._drain, output))
        for message in self._starting.pop(executor):
            self._watch.send(process.channel, message)
        if executor in self._ending:
            self.end(executor)

    def _read(self, executor: ExecutorId) -> None:
        process = self._executors[executor]
        messages, alive = process.channel.read()
        if not alive:  # how it ended comes from the guard
            self._watch.drop(process.channel.fileno())
        for message in messages:
            if isinstance(message, TasksDone):
                message = process.with_stderr(message)
            self._listener.heard(executor, message)

    def _drain(self, output: Output) -> None:
        if not output.drain():
            self._watch.drop(output.descriptor)

    def _bury(
        self, executor: ExecutorId, reason: str, status: int, peak: int = 0, lost: bool = False
    ) -> None:
        process = self._executors.get(executor)
        if process is None:
            return
        self._read(executor)
        for output in process.outputs:
            output.drain()
            self._watch.drop(output.descriptor)
        self._watch.drop(process.channel.fileno())
        running, (words, left) = process.running(), process.progress.last_words()
        if running and status >= 0:
            reason += " in the middle of the task"
        if words:
            reason = words if left else f"{reason}, {words}"
        stderr = process.outputs[1].tail.decode(errors="replace")
        seen, want = self.memory.end(executor)
        starved = bool(want) and status == -signal.SIGKILL and not lost
        peak, reason = max(peak, seen), want if starved else reason
        death = Death(reason, status, stderr, peak, running, lost, starved, left)
        process.close()
        del self._executors[executor]
        self._tell(executor, death)
        self._ending.discard(executor)
        self._listener.ended(executor, death)

    def _tell(self, executor: ExecutorId, death: Death) -> None:
        """Say that a process is replaced, if that is not in the record of a task."""
        expected = death.running or death.lost or executor in self._ending
        if expected or death.reason in self._said or len(self._said) > LINES:
            return
        self._said.add(death.reason)
        when = "after" if death.left else "which ended between two tasks:"
        said = f"mpipool: rank {self._told[RANK]} replaces a process {when} {death.reason}"
        print(said, file=sys.stderr, flush=True)

    def _lose_guard(self) -> None:
        """The guard was killed, and its executors with it. The next start makes another."""
        assert self._guard
        lost = self._guard
        self._guard = None
        lost.bury(self._spared)
        print("mpipool: a guard was killed; its tasks are run again", file=sys.stderr, flush=True)
        reason = "the guard of its executor was killed"
        for executor in list(self._executors):
            self._bury(executor, reason, -signal.SIGKILL, lost=True)
        for executor in list(self._starting):
            for message in self._starting.pop(executor):
                for parcel in parcels_in(message):
                    parcel.drop()
            self._listener.ended(executor, Death(reason, -signal.SIGKILL, lost=True))


def how_it_ended(status: int) -> str:
    """Say in words how a process ended."""
    if status >= 0:
        return f"its process ended with exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"its process was killed by {name}"
