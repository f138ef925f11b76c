"""Records on their way to rank 0: gathered where scatters are led, unpacked by the broker.

A task's own record is sent by the leader of its scatter, those of what it has scattered by the rank
on which it ran. Messages of two ranks may come in any order; so the latter go by way of that
leader too, ahead of the report of the task. Nothing is on disk before what it was made from.
A task's questions about the checkpoint go the same way, behind what was recorded before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from mpipool.ids import BROKER, ExecutorId, Rank, ScatterId, leader_of
from mpipool.led import Led
from mpipool.messages import Ask, Buffer, Records
from mpipool.outcomes import Outcomes
from mpipool.task import DONE, KEPT_IN_RECORD, REDO, STATE_NAMES, Outcome, Record, load_details

EVERY: Final = 0.05
"""Seconds for which records are gathered."""


Told = TypeVar("Told", bound=Records | Ask)
Way = tuple[ScatterId, ...]
"""The scatters by whose leaders records go, the next one last."""


@dataclass(slots=True)
class _Gathered:
    batches: list[int] = field(default_factory=list)
    parts: list[Buffer] = field(default_factory=list)


class RecordBuffer:
    """Outcomes which were not sent on yet, at this rank.

    Attributes
    ----------
    sent : int
        How many messages were taken from here, all in all.
    """

    def __init__(self, rank: Rank = BROKER) -> None:
        self.sent = 0
        self._rank = rank
        self._gathered: dict[Way, _Gathered] = {}
        self._owners: set[ExecutorId] = set()

    def add(self, led: Led, rank: int, attempt: int, outcomes: Outcomes) -> None:
        """Add the outcomes of consecutive tasks."""
        keyed = led.opening.keyed
        gathered = self._gathered.setdefault(_way(led.path[:-1], self._rank), _Gathered())
        gathered.batches += (led.scatter, rank, outcomes.first, attempt, int(keyed))
        gathered.parts += outcomes.kept_results() if keyed else outcomes.without_results()
        self._owners.add(led.owner)

    def are_of(self, owner: ExecutorId) -> bool:
        """Whether some are of what this process has scattered."""
        return owner in self._owners

    def take(self) -> Iterator[tuple[Rank, Records]]:
        """Yield what was gathered, and where it goes."""
        taken, self._gathered, self._owners = self._gathered, {}, set()
        self.sent += len(taken)
        for way, gathered in taken.items():
            batches, parts = tuple(gathered.batches), tuple(gathered.parts)
            yield _next(way), Records(batches=batches, parts=parts, by=way)


def pass_on(message: Told, rank: Rank) -> tuple[Rank, Told]:
    """Return to whom ``rank`` sends what on the way of records; ``by`` may begin with itself."""
    way = _way(message.by, rank)
    return _next(way), replace(message, by=way)


def _way(above: Sequence[int], rank: Rank) -> Way:
    """Return the rest of the way: rank 0 is its end, and a rank does not send to itself."""
    while above and leader_of(ScatterId(above[-1])) in {rank, BROKER}:
        above = () if leader_of(ScatterId(above[-1])) == BROKER else above[:-1]
    return tuple(map(ScatterId, above))


def _next(way: Sequence[int]) -> Rank:
    return leader_of(ScatterId(way[-1])) if way else BROKER


def unpack(message: Records, folder: str) -> Iterator[Record]:
    """Yield the records of a message.

    Outputs below ``folder``, where the database is, are recorded relative to it: a repository can
    be moved.
    """
    parts = iter(message.parts)
    integers = iter(message.batches)
    for scatter, rank, first, attempt, keyed in zip(*[integers] * 5, strict=True):
        table, details, results = (memoryview(next(parts)) for _ in range(3))
        at = 0
        for index, outcome in enumerate(Outcomes(first, (table, details, b"")), start=first):
            kept = None
            if keyed and outcome.entry.state == DONE and outcome.entry.result <= KEPT_IN_RECORD:
                kept = bytes(results[at : at + outcome.entry.result])
                at += outcome.entry.result
            if outcome.entry.state != REDO:
                yield _record((scatter, index, attempt), rank, outcome, kept, folder)


def _record(
    task: tuple[int, int, int], rank: int, outcome: Outcome, kept: bytes | None, folder: str
) -> Record:
    details: dict[str, Any] = load_details(outcome.details)
    scatter, index, attempt = task
    entry = outcome.entry
    outputs = [_relative(final, folder) for _, final in details.get("outputs", ())]
    return Record(
        scatter=scatter,
        task=index,
        attempt=details.get("attempt", attempt),
        digest=bytes.fromhex(details["digest"]) if "digest" in details else None,
        data_id=details.get("data_id"),
        state=STATE_NAMES[entry.state],
        rank=rank,
        started=entry.started,
        finished=entry.started + entry.wall,
        cpu=entry.cpu,
        peak_memory=entry.peak,
        error=details.get("error"),
        message=details.get("message"),
        traceback=details.get("traceback"),
        stderr=details.get("stderr"),
        metrics=json.dumps(details["metrics"]) if "metrics" in details else None,
        outputs=json.dumps(outputs) if outputs else None,
        result=kept,
        result_file=details.get("result_file"),
    )


def _relative(path: str, folder: str) -> str:
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else path
