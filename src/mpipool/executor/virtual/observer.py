"""Who checks what comes of simulated runs."""

from __future__ import annotations

from typing import Protocol

from mpipool.executor.virtual.plan import ScatterPlan, Settled


class Observer(Protocol):
    """Who checks what comes of plans."""

    checkpoint: str
    """Where the run's database is; empty if it has none."""

    def safe_of(self, scatter: ScatterPlan) -> set[int]:
        """Return which tasks of a keyed scatter must be found done by who asks now."""

    def found(self, scatter: ScatterPlan, results: dict[int, bytes], safe: set[int]) -> None:
        """Take in which tasks of a keyed scatter are done already, and their results.

        ``safe`` is what `safe_of` has said when this was asked.
        """

    def is_safe(self, key: bytes) -> None:
        """Take in that a task of this key was recorded before a question which is answered."""

    def settled(self, scatter: ScatterPlan, outcomes: Settled) -> None:
        """Take in the outcomes of a scatter."""

    def all_settled(self, scatter: ScatterPlan, indices: set[int]) -> None:
        """Take in which tasks of a scatter have outcomes, those found done included."""

    def refused(self, scatter: ScatterPlan, reason: str) -> None:
        """Take in that a scatter was refused."""

    def bereft(self) -> None:
        """Take in that data which were kept are gone."""

    def unanswered(self) -> None:
        """Take in that the checkpoint can't be asked any more."""
