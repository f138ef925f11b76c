"""What the leader of a scatter is told, and what it decides."""

from __future__ import annotations

from mpipool.ids import ANY_EXECUTOR, ChunkId, ExecutorId, LeaseId, Rank
from mpipool.values import value

Pin = tuple[int, Rank, ExecutorId]
"""A task, and where its cache is."""


More = tuple[int, int]
"""A task, and how many MiB it is to have."""


@value
class Extended:
    """More items came in, or the last ones."""

    count: int
    size: int
    """Bytes of these items together."""
    last: bool
    costs: tuple[float, ...] = ()
    """Expected seconds of each, if they are known."""
    homes: tuple[int, ...] = ()
    """The rank which keeps the data of each, -1 for none; empty if none has any."""
    pins: tuple[Pin, ...] = ()
    """Those which must go to the process that holds their cache."""
    starved: tuple[More, ...] = ()
    """Those which are known to need more memory than the others have."""


@value
class Lent:
    """A rank is there to work on the scatter."""

    lease: LeaseId
    rank: Rank
    quantum: float
    """Seconds after which it gets no new tasks."""


@value
class Done:
    """A member reports tasks of a chunk."""

    lease: LeaseId
    chunk: ChunkId
    first: int
    count: int
    back: int = 0
    """So many tasks at the end of the chunk come back unstarted."""
    failed: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    redo: tuple[int, ...] = ()
    busy: float = 0.0
    """Seconds which the tasks took together."""
    leave: bool = False
    """The member wants no more tasks under this lease."""
    gone: bool = False
    """What comes back has lost its caches, and may go anywhere."""
    pins: tuple[Pin, ...] = ()
    """Where caches of the ended tasks are: those which are tried again must go there."""
    interrupted: tuple[int, ...] = ()
    """Those which were ended from outside."""
    starved: tuple[More, ...] = ()
    """Those which lacked memory, and may have more."""


@value
class Cancelled:
    """Nobody waits for these tasks any more; those which were not given out are to be dropped."""

    first: int
    count: int


@value
class Joined:
    """A task of another scatter is to be tried here, in a branch of that, with more memory."""

    move: Move


@value
class Settled:
    """Tasks which had moved to branches have come to their ends there."""

    delivered: int = 0
    left: int = 0
    interrupted: int = 0


@value
class Hopeless:
    """What the tasks that wait here need they can never have."""


@value
class RankLost:
    """A rank is gone, with the caches there; what it had under leases is reported as `Done`."""

    rank: Rank


@value
class Skipped:
    """The next task never runs, and its caller knows."""


@value
class Abandoned:
    """Nobody waits for the scatter any more."""


@value
class Limited:
    """What runs is ended at a certain time; so what would take longer is not begun."""

    until: float
    """Seconds, as ``now``."""


@value
class Drained:
    """The run drains: no task is begun any more."""


@value
class TimeUp:
    """What still runs is to be ended."""


Event = (
    Extended | Lent | Done | Cancelled | Joined | Settled | Hopeless | RankLost | Skipped
    | Abandoned | Limited | Drained | TimeUp
)  # fmt: skip


@value
class Give:
    """Send these tasks to the rank."""

    lease: LeaseId
    rank: Rank
    chunk: ChunkId
    first: int
    count: int
    attempt: int
    executor: ExecutorId = ANY_EXECUTOR


@value
class Release:
    """Return the lease; so much still waits here."""

    lease: LeaseId
    queued: int
    seconds: float
    pins: tuple[Rank, ...] = ()


@value
class Demand:
    """Tell the scheduler what waits here."""

    queued: int
    seconds: float
    tasks: int
    closed: bool = False
    pins: tuple[Rank, ...] = ()
    """Ranks for each of which a task waits that must run there."""


@value
class Deliver:
    """These outcomes, of those just reported, are final."""

    first: int
    count: int


@value
class End:
    """Tell the member to end what runs under the lease, and to send everything back."""

    lease: LeaseId
    rank: Rank


@value
class Drop:
    """Tell the caller that these tasks, and no others of those cancelled, were dropped."""

    tasks: tuple[int, ...]


@value
class Move:
    """Let a branch of the scatter try this task, with so much memory."""

    index: int
    memory: int
    """MiB."""
    attempt: int
    excused: int = 0
    """How many of its attempts so far do not count: they lacked memory, or were lost."""
    cost: float | None = None
    """Expected seconds, if they are known."""
    pin: tuple[Rank, ExecutorId] | None = None
    """Where its cache is, if it must go there."""


@value
class Fail:
    """Deliver what is known of tasks which can't be tried again after all."""

    tasks: tuple[int, ...]


@value
class Halt:
    """Tell the caller that the tasks without an outcome are not run, or not again, in this run."""

    interrupted: int
    """How many of them had begun."""


Command = Give | Release | Demand | Deliver | End | Drop | Move | Fail | Halt
