"""The messages which pass between ranks; `docs/decisions/0001-protocol.md` says when."""

from __future__ import annotations

from typing import Final

from mpipool.ids import (
    ANY_EXECUTOR,
    BROKER,
    NO_LEASE,
    NO_SCATTER,
    ChunkId,
    DataId,
    ExecutorId,
    LeaseId,
    Rank,
    ScatterId,
)
from mpipool.messages.message import Message, Path, message
from mpipool.messages.of_gangs import Assemble, Assembled, Enter, Left


@message
class Hello(Message):
    """Agent to broker: this rank is ready to be lent."""

    host: str
    pid: int
    memory: int
    """What the job may use on this node, MiB; 0 if that is not known."""
    cpus: str = ""
    """The CPUs of its executors, as ``0,64``; empty if they are not pinned."""


@message
class Alive(Message):
    """Agent to broker: this rank is still there, though it has had nothing to say."""


@message
class Missed(Message):
    """Agent to broker: a rank has died, as MPI or the launcher says, or can't go on."""

    rank: Rank
    reason: str


@message
class Lost(Message):
    """Broker to all agents: this rank is gone; what it led is over, what it ran is run again."""

    rank: Rank
    reason: str


@message
class Want(Message):
    """Leader to broker: so many tasks of this scatter wait for ranks."""

    scatter: ScatterId
    path: Path
    queued: int
    seconds: float
    """Expected time of all queued tasks on one rank; 0 while nothing is known."""
    tasks: int
    """How many tasks the scatter has in all, as far as its items have come in."""
    stage: str
    closed: bool
    pins: tuple[int, ...] = ()
    """Ranks for each of which a task waits that must run there; these are not among ``queued``."""
    needs: str = ""
    """As `needs.Needs.packed` writes them."""
    parent: LeaseId = NO_LEASE
    """The lease of the task which opened the scatter; 0 for the script's."""
    origin: ScatterId = NO_SCATTER
    """The scatter of which this is a branch, whose tasks need more memory."""


@message
class Lend(Message):
    """Broker to leader: this rank is yours for this scatter."""

    lease: LeaseId
    scatter: ScatterId
    rank: Rank
    quantum: float
    """Seconds after which no new tasks may be given to the rank under this lease."""
    ranks: tuple[int, ...] = ()
    """The members of a gang, or the ranks whose cores are held for threads; ``rank`` is first."""
    cpus: str = ""
    """The CPUs of these ranks together, where they are pinned."""


@message
class Refuse(Message):
    """Broker to leader: what the tasks of this scatter need they can never have."""

    scatter: ScatterId
    reason: str


@message
class Return(Message):
    """Leader to broker: no task of mine is on the rank any more; so much still waits here."""

    lease: LeaseId
    queued: int
    seconds: float
    pins: tuple[int, ...] = ()


@message
class Blocked(Message):
    """Member to broker: everything under these leases waits in a gather; the core is free."""

    leases: tuple[LeaseId, ...]
    tops: tuple[ScatterId, ...]
    """For each stack of the rank, the scatter for which its topmost blocked task waits."""
    held: tuple[LeaseId, ...] = ()
    """Those of the leases below another in their process, which waits: they can't resume before."""


@message
class Define(Message):
    """Leader to member: the function behind a digest. Parts: what tasks share (JSON), function."""

    digest: bytes
    forget: bool = False
    """The leader needs it no more; there are no parts then."""


@message
class RunTasks(Message):
    """Leader to member: run these tasks in order.

    Parts: sizes and items; then the same for each earlier call that is to be run again.
    """

    lease: LeaseId
    chunk: ChunkId
    scatter: ScatterId
    path: Path
    digest: bytes
    first: int
    count: int
    attempt: int
    scope: ScatterId = NO_SCATTER
    """The scatter whose tasks began the caches of these."""
    executor: ExecutorId = ANY_EXECUTOR
    """The one process which holds the caches of these tasks."""
    lineage: bytes = b""
    """Digests (16 bytes each) of the functions to be run first, for their caches alone."""
    cores: tuple[int, ...] = ()
    """As the ranks in `Lend`."""
    cpus: str = ""
    memory: int = 0
    """MiB which each of them may use; 0 if nothing was said."""


@message
class TasksDone(Message):
    """Member to leader: these tasks ended. Parts: table, details, results."""

    lease: LeaseId
    chunk: ChunkId
    scatter: ScatterId
    first: int
    count: int
    back: int
    """How many tasks at the end of the chunk come back unstarted."""
    failures: int
    """How many of the outcomes are not DONE."""
    busy: float
    """Seconds which these tasks took, together."""
    leave: bool
    """The member asks for no more tasks under this lease."""
    executor: ExecutorId = ANY_EXECUTOR
    """Which process ran them, where it now holds caches; `GONE` if that is not there any more."""
    cached: tuple[int, ...] = ()
    """Those which left something in their caches."""


