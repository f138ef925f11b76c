"""What simulated tasks do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Final, NamedTuple

from mpipool.ids import DataId
from mpipool.messages import Buffer
from mpipool.needs import PLAIN, Needs
from mpipool.task import Outcome

MAP: Final = "map"
"""All items are sent, then its leader waits until it is complete."""
LAZY: Final = "lazy"
"""Items are sent as outcomes come, and its leader goes on after each batch of them."""
SUBMIT: Final = "submit"
"""Items are sent one by one, its leader computes meanwhile, and hears which have begun."""

NO_DATA: Final = DataId(0)

Settled = dict[int, Outcome | None]
"""What became of tasks by index; None of those which were cancelled."""


@dataclass(eq=False)
class ScatterPlan:
    """One scatter."""

    serial: int
    """Unique in one simulation."""
    tasks: list[Plan] = field(default_factory=list)
    retries: int = 0
    needs: Needs = PLAIN
    context: str = ""
    previous: bool = False
    """Whether its tasks go on with caches."""
    touches: bool = False
    """Whether its tasks leave something in their caches."""
    keeps: bool = False
    """Whether the results stay where they are made."""
    fetches: bool = False
    """Whether each task is given a result that was kept of the scatters before."""
    priced: bool = False
    """Whether the durations of its tasks are known."""
    mode: str = MAP
    cancels: bool = False
    """Whether the second half of its tasks is cancelled, with `SUBMIT`."""
    gives_up: bool = False
    """Whether its leader wants the first outcomes only, with `LAZY`."""
    size: int = 0
    """Bytes of its function."""
    keyed: bool = False
    """Whether its tasks have keys, so that what is done is not done again after a restart."""

    def data_id(self, index: int) -> str:
        """Return the data ID of a task, as canonical JSON."""
        return json.dumps([self.serial, index], separators=(",", ":"))

    def key(self, index: int) -> bytes:
        """Return the digest of a task's key."""
        return blake2b(self.data_id(index).encode(), digest_size=16).digest()

    @cached_property
    def shared(self) -> bytes:
        """What its tasks share, as agents read it; many scatters have the same functions."""
        options = {"in_place": self.needs.in_place, "keep": self.keeps, "keyed": self.keyed}
        return json.dumps(options | {"function": self.serial % 5, "size": self.size}).encode()

    @cached_property
    def digest(self) -> bytes:
        """Names its function."""
        return blake2b(self.shared, digest_size=16).digest()


@dataclass(eq=False)
class Plan:
    """What one simulated task does."""

    number: int
    """Unique in one simulation; -1 for the script's."""
    seconds: float
    """How long it computes before its first step, and after each."""
    steps: list[list[ScatterPlan]] = field(default_factory=list)
    """What it leads one after the other; scatters of one step at once, with `SUBMIT`."""
    deaths: int = 0
    """So many of its attempts kill its process before they do anything else."""
    failures: int = 0
    """So many of those after these raise at its end."""
    raises: bool = False
    """Whether it raises when a scatter is refused."""
    everywhere: bool = False
    """Whether all members of a gang lead its scatters, not just the first one."""
    losses: int = 0
    """How often it went down with a process through no fault of its own."""
    memory: int = 0
    """MiB which it uses; it fails where it may have less."""
    dies_of_it: bool = False
    """Whether its process is killed then; else it raises MemoryError."""
    starved: dict[int, set[int]] = field(default_factory=dict)
    """By the scatter that began its caches: which of its attempts lacked memory."""
    kills: int = 0
    """How often its process was killed, so that the agent must blame it."""
    touched: bool = False
    """Whether it has left something in its cache, or has had that made again."""
    spoiled: bool = False
    """Whether an earlier call raised when its cache was made again, or what it needs is gone."""
    refusals: int = 0
    """How many of its scatters were refused."""
    of: ScatterPlan | None = None
    """The scatter whose task it is."""

    @property
    def result(self) -> bytes:
        """What its caller is to get."""
        return b"%d" % self.number

    @property
    def scatters(self) -> list[ScatterPlan]:
        """All which it leads."""
        return [scatter for step in self.steps for scatter in step]


class Item(NamedTuple):
    """What a task is given."""

    plan: int
    """Its number."""
    data: DataId = NO_DATA
    """What it is to fetch."""
    value: int = 0
    """The number of the plan which has made that."""
    caches: tuple[int, ...] = ()
    """Serial numbers of the scatters whose marks must be in its cache."""

    def packed(self) -> bytes:
        """Write it for a message."""
        return json.dumps(self).encode()


def unpack(item: Buffer) -> Item:
    """Read what `Item.packed` wrote."""
    plan, data, value, caches = json.loads(bytes(item))
    return Item(plan, DataId(data), value, tuple(caches))
