"""Ranks within one process, for running without mpiexec and for tests of the assembled pool."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Final, NoReturn

from mpipool.ids import Rank
from mpipool.messages import Message
from mpipool.transport.interface import Traffic

LONGEST_SLEEP: Final = 0.05
"""Seconds. Nothing arrives while the one process sleeps; its timers want this resolution."""


class LocalTransport:
    """One rank of a world in which all ranks share a process; see `Transport`."""

    rings = True  # none comes while the one process sleeps
    longest_sleep = LONGEST_SLEEP
    unsent = False
    streams = False
    doorbell: int | None = None
    survives = False

    def __init__(self, rank: Rank, boxes: list[deque[tuple[Rank, Message]]]) -> None:
        self.rank = rank
        self.size = len(boxes)
        self.traffic = Traffic()
        self.lost: set[Rank] = set()
        self.gone: set[Rank] = set()
        self._boxes = boxes

    def send(self, to: Rank, message: Message) -> None:
        """Put the message into the receiver's box."""
        self.traffic.count_sent(message, sum(map(len, message.parts)))
        self._boxes[to].append((self.rank, message))

    def receive(self) -> Iterator[tuple[Rank, Message]]:
        """Yield what is in this rank's box."""
        box = self._boxes[self.rank]
        while box:
            sender, message = box.popleft()
            self.traffic.count_received(message, sum(map(len, message.parts)))
            yield sender, message

    def may_sleep(self) -> bool:
        """Whether nothing has arrived."""
        return not self._boxes[self.rank]

    def wakes(self) -> None:
        """Nobody rings."""

    def give_up(self, rank: Rank) -> None:
        """Nobody dies alone here."""
        raise AssertionError(f"rank {rank} lives in this process")

    def drain(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is to be completed."""

    def abort(self, exit_code: int) -> NoReturn:
        """End the process, which is all ranks."""
        os._exit(exit_code)


def local_world(size: int) -> list[LocalTransport]:
    """Make the transports of a world of ``size`` ranks in this process."""
    boxes: list[deque[tuple[Rank, Message]]] = [deque() for _ in range(size)]
    return [LocalTransport(Rank(rank), boxes) for rank in range(size)]
