"""How many tasks a rank gets at once.

Chunks hold a few milliseconds of work, shrink towards the end of the scatter, and tasks of unknown
duration or over 50 ms go singly, so that there is no chunk size to tune.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

SINGLY: Final = 0.05
"""Seconds: longer tasks go one by one."""
CHUNK: Final = 0.01
"""Seconds of work in a chunk."""
WORTH: Final = 0.0009
"""Seconds of work for which a chunk is worth its way; so the end of short tasks is not split up."""
OVERHEAD: Final = 5e-6
"""Seconds which a task costs around its own."""
MAX_TASKS: Final = 4096
MAX_BYTES: Final = 1 << 20
RECENT: Final = 0.2
"""Weight of the newest chunk in the mean duration."""


REMEMBERED: Final = 256
"""Functions whose tasks' mean duration a leader remembers."""


class Means:
    """How long the tasks of functions took, so that the next scatter of one begins at full pace."""

    def __init__(self) -> None:
        self._means: OrderedDict[bytes, float] = OrderedDict()

    def of(self, digest: bytes) -> float | None:
        """Return the mean seconds of a function's tasks, or None."""
        return self._means.get(digest)

    def learn(self, digest: bytes, mean: float | None) -> None:
        """Note what a scatter has shown."""
        if mean is None:
            return
        self._means[digest] = mean
        self._means.move_to_end(digest)
        if len(self._means) > REMEMBERED:
            self._means.popitem(last=False)


@dataclass(slots=True)
class Pace:
    """What is known of a scatter's tasks."""

    mean: float | None = None
    """Seconds per task; None until one has ended."""
    items: int = 0
    size: int = 0
    """Bytes of ``items`` items."""
    mixed: bool = False
    """Whether the tasks are single calls, of which one says little about the next."""

    def saw_items(self, count: int, size: int) -> None:
        """Learn the size of items."""
        self.items += count
        self.size += size

    def saw_tasks(self, count: int, busy: float) -> None:
        """Learn from ``count`` tasks which took ``busy`` seconds together."""
        if count:
            newest = busy / count
            self.mean = newest if self.mean is None else self.mean + RECENT * (newest - self.mean)

    def seconds(self, queued: int) -> float:
        """Expected seconds for so many tasks; 0 while nothing is known."""
        return queued * (self.mean or 0.0)

    def chunk(self, queued: int, members: int) -> int:
        """Return how many of the queued tasks a member gets at once."""
        if self.mean is None or self.mean >= SINGLY:
            return 1
        by_time = int(CHUNK / max(self.mean, CHUNK / MAX_TASKS))
        by_share = -(-queued // (2 * members))
        if not self.mixed:
            by_share = max(by_share, int(WORTH / (self.mean + OVERHEAD)))
        by_bytes = MAX_BYTES * self.items // max(self.size, 1)
        return max(1, min(by_time, by_share, by_bytes))

    def ahead(self, queued: int, members: int) -> int:
        """Return how many chunks a member may hold: a second one hides the way of short tasks.

        Where a chunk is one task, a second one waits behind a task that may be long; so there it is
        given only as long as enough others wait, with which other members can fill the end.
        """
        if self.mean is None or self.mean >= SINGLY:
            return 1
        if self.mixed and queued <= members:
            return 1  # what looks short may be long, and there may be ranks for the few that wait
        return 2 if self.mean < CHUNK / 2 or queued > 2 * members else 1
