"""What every transport offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, Protocol

from mpipool.ids import Rank
from mpipool.messages import Message


class Transport(Protocol):
    """The ranks of one world, as one of them sees it."""

    rank: Rank
    size: int
    doorbell: int | None
    """Descriptor which becomes readable when a message comes while the loop sleeps."""
    traffic: Traffic
    survives: bool
    """Whether the other ranks go on when one dies."""
    lost: set[Rank]
    """Ranks which were noticed to be dead, until they are given up; the loop is woken for it."""
    gone: set[Rank]
    """Ranks which were given up."""

    @property
    def rings(self) -> bool:
        """Whether everything which comes while the loop sleeps wakes it."""

    @property
    def longest_sleep(self) -> float:
        """Seconds for which the loop may sleep without asking for messages."""

    def send(self, to: Rank, message: Message) -> None:
        """Send a message; returns at once. The message's parts must not change afterwards."""

    def receive(self) -> Iterator[tuple[Rank, Message]]:
        """Yield the messages which have arrived, with their senders."""

    def may_sleep(self) -> bool:
        """Prepare for sleep; False if something has arrived meanwhile."""

    def wakes(self) -> None:
        """Note that the loop does not sleep any more."""

    @property
    def unsent(self) -> bool:
        """Whether sends are under way, so that the loop must not sleep for long."""

    @property
    def streams(self) -> bool:
        """Whether pieces of parcels are still to be sent."""

    def give_up(self, rank: Rank) -> None:
        """Have nothing to do any more with a rank that is dead, or counts as dead.

        What is sent to it is dropped, and so is what comes from it, even if it has arrived already.
        Its parcels are void, and nothing waits for it. If it still lives and can be reached, it is
        killed: it must not come back.
        """

    def drain(self) -> None:
        """Drop the parcels which come, and cut those short which go: the run ends."""

    def close(self) -> None:
        """Complete what was sent and leave the world. No calls afterwards."""

    def abort(self, exit_code: int) -> NoReturn:
        """End all ranks of the world at once."""


class Traffic:
    """Counts of what a rank sent and received, by kind of message."""

    def __init__(self) -> None:
        self.sent: dict[str, list[int]] = {}
        self.received: dict[str, list[int]] = {}

    def count_sent(self, message: Message, size: int) -> None:
        """Count a message that is sent."""
        self._count(self.sent, message, size)

    def count_received(self, message: Message, size: int) -> None:
        """Count a message that has arrived."""
        self._count(self.received, message, size)

    @staticmethod
    def _count(counts: dict[str, list[int]], message: Message, size: int) -> None:
        entry = counts.setdefault(type(message).__name__, [0, 0])
        entry[0] += 1
        entry[1] += size
