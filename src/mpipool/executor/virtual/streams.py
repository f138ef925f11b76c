"""A scatter which a simulated process leads, as that process sees it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mpipool.executor.virtual.plan import NO_DATA, Item, Plan, ScatterPlan, Settled
from mpipool.ids import DataId, home_of
from mpipool.messages import Began, Cancelled, Halted, Message, Refused, Results
from mpipool.outcomes import Outcomes
from mpipool.task import key_prefix

Marks = dict[str, dict[int, tuple[int, ...]]]
"""By context and index, the scatters whose marks are in the caches."""


class Stream:
    """One open scatter.

    Parameters
    ----------
    request : int
        Its number in its process.
    scatter : ScatterPlan
        What is scattered.
    known : dict
        By index, what an earlier session has left of its tasks: None of those which are done and
        are not run again, else how many attempts there were.
    items : sequence of Item
        What its tasks are given.
    """

    def __init__(
        self,
        request: int,
        scatter: ScatterPlan,
        known: dict[int, int | None],
        items: Sequence[Item],
    ) -> None:
        self.request, self.scatter = request, scatter
        self.settled: Settled = {}
        self.fed = 0
        self.closed = False
        self.refused = ""
        self.halted: Halted | None = None
        """What was said when the run drained before all of it was done."""
        self.questions = 0
        self._known = known
        self._items = items
        self.indices = [i for i in range(len(items)) if known.get(i, 0) is not None]
        """Of those which are run."""

    @property
    def total(self) -> int:
        """How many tasks are run."""
        return len(self.indices)

    @property
    def missing(self) -> int:
        """How many items that were sent have no outcome yet."""
        return 0 if self.refused or self.halted else self.fed - len(self.settled)

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return bool(self.missing or (self.questions and not (self.refused or self.halted)))

    @property
    def done_before(self) -> set[int]:
        """Which tasks are not run, since they were done in an earlier session."""
        return set(range(len(self._items))).difference(self.indices)

    def plan(self, at: int) -> Plan:
        """Return the plan of the task at a place among those which are run."""
        return self.scatter.tasks[self.indices[at]]

    # --- items -----------------------------------------------------------------------------------

    def take(self, most: int) -> tuple[bytes, ...]:
        """Take the next items, and return them as they are sent; empty if there are none."""
        at = range(self.fed, min(self.fed + max(most, 0), self.total))
        self.fed = at.stop
        items = [self._items[self.indices[place]] for place in at]
        packed = [self._packed(place, item) for place, item in zip(at, items, strict=True)]
        sizes, together = array("Q", map(len, packed)).tobytes(), b"".join(packed)
        homes = array("q", [home_of(item.data) if item.data else -1 for item in items])
        if not at or not (self.scatter.priced or any(home >= 0 for home in homes)):
            return sizes, together
        costs = array("d", [self.plan(place).seconds for place in at])
        priced = costs.tobytes() if self.scatter.priced else b""
        return sizes, priced, homes.tobytes() if self.scatter.fetches else b"", together

    def _packed(self, at: int, item: Item) -> bytes:
        if not self.scatter.keyed:
            return item.packed()
        index = self.indices[at]
        attempts = self._known.get(index) or 0
        prefix = key_prefix(self.scatter.key(index), self.scatter.data_id(index), attempts)
        return prefix + item.packed()

    # --- what comes of it ------------------------------------------------------------------------

    def settle(self, message: Message) -> None:
        """Take in what the agent says of it."""
        match message:
            case Refused(reason=reason):
                self.refused = reason
            case Halted():
                self.halted = message
            case Cancelled(tasks=tasks):
                self.questions -= 1
                self.settled.update(dict.fromkeys(self.indices[task] for task in tasks))
            case Results():
                outcomes = Outcomes(message.first, message.parts)
                for at, outcome in enumerate(outcomes, start=message.first):
                    index = self.indices[at]
                    assert index not in self.settled, f"task {index} was delivered twice"
                    self.settled[index] = outcome
            case _:
                assert isinstance(message, Began), f"{message} is not about a scatter"


def items_of(scatter: ScatterPlan, marks: Marks, kept: list[tuple[DataId, int]]) -> list[Item]:
    """Write what the tasks of a scatter are given: marks in their caches, and kept data."""
    there = marks.get(scatter.context, {}) if scatter.previous else {}
    items = []
    for index, plan in enumerate(scatter.tasks):
        data, value = NO_DATA, 0
        if scatter.fetches and kept:
            data, value = kept[index % len(kept)]
        items.append(Item(plan.number, data, value, there.get(index, ())))
    return items
