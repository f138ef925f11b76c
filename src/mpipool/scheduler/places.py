"""For what a rank may be lent; `cores` says when it stands where."""

from __future__ import annotations

from enum import Enum, auto


class Place(Enum):
    """Whether and for what a rank may be lent."""

    IDLE = auto()
    SPARE = auto()
    NARROW = auto()
    BUSY = auto()


IDLE, SPARE, NARROW, BUSY = Place  # a look-up in the class costs more than all the rest
