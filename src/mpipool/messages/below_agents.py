"""The messages which pass only between an agent and the processes below it."""

from __future__ import annotations

from typing import Final

from mpipool.ids import NO_LEASE, NO_SCATTER, LeaseId, ScatterId
from mpipool.messages.message import Message, message


@message
class Open(Message):
    """Caller to agent: a scatter begins. Parts: what its tasks share (JSON), function."""

    request: int
    digest: bytes
    stage: str
    retries: int
    recorded: bool
    keyed: bool
    lease: LeaseId = NO_LEASE
    """Under which the calling task runs; 0 for the script."""
    within: ScatterId = NO_SCATTER
    """The scatter of the calling task; 0 for the script."""
    task: int = 0
    """The calling task's index in that."""
    needs: str = ""
    """As `needs.Needs.packed` writes them."""
    context: str = ""
    """To which the caches of its tasks belong."""
    previous: bool = False
    """Whether its tasks go on with the caches which the last scatter of the context has left."""
    watched: bool = False
    """Whether the caller wants to hear which tasks have begun."""
    keep: bool = False
    """Whether results stay where they are made."""
    mean: float = 0.0
    """Seconds which its tasks are expected to take, from an earlier run; 0 if nothing is known."""


@message
class Items(Message):
    """Caller to agent: the next items of its scatter.

    Parts: sizes; where they are known, expected seconds (doubles, -1 for unknown), the ranks where
    their data are (64 bits each, -1 for none), and perhaps the MiB which they need (likewise, 0 for
    unknown), or empty strings; items.
    """

    request: int
    last: bool


@message
class Results(Message):
    """Agent to caller: tasks of its scatter reached their final state. Parts: as in TasksDone."""

    request: int
    first: int
    count: int


@message
class Abandon(Message):
    """Caller to agent: drop the scatter; nobody waits for it."""

    request: int


@message
class Wait(Message):
    """Caller to agent: this process waits until something comes of the scatter: take its core."""

    request: int


@message
class Resume(Message):
    """Caller to agent: this process goes on, although the scatter is not complete."""

    request: int


@message
class Began(Message):
    """Agent to caller: these tasks were given to a rank. Only if the scatter is `Open.watched`."""

    request: int
    first: int
    count: int


@message
class Cancel(Message):
    """Caller to agent: drop those of these tasks which were not given to a rank yet."""

    request: int
    first: int
    count: int


@message
class Cancelled(Message):
    """Agent to caller: the answer to `Cancel`."""

    request: int
    tasks: tuple[int, ...]
    """Those which were dropped."""


@message
class Skip(Message):
    """Caller to agent: the next task of its scatter never runs. Parts: its details."""

    request: int


@message
class Refused(Message):
    """Agent to caller: the scatter can never run; it is dropped."""

    request: int
    reason: str


@message
class Halted(Message):
    """Agent to caller: the run drains, and those tasks which have no outcome get none."""

    request: int
    interrupted: int
    """How many of them had begun."""
    reason: str
    exit_code: int
    """With which the script is to exit."""


@message
class LetGo(Message):
    """Caller to agent: the caches which this task has had made are needed no more."""

    within: ScatterId
    """As in `Open`."""
    task: int
    context: str


@message
class Keep(Message):
    """Caller to agent: keep these data here; answered by `Fetched`. Parts: the data."""

    request: int


@message
class Shared(Message):
    """Either to the other: this memory is for parcels from here. It comes as file descriptors."""


@message
class Piece(Message):
    """Either to the other: the next piece of a parcel lies in the shared memory."""

    parcel: int
    """Its number on this link."""
    slot: int
    size: int


@message
class Leave(Message):
    """Script to agent: the script is over."""

    exit_code: int


@message
class Fork(Message):
    """Agent to guard: fork an executor."""

    executor: int


@message
class Run(Message):
    """Agent to guard: run the script. Parts: its arguments, one each."""

    executor: int


@message
class Kill(Message):
    """Agent to guard: end the process at once, with what it has started."""

    executor: int


@message
class Started(Message):
    """Guard to agent: the process runs. Its sockets come along as file descriptors."""

    executor: int
    pid: int


@message
class Exited(Message):
    """Guard to agent: the process ended."""

    executor: int
    status: int
    """As `os.waitstatus_to_exitcode` gives it: negative for a signal."""
    peak: int
    """Peak resident memory, KiB."""


LOCAL_MESSAGES: Final[tuple[type[Message], ...]] = (
    Open, Items, Results, Abandon, Wait, Resume, Began, Cancel, Cancelled, Skip, Refused, Halted,
    LetGo, Keep, Shared, Piece,
    Leave, Fork, Run, Kill, Started, Exited,
)  # fmt: skip
