"""The seat of a gang's member: the main thread of its rank, which one gang has at a time.

See `gang`, whose conductor calls members to their seats.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mpipool.errors import InvalidEvent
from mpipool.ids import GangId, Rank, first_of


@dataclass(frozen=True, slots=True)
class Take:
    """Command: the seat is this gang's; tell its conductor."""

    gang: GangId


class Seat:
    """Who has the main thread of this rank, and who waits for it.

    Attributes
    ----------
    holder : GangId or None
        The gang which has it.
    inside : bool
        Whether it has entered.
    """

    def __init__(self) -> None:
        self.holder: GangId | None = None
        self.inside = False
        self._waiting: deque[GangId] = deque()

    def called(self, gang: GangId) -> list[Take]:
        """Give the seat to a gang, now or when it is free."""
        self._waiting.append(gang)
        return self._next()

    def dismissed(self, gang: GangId) -> list[Take]:
        """Drop a gang which will not be."""
        if gang in self._waiting:
            self._waiting.remove(gang)
        if self.holder == gang and not self.inside:
            self.holder = None
        return self._next()

    def lost(self, rank: Rank) -> list[Take]:
        """Drop the gangs whose first member is gone; one that has entered is inside yet."""
        self._waiting = deque(gang for gang in self._waiting if first_of(gang) != rank)
        if self.holder is not None and first_of(self.holder) == rank and not self.inside:
            self.holder = None
        return self._next()

    def entered(self, gang: GangId) -> None:
        """Note that the gang has begun.

        Raises
        ------
        InvalidEvent
            If the seat is not this gang's: a bug.
        """
        if self.holder != gang or self.inside:
            raise InvalidEvent("the seat", f"the entry of gang {gang}", f"{self.holder} has it")
        self.inside = True

    def freed(self) -> list[Take]:
        """Note that the main thread has nothing to do any more."""
        self.holder, self.inside = None, False
        return self._next()

    def _next(self) -> list[Take]:
        if self.holder is not None or not self._waiting:
            return []
        self.holder = self._waiting.popleft()
        return [Take(self.holder)]
