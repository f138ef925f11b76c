"""What can go wrong, split by whose fault it was.

Every error holds its facts as attributes, says one sentence with what was wrong, where, and what
to do, and survives pickling (a test round-trips each class).
"""

from __future__ import annotations

from typing import ClassVar


class MpipoolError(Exception):
    """Anything that mpipool itself reports. Catch this to catch them all."""


class UsageError(MpipoolError, ValueError):
    """The call or the command line makes no sense; nothing was started."""


class UnpicklableError(MpipoolError, TypeError):
    """A function, an argument or a result can't be sent to another process.

    Attributes
    ----------
    what : str
        Which object, for example ``"the item of task 3 of measure"`` or ``"the result"``.
    reason : str
        What the pickler said.
    path : str
        How to get from there to the object at fault, for example ``"result.catalog._lock"``;
        empty where it was not found.
    kind : str
        The type of the object at fault.
    """

    def __init__(self, what: str, reason: str, path: str = "", kind: str = "") -> None:
        super().__init__(what, reason, path, kind)
        self.what, self.reason, self.path, self.kind = what, reason, path, kind

    def __str__(self) -> str:
        fault = f" (at fault is {self.path}, of type {self.kind})" if self.path else ""
        return f"{self.what} can't be sent to another process: {self.reason}{fault}"


class TaskError(MpipoolError):
    """A task failed for good, in a way that left no exception of its own.

    Attributes
    ----------
    task : str
        Which task: its stage and data ID, or its index in the scatter.
    reason : str
        What happened to it.
    stderr : str
        The end of what its executor wrote to standard error.
    """

    def __init__(self, task: str, reason: str, stderr: str = "") -> None:
        super().__init__(task, reason, stderr)
        self.task, self.reason, self.stderr = task, reason, stderr

    def __str__(self) -> str:
        tail = f"\n--- end of its standard error ---\n{self.stderr}" if self.stderr else ""
        return f"{self.task}: {self.reason}{tail}"


class ExecutorDied(TaskError):
    """The process that ran the task ended: a signal, ``os._exit``, the kernel's memory killer."""


class MemoryExceeded(ExecutorDied):
    """The process that ran the task was ended for want of memory, by mpipool or by the kernel.

    Attributes
    ----------
    peak : int
        MiB which the task was seen to use.
    """

    def __init__(self, task: str, reason: str, stderr: str = "", peak: int = 0) -> None:
        super().__init__(task, f"{reason} (peak {peak} MiB)", stderr)
        self.args = (task, reason, stderr, peak)
        self.peak = peak


class Blocked(TaskError):
    """A task was not run, since another failed which it waited for; that is the ``__cause__``."""


class Drained(MpipoolError, SystemExit):
    """The run drains, so that tasks for which a call waits are not run in it any more.

    It is a `SystemExit`: where nothing catches it, the script ends with its exit code and without a
    traceback. What is done is recorded; the same command goes on from there.

    Attributes
    ----------
    call : str
        Which call.
    reason : str
        Why the run drains: a signal, the walltime, too many failures.
    done : int
        How many tasks of the call are over.
    interrupted : int
        How many were ended in the middle.
    left : int
        How many had not begun.
    code : int
        The exit code: 75 if the same command is to go on, 1 after too many failures.
    """

    EXIT_CODE: ClassVar[int] = 75
    code: int

    def __init__(
        self,
        call: str,
        reason: str,
        done: int = 0,
        interrupted: int = 0,
        left: int = 0,
        code: int = EXIT_CODE,
    ) -> None:
        super().__init__(call, reason, done, interrupted, left, code)
        self.call, self.reason, self.code = call, reason, code
        self.done, self.interrupted, self.left = done, interrupted, left

    def __str__(self) -> str:
        return (
            f"{self.call}: the run drains ({self.reason}): {self.done} tasks are over, "
            f"{self.interrupted} were interrupted, {self.left} not begun; exit code {self.code}"
        )


class RemoteTraceback(Exception):
    """Carries the text of a traceback from another process, as the ``__cause__`` of its error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


class WorldLost(MpipoolError):
    """The agent went away: the job is being killed, or rank 0's agent died."""


class CheckpointError(MpipoolError):
    """The run database can't be used. Nothing was changed in it.

    Attributes
    ----------
    path : str
        The database.
    reason : str
        What is wrong with it, and what to do.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class CheckpointLocked(CheckpointError):
    """Another live run holds the database."""


class CheckpointMismatch(CheckpointError):
    """The database was made with another configuration."""


class LockLost(CheckpointError):
    """Another run took the database over: this one stops without writing."""


class InvalidEvent(MpipoolError):
    """A state machine was given an event that is not legal in its state: a bug in mpipool.

    Attributes
    ----------
    machine, event, reason : str
        Where, what came, and why it can't be.
    """

    def __init__(self, machine: str, event: str, reason: str) -> None:
        super().__init__(machine, event, reason)
        self.machine, self.event, self.reason = machine, event, reason

    def __str__(self) -> str:
        return f"{self.machine} can't take {self.event}: {self.reason}"
