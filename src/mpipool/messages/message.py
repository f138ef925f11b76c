"""What all messages have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpipool.ids import ScatterId

Buffer = bytes | bytearray | memoryview
Path = tuple[ScatterId, ...]
"""A scatter's ancestors, outermost first, ending with the scatter itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What all messages have: opaque byte strings behind the header."""

    code: ClassVar[int]
    parts: tuple[Buffer, ...] = ()
