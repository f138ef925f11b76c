"""What records of a rerun have taught: how long tasks take, and how much memory, by stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Final, Protocol

from drivers.planning.estimates import Estimate

FEWEST: Final = 3
"""Tasks of a stage from which on its records count."""
SPARE: Final = 1.5
"""So many times the largest peak of its stage a task may need: they differ."""
LEAST: Final = 256e6
"""Bytes which any task gets: of short ones the peak is not seen."""


class Recorded(Protocol):
    """What is looked at of a record; see `mpipool.read_records`."""

    @property
    def stage(self) -> str:
        """Kind of task."""

    @property
    def started(self) -> float:
        """When it began [s]."""

    @property
    def finished(self) -> float:
        """When it ended [s]."""

    @property
    def peak_memory(self) -> int:
        """The most that it had [KiB]."""


@dataclass(frozen=True, slots=True)
class Correction:
    """How the tasks of a stage differ from what was expected.

    Attributes
    ----------
    factor : float
        So many times the expected seconds they take.
    memory : float
        Bytes which they are given at most.
    """

    factor: float
    memory: float

    def of(self, estimate: Estimate) -> Estimate:
        """Return what a task is to be expected to take."""
        return Estimate(self.factor * estimate.seconds, min(estimate.memory, self.memory))


def mean_task(records: Iterable[Recorded]) -> dict[str, Estimate]:
    """Return mean seconds and the largest peak of memory [bytes] of the tasks of each stage.

    Stages with few records are left out.
    """
    times: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, float] = defaultdict(float)
    for record in records:
        times[record.stage].append(record.finished - record.started)
        peaks[record.stage] = max(peaks[record.stage], record.peak_memory * 1024.0)
    return {
        stage: Estimate(fsum(taken) / len(taken), peaks[stage])
        for stage, taken in times.items()
        if len(taken) >= FEWEST
    }


def corrections(
    learnt: Mapping[str, Estimate], expected: Mapping[str, Estimate]
) -> dict[str, Correction]:
    """Return by stage how what was learnt differs from what was expected of a mean task."""
    return {
        stage: Correction(
            max(mean.seconds, 1e-3) / max(expected[stage].seconds, 1e-3),
            max(LEAST, SPARE * mean.memory),
        )
        for stage, mean in learnt.items()
        if stage in expected
    }
