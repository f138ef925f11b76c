"""Ranks on a virtual clock: the same agents and broker, in simulated time.

Messages take random times, so that those of different pairs of ranks overtake each other; those of
one pair do not, as with MPI. Everything follows from the seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
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

    @property
    def pause(self) -> float:
        """Seconds until something happens; infinite if nothing ever does."""
        return self._agenda[0][0] - self.now if self._agenda else inf

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
    survives = True

    def __init__(self, rank: Rank, world: VirtualWorld) -> None:
        self.rank = rank
        self.size = world.size
        self.traffic = Traffic()
        self.arrived: deque[tuple[Rank, Message]] = deque()
        self.lost: set[Rank] = set()
        self.gone: set[Rank] = set()
        self._world = world

    def send(self, to: Rank, message: Message) -> None:
        """Send a message; it arrives after some simulated time."""
        if to in self.gone:
            return
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

    def give_up(self, rank: Rank) -> None:
        """Have nothing to do any more with a rank, which dies of it if it has not died before."""
        assert rank != self.rank, "a rank does not give itself up"
        self.gone.add(rank)
        self.lost.discard(rank)
        left = [arrival for arrival in self.arrived if arrival[0] != rank]
        self.arrived.clear()  # the same object: `receive` may be in the middle of it
        self.arrived.extend(left)
        self._world.kill(rank)

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
        self.dead: set[Rank] = set()
        self._last_words: dict[tuple[Rank, Rank], float] = {}
        """Until when messages of a dead rank arrive at another one."""

    def kill(self, rank: Rank, notice: float = 0.01) -> None:
        """Let a rank die: it is for the simulation not to let its agent do anything any more.

        Of its messages under way some still arrive, and the others never do. Each of the other
        ranks notices its death by itself some time later, perhaps before the last of them.

        Parameters
        ----------
        rank : Rank
            Which; nothing happens if it is dead already.
        notice : float
            After how many seconds the others notice it, on average.
        """
        if rank in self.dead:
            return
        self.dead.add(rank)
        self.transports[rank].arrived.clear()
        for other in self.transports:
            if other.rank not in self.dead:
                last = self._clock.now + self._chance.expovariate(1 / self._delay)
                self._last_words[rank, other.rank] = last
                self._clock.after(
                    self._chance.expovariate(1 / notice), partial(self._notice, other, rank)
                )

    def _notice(self, transport: VirtualTransport, dead: Rank) -> None:
        if dead not in transport.gone and transport.rank not in self.dead:
            transport.lost.add(dead)
            self.on_arrival(transport.rank)

    def carry(self, sender: Rank, to: Rank, frame: bytes) -> None:
        """Let a message arrive in time, behind those which its sender sent to it before."""
        if sender in self.dead:
            return
        delay = self._chance.expovariate(1 / self._delay) if sender != to else 0.0
        arrival = max(self._clock.now + delay, self._last.get((sender, to), 0.0))
        self._last[sender, to] = arrival
        self.under_way += 1
        self._clock.at(arrival, lambda: self._arrive(sender, to, frame))

    def _arrive(self, sender: Rank, to: Rank, frame: bytes) -> None:
        self.under_way -= 1
        if to in self.dead or sender in self.transports[to].gone:
            return
        if self._clock.now > self._last_words.get((sender, to), inf):
            return
        self.transports[to].arrived.append((sender, decode(frame)))
        self.on_arrival(to)
