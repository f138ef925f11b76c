"""Records on their way to rank 0: gathered where scatters are led, unpacked by the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from mpipool.led import Led
from mpipool.messages import Buffer, Records
from mpipool.outcomes import Outcomes
from mpipool.task import DONE, KEPT_IN_RECORD, REDO, STATE_NAMES, Outcome, Record, load_details

EVERY: Final = 0.05
"""Seconds for which records are gathered."""


class RecordBuffer:
    """Outcomes which were not sent to the broker yet."""

    def __init__(self) -> None:
        self._batches: list[int] = []
        self._parts: list[Buffer] = []

    def add(self, led: Led, rank: int, attempt: int, outcomes: Outcomes) -> None:
        """Add the outcomes of consecutive tasks."""
        keyed = led.opening.keyed
        self._batches += (led.scatter, rank, outcomes.first, attempt, int(keyed))
        self._parts += outcomes.kept_results() if keyed else outcomes.without_results()

    def take(self) -> Records | None:
        """Return what was gathered as a message, or None."""
        if not self._batches:
            return None
        message = Records(batches=tuple(self._batches), parts=tuple(self._parts))
        self._batches, self._parts = [], []
        return message


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
