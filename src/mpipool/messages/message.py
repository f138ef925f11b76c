"""What all messages have in common."""

from __future__ import annotations

from typing import ClassVar

from mpipool.ids import ScatterId
from mpipool.values import named_value as message

__all__ = ["Buffer", "Message", "Path", "message"]

Buffer = bytes | bytearray | memoryview
Path = tuple[ScatterId, ...]
"""A scatter's ancestors, outermost first, ending with the scatter itself."""


@message
class Message:
    """What all messages have: opaque byte strings behind the header."""

    code: ClassVar[int]
    parts: tuple[Buffer, ...] = ()
