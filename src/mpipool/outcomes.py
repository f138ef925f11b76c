"""A batch of outcomes, as agents handle it: counted, cut and completed, never unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from mpipool.ids import DataId
from mpipool.messages import Buffer, Parcel
from mpipool.task import (
    BLOCKED,
    DONE,
    ENTRY,
    FAILED,
    KEPT,
    KEPT_IN_RECORD,
    REDO,
    STARVED,
    Entry,
    Outcome,
    dump_details,
    load_details,
    outcomes,
)

Parts = tuple[Buffer, ...]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of consecutive tasks: table, details and results."""

    first: int
    parts: Parts

    def __len__(self) -> int:
        return len(self.parts[0]) // ENTRY.size

    def __iter__(self) -> Iterator[Outcome]:
        table, details = (memoryview(part) for part in self.parts[:2])
        parcels = [part for part in self.parts if isinstance(part, Parcel)]
        if parcels:  # it is the one result
            (fields,) = ENTRY.iter_unpack(table)
            return iter([Outcome(Entry._make(fields), details, cast(memoryview, parcels[0]))])
        return outcomes(table, details, memoryview(self.parts[2]))

    def by_state(self) -> dict[int, tuple[int, ...]]:
        """Return the indices of the tasks in each state."""
        return {state: self.in_state(state) for state in set(bytes(self.parts[0])[:: ENTRY.size])}

    def in_state(self, state: int) -> tuple[int, ...]:
        """Return the indices of the tasks in this state."""
        table = memoryview(self.parts[0])
        return tuple(
            index
            for index, fields in enumerate(ENTRY.iter_unpack(table), start=self.first)
            if fields[0] == state
        )

    def cut(self, first: int, count: int) -> Outcomes:
        """Return the outcomes of some of the tasks."""
        if first == self.first and count == len(self):
            return self
        chosen = list(self)[first - self.first : first - self.first + count]
        return Outcomes(first, pack(chosen))

    def kept_results(self) -> Parts:
        """Return the parts with only those results which belong into records."""
        kept = [
            outcome.result
            for outcome in self
            if outcome.entry.state == DONE and outcome.entry.result <= KEPT_IN_RECORD
        ]
        return (self.parts[0], self.parts[1], b"".join(kept))

    def without_results(self) -> Parts:
        """Return the parts without results."""
        return (self.parts[0], self.parts[1], b"")

    def completed(self, keys: dict[int, dict[str, Any]]) -> Outcomes:
        """Add keys to the details of tasks which died before they could say theirs."""
        completed = []
        for index, outcome in enumerate(self, start=self.first):
            details = load_details(outcome.details)
            if index in keys and "digest" not in details:
                encoded = dump_details(keys[index] | details)
                entry = outcome.entry._replace(details=len(encoded))
                outcome = Outcome(entry, memoryview(encoded), outcome.result)
            completed.append(outcome)
        return Outcomes(self.first, pack(completed))

    def told(self, stderr: str) -> Outcomes:
        """Add the end of its standard error to the details of a task that failed."""
        told = []
        for outcome in self:
            if outcome.entry.state in (FAILED, STARVED):
                encoded = dump_details(load_details(outcome.details) | {"stderr": stderr})
                entry = outcome.entry._replace(details=len(encoded))
                outcome = Outcome(entry, memoryview(encoded), outcome.result)
            told.append(outcome)
        return Outcomes(self.first, pack(told))

    def kept(self, keep: Callable[[Buffer], int]) -> Parts:
        """Return the parts with, in place of results, where these are kept.

        Parameters
        ----------
        keep : callable
            Keeps a result, and returns its data id.
        """
        batch = []
        for outcome in self:
            if outcome.entry.state == DONE:
                reference = KEPT.pack(keep(outcome.result), len(outcome.result))
                entry = outcome.entry._replace(result=KEPT.size)
                outcome = Outcome(entry, outcome.details, memoryview(reference))
            batch.append(outcome)
        return pack(batch)

    def where_kept(self) -> Iterator[tuple[int, DataId]]:
        """Yield by which id results are known which were kept, with the index of each."""
        for index, outcome in enumerate(self, start=self.first):
            if outcome.entry.state == DONE:
                yield index, DataId(KEPT.unpack(outcome.result)[0])

    def published(self, publish: Callable[[str, str], None]) -> Outcomes:
        """Publish what the tasks have put out; tasks whose outputs can't be published failed.

        Parameters
        ----------
        publish : callable
            Given a file and its final name; raises `OSError` if it can't have that.
        """
        if not len(self.parts[1]):
            return self
        batch = [_published(outcome, publish) for outcome in self]
        return Outcomes(self.first, pack(batch))


def _published(outcome: Outcome, publish: Callable[[str, str], None]) -> Outcome:
    if outcome.entry.state != DONE or not outcome.entry.details:
        return outcome
    details = load_details(outcome.details)
    for part, final in details.get("outputs", ()):
        try:
            publish(part, final)
        except OSError as error:
            message = f"its output {final} can't be published: {error.strerror}"
            failure = {"error": type(error).__name__, "message": message, "traceback": ""}
            kept = {name: details[name] for name in details if name != "outputs"}
            encoded = dump_details(kept | failure)
            entry = outcome.entry._replace(state=FAILED, details=len(encoded), result=0)
            return Outcome(entry, memoryview(encoded), memoryview(b""))
    return outcome


def pack(batch: Iterable[Outcome]) -> Parts:
    """Put single outcomes together."""
    chosen = list(batch)
    results = [outcome.result for outcome in chosen]
    return (
        b"".join(ENTRY.pack(*outcome.entry) for outcome in chosen),
        b"".join(outcome.details for outcome in chosen),
        results[0] if len(results) == 1 else b"".join(results),  # it may be large, or a parcel
    )


def notice(redo: int, entry: Entry, details: dict[str, Any]) -> Parts:
    """Write the outcomes of a chunk whose executor died.

    Parameters
    ----------
    redo : int
        How many tasks in front had ended, without being reported.
    entry : Entry
        Of the task that was running.
    details : dict
        What is known about the death.
    """
    encoded = dump_details(details)
    again = Outcome(Entry(REDO, 0, 0.0, 0.0, 0.0, 0, 0), memoryview(b""), memoryview(b""))
    died = Outcome(entry._replace(details=len(encoded)), memoryview(encoded), memoryview(b""))
    return pack([again] * redo + [died])


def never_run(index: int, now: float, details: Buffer) -> Outcomes:
    """Write the outcome of a task which is blocked, as it was found out now (s since the epoch)."""
    entry = Entry(BLOCKED, len(details), now, 0.0, 0.0, 0, 0)
    return Outcomes(index, (ENTRY.pack(*entry), details, b""))
