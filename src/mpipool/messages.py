"""Every message that passes between ranks, and between an agent and the processes below it.

`docs/decisions/0001-protocol.md` says in one table who sends which when. A message is a frozen
dataclass of scalars, and `parts`: byte strings that are forwarded and never looked into here.
`encode` and `decode` are derived from the fields' types.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, get_type_hints

from mpipool.ids import ChunkId, LeaseId, Rank, ScatterId

Buffer = bytes | bytearray | memoryview
Path = tuple[ScatterId, ...]
"""A scatter's ancestors, outermost first, ending with the scatter itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What all messages have: opaque byte strings behind the header."""

    code: ClassVar[int]
    parts: tuple[Buffer, ...] = ()


# --- between ranks ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """Agent to broker: this rank is ready to be lent."""

    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lend(Message):
    """Broker to leader: this rank is yours for this scatter."""

    lease: LeaseId
    scatter: ScatterId
    rank: Rank
    quantum: float
    """Seconds after which no new tasks may be given to the rank under this lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(Message):
    """Leader to broker: no task of mine is on the rank any more; so much still waits here."""

    lease: LeaseId
    queued: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(Message):
    """Member to broker: everything under these leases waits in a gather; the core is free."""

    leases: tuple[LeaseId, ...]
    tops: tuple[ScatterId, ...]
    """For each stack of the rank, the scatter for which its topmost task waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Define(Message):
    """Leader to member: the function behind a digest. Parts: what tasks share (JSON), function."""

    digest: bytes
    forget: bool = False
    """The leader needs it no more; there are no parts then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTasks(Message):
    """Leader to member: run these tasks in order. Parts: sizes, items."""

    lease: LeaseId
    chunk: ChunkId
    scatter: ScatterId
    path: Path
    digest: bytes
    first: int
    count: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Message):
    """Leader to member: end what runs under this lease and send everything back."""

    lease: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class Records(Message):
    """Leader to broker: put these outcomes on disk. Parts: table, details, results of each batch.

    Results are those to keep in the records: of keyed tasks, and short ones only.
    """

    batches: tuple[int, ...]
    """Five integers for each batch: scatter, rank that ran it, first task, attempt, 1 if keyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Message):
    """Caller, through its agent, to broker: a question about the checkpoint. Parts: JSON."""

    request: int
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Message):
    """Broker, through an agent, to caller. Parts: JSON (the error, where it is one), results."""

    request: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Message):
    """Broker to agent: end your executors and say goodbye."""

    exit_code: int
    orderly: bool
    """Whether MPI can be left in order; not when the process that the launcher knows is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye(Message):
    """Agent to broker: my executors are gone, my last records sent. And back: all is on disk."""


RANK_MESSAGES: Final[tuple[type[Message], ...]] = (
    Hello, Want, Lend, Return, Blocked, Define, RunTasks, TasksDone, Recall, Records, Ask, Answer,
    Stop, Bye,
)  # fmt: skip


# --- between an agent and the processes below it -----------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Message):
    """Caller to agent: a scatter begins. Parts: what its tasks share (JSON), function."""

    request: int
    digest: bytes
    stage: str
    retries: int
    recorded: bool
    keyed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Message):
    """Caller to agent: the next items of its scatter. Parts: sizes, items."""

    request: int
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Message):
    """Agent to caller: tasks of its scatter reached their final state. Parts: as in TasksDone."""

    request: int
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon(Message):
    """Caller to agent: drop the scatter; nobody waits for it."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(Message):
    """Script to agent: the script is over."""

    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork(Message):
    """Agent to guard: fork an executor."""

    executor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Message):
    """Agent to guard: run the script. Parts: its arguments, one each."""

    executor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Message):
    """Agent to guard: end the process at once, with what it has started."""

    executor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Message):
    """Guard to agent: the process runs. Its sockets come along as file descriptors."""

    executor: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited(Message):
    """Guard to agent: the process ended."""

    executor: int
    status: int
    """As `os.waitstatus_to_exitcode` gives it: negative for a signal."""
    peak: int
    """Peak resident memory, KiB."""


LOCAL_MESSAGES: Final[tuple[type[Message], ...]] = (
    Open, Items, Results, Abandon, Leave, Fork, Run, Kill, Started, Exited,
)  # fmt: skip


# --- encoding ----------------------------------------------------------------------------------

_SCALARS: Final = {int: "q", float: "d", bool: "?"}
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one class of message is packed: scalars in one struct, the others one by one."""

    make: type[Message]
    scalars: tuple[str, ...]
    packed: struct.Struct
    others: tuple[tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]], ...]


def _pack_integers(values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _unpack_integers(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}q", packed)


def _layout(make: type[Message]) -> _Layout:
    scalars: list[str] = []
    formats = "<B"
    others: list[tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]]] = []
    for name, hint in get_type_hints(make).items():
        kind = getattr(hint, "__supertype__", hint)
        if name in {"parts", "code"}:
            continue
        if kind in _SCALARS:
            scalars.append(name)
            formats += _SCALARS[kind]
        elif kind is str:
            others.append((name, str.encode, bytes.decode))
        elif kind is bytes:
            others.append((name, bytes, bytes))
        else:
            others.append((name, _pack_integers, _unpack_integers))
    return _Layout(make, tuple(scalars), struct.Struct(formats), tuple(others))


_LAYOUTS: Final[dict[int, _Layout]] = {}
for _code, _make in enumerate(RANK_MESSAGES + LOCAL_MESSAGES, start=1):
    _make.code = _code
    _LAYOUTS[_code] = _layout(_make)


def encode(message: Message) -> list[Buffer]:
    """Encode a message as a list of buffers: the header, then its parts as they are.

    The header ends with the length of each part, so that the concatenation can be cut again.
    """
    layout = _LAYOUTS[message.code]
    header = [layout.packed.pack(message.code, *[getattr(message, f) for f in layout.scalars])]
    for name, pack, _ in layout.others:
        packed = pack(getattr(message, name))
        header += (_U32.pack(len(packed)), packed)
    sizes = [len(part) for part in message.parts]
    header.append(struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
    return [b"".join(header), *message.parts]


def decode(frame: Buffer) -> Message:
    """Decode what `encode` made; the parts are views of ``frame``, not copies."""
    view = memoryview(frame)
    layout = _LAYOUTS[view[0]]
    values: dict[str, Any] = dict(
        zip(layout.scalars, layout.packed.unpack_from(view)[1:], strict=True)
    )
    at = layout.packed.size
    for name, _, unpack in layout.others:
        (size,) = _U32.unpack_from(view, at)
        at += _U32.size
        values[name] = unpack(bytes(view[at : at + size]))
        at += size
    (count,) = _U32.unpack_from(view, at)
    sizes = struct.unpack_from(f"<{count}Q", view, at + _U32.size)
    at += _U32.size + _U64.size * count
    values["parts"] = tuple(_cut(view, at, sizes))
    return layout.make(**values)


def _cut(view: memoryview, at: int, sizes: Sequence[int]) -> list[memoryview]:
    parts = []
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return parts


def describe(message: Message) -> str:
    """Write a message for a log: its fields, and how long its parts are."""
    fields = ", ".join(
        f"{field.name}={getattr(message, field.name)!r}"
        for field in dataclasses.fields(message)
        if field.name != "parts"
    )
    return f"{type(message).__name__}({fields}; {[len(part) for part in message.parts]} bytes)"
