"""What a leader has given to the ranks which it was lent."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpipool.ids import ChunkId, Rank


@dataclass(slots=True)
class Chunk:
    """Consecutive tasks which a member has and has not reported yet."""

    first: int
    count: int
    attempt: int


@dataclass(slots=True)
class Lease:
    """A rank which the scatter has."""

    rank: Rank
    until: float
    chunks: dict[ChunkId, Chunk] = field(default_factory=dict)
    leaving: bool = False
