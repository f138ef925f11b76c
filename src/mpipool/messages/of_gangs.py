"""The messages by which the members of a gang find together and part."""

from __future__ import annotations

from mpipool.ids import ChunkId, GangId, LeaseId, ScatterId
from mpipool.messages.message import Message, Path, message


@message
class Assemble(Message):
    """First member to all members of a gang: take your seat."""

    gang: GangId
    dismissed: bool = False
    """The gang will not be; whoever has taken its seat gets up."""


@message
class Assembled(Message):
    """Member to first member: this rank's seat is kept for the gang."""

    gang: GangId


@message
class Enter(Message):
    """First member to all members: everyone is seated; run this task. Parts: as in RunTasks."""

    gang: GangId
    lease: LeaseId
    chunk: ChunkId
    scatter: ScatterId
    path: Path
    digest: bytes
    task: int
    attempt: int
    ranks: tuple[int, ...]
    """The members, the first one first: they make a communicator."""


@message
class Left(Message):
    """Member to first member: the call here has ended. Parts: as in TasksDone, of one task."""

    gang: GangId
    failed: bool
