"""Ranks on a virtual clock: the same agents and broker, in simulated time.

Messages take random times, so that those of different pairs of ranks overtake each other; those of
one pair do not, as with MPI. Everything follows from the seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

from mpipool.ids import Rank
from mpipool.messages import Message, decode, encode
from mpipool.transport.interface import Traffic


class VirtualClock:
    """Simulated time, and what is to happen when.

    Attributes
    ----------
    now : float
        Seconds since the simulation began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def __call__(self) -> float:
        """Return the simulated time."""
        return self.now

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Have something done at a time; of two at the same time the first goes first."""
        self._serial += 1
        heapq.heappush(self._agenda, (when, self._serial, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done some seconds from now."""
        self.at(self.now + seconds, action)

    def step(self) -> bool:
        """Do what is next; return whether there was something."""
        if not self._agenda:
            return False
        self.now, _, action = heapq.heappop(self._agenda)
        action()
        return True


class VirtualTransport:
    """One rank of a simulated world; see `Transport`."""

    rings = False
    longest_sleep = 0.0
    unsent = False
    streams = False
    doorbell: int | None = None

    def __init__(self, rank: Rank, world: VirtualWorld) -> None:
        self.rank = rank
        self.size = world.size
        self.traffic = Traffic()
        self.arrived: deque[tuple[Rank, Message]] = deque()
        self._world = world

    def send(self, to: Rank, message: Message) -> None:
        """Send a message; it arrives after some simulated time."""
        frame = b"".join(encode(message))
        self.traffic.count_sent(message, len(frame))
        self._world.carry(self.rank, to, frame)

    def receive(self) -> Iterator[tuple[Rank, Message]]:
        """Yield what has arrived."""
        while self.arrived:
            sender, message = self.arrived.popleft()
            self.traffic.count_received(message, len(b"".join(message.parts)))
            yield sender, message

    def may_sleep(self) -> bool:
        """Whether nothing has arrived."""
        return not self.arrived

    def wakes(self) -> None:
        """Nobody rings."""

    def drain(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is to be completed."""

    def abort(self, exit_code: int) -> NoReturn:
        """Nothing in a simulation wants that."""
        raise AssertionError(f"the simulated run is aborted with exit code {exit_code}")


class VirtualWorld:
    """The network between the ranks of a simulation.

    Parameters
    ----------
    size : int
        Number of ranks.
    clock : VirtualClock
        Simulated time.
    chance : random.Random
        Draws how long messages take.
    delay : float
        Mean time of a message between ranks, seconds; to itself a rank sends at once.
    """

    def __init__(
        self, size: int, clock: VirtualClock, chance: random.Random, delay: float = 1e-4
    ) -> None:
        self.size = size
        self.transports = [VirtualTransport(Rank(rank), self) for rank in range(size)]
        self.on_arrival: Callable[[Rank], None] = lambda rank: None
        """Called when a rank has something to receive."""
        self._clock = clock
        self._chance = chance
        self._delay = delay
        self._last: dict[tuple[Rank, Rank], float] = {}
        self.under_way = 0
        """Messages which were sent and have not arrived."""

    def carry(self, sender: Rank, to: Rank, frame: bytes) -> None:
        """Let a message arrive in time, behind those which its sender sent to it before."""
        delay = self._chance.expovariate(1 / self._delay) if sender != to else 0.0
        arrival = max(self._clock.now + delay, self._last.get((sender, to), 0.0))
        self._last[sender, to] = arrival
        self.under_way += 1
        self._clock.at(arrival, lambda: self._arrive(sender, to, frame))

    def _arrive(self, sender: Rank, to: Rank, frame: bytes) -> None:
        self.under_way -= 1
        self.transports[to].arrived.append((sender, decode(frame)))
        self.on_arrival(to)