@message
class Ahead(Message):
    """Executor to leader to caller: the result of a task is on its way. Parts: the parcel.

    The message to which it belongs comes once the process which sends it has sent all of it.
    """

    lease: LeaseId
    chunk: ChunkId
    scatter: ScatterId
    void: bool = False
    """It does not come after all."""


@message
class Recall(Message):
    """Leader to member: end what runs under this lease and send everything back."""

    lease: LeaseId
    orphaned: bool = False
    """The leader is gone: the broker says it in its place, and wants the lease back."""


@message
class Forget(Message):
    """Leader to member: the caches of this scope are needed no more."""

    scope: ScatterId


@message
class Fetch(Message):
    """Agent to agent, caller to agent: send me these kept data."""

    request: int
    data: DataId
    copies: bool
    """Whether a copy stays where it is fetched to."""


@message
class Fetched(Message):
    """Agent to agent, to caller: what `Fetch` asked for. Parts: the data; none if they are gone."""

    request: int
    data: DataId
    copies: bool = False
    """As in `Fetch`: the agent needs the data itself, and does not just pass them through."""


@message
class HowMade(Message):
    """Caller to agent, agent to agent: how were these data made, which are lost?"""

    request: int
    data: DataId
    maker: Rank


@message
class Made(Message):
    """Agent to agent, to caller: the answer. Parts: what tasks share, function, item; or none."""

    request: int
    stage: str = ""
    retries: int = 0
    needs: str = ""


@message
class Release(Message):
    """Caller to agent, agent to agent: these kept data are needed no more."""

    data: tuple[DataId, ...]


@message
class Warned(Message):
    """Agent to broker: this rank was sent a signal which asks the run to end soon."""

    signal: int
    hurried: bool = False
    """Whether the launcher kills this rank in a moment."""


@message
class Drain(Message):
    """Broker to agent of rank 0: when tasks are ended, and whether none is begun any more."""

    seconds: float
    """From now, until what still runs is ended."""
    reason: str = ""
    """Why the run drains; empty while tasks may be begun which end in time."""
    exit_code: int = 0
    """With which the run is to exit then."""


@message
class Tally(Message):
    """Leader to broker: how tasks fared. Parts: JSON, as `tallying` writes it."""


@message
class Shun(Message):
    """Broker to all agents: this rank is bad; caches there are to be made again elsewhere."""

    rank: Rank


@message
class Despair(Message):
    """Agent to broker: the run can't go on."""

    reason: str


@message
class Records(Message):
    """Leader to broker: put these outcomes on disk. Parts: table, details, results of each batch.

    Results are those to keep in the records: of keyed tasks, and short ones only. They go by way of
    the leaders of the tasks above, so that no task is on disk before what it has scattered.
    """

    batches: tuple[int, ...]
    """Five integers for each batch: scatter, rank that ran it, first task, attempt, 1 if keyed."""
    by: tuple[int, ...] = ()
    """The scatters whose leaders pass them on, the next one last."""


@message
class Ask(Message):
    """Caller, through its agent, to broker: a question about the checkpoint. Parts: JSON.

    It goes the way of the records of what its task has scattered, which it must not overtake.
    """

    request: int
    question: str
    lease: LeaseId = NO_LEASE
    """Of the task which asks."""
    rank: Rank = BROKER
    """To whose agent the answer goes."""
    by: tuple[int, ...] = ()
    """As in `Records`."""


@message
class Answer(Message):
    """Broker, through an agent, to caller. Parts: JSON (the error, where it is one), results."""

    request: int
    ok: bool


@message
class Stop(Message):
    """Broker to agent: end your executors and say goodbye."""

    exit_code: int
    orderly: bool
    """Whether MPI can be left in order; not when the process that the launcher knows is gone."""
    stuck: str = ""
    """Why some rank will not come back from user code, so that nobody waits for it in MPI."""


@message
class Bye(Message):
    """Agent to broker: my executors are gone, my last records sent. And back: all is on disk."""

    records: int = 0
    """How many messages with records the agent has sent, all in all: some may be on their way."""


def mentions_last(message: Message) -> bool:
    """Whether nothing will mention the parcels of this message on its link any more."""
    return not isinstance(message, Ahead) or message.void


RANK_MESSAGES: Final[tuple[type[Message], ...]] = (
    Hello, Alive, Missed, Lost, Want, Lend, Refuse, Return, Blocked, Define, RunTasks, Ahead,
    TasksDone, Recall, Forget, Fetch, Fetched, HowMade, Made, Release, Assemble, Assembled, Enter,
    Left, Warned, Drain, Tally, Shun, Despair, Records, Ask, Answer, Stop, Bye,
)  # fmt: skip
