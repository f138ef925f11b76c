"""One call of a user function: what crosses between processes about it, and what is kept of it.

The functions here are the only ones which know how a batch of tasks is laid out in bytes.
A batch of *items* is a table of sizes and the items one behind the other, so that any run of
consecutive tasks is one slice. A batch of *outcomes* is a table of fixed-size entries, the
details (JSON, only where there is something to say) and the results, one behind the other.
Agents cut and forward these; only executors and the caller look into items and results.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

DONE: Final = 0
"""The task returned; its result follows."""
FAILED: Final = 1
"""The task raised, or its executor died; the pickled exception follows."""
LOST: Final = 2
"""The attempt ended through no fault of the task (its guard was killed); it is tried again."""

REDO: Final = 3
"""It ran, but its outcome went down with a later task of its chunk; it is run again."""

BLOCKED: Final = 4
"""It is never run: another failed which it waited for."""

INTERRUPTED: Final = 5
"""Its process was ended from outside: its leader wanted it back, or the run drained."""

STARVED: Final = 6
"""It failed for want of memory, and may do better with more."""

STATE_NAMES: Final = {
    DONE: "done",
    FAILED: "failed",
    LOST: "lost",
    BLOCKED: "blocked",
    INTERRUPTED: "interrupted",
    STARVED: "failed",
}

ENTRY: Final = struct.Struct("<BxxxIdffIxxxxQ")
"""state, length of details, start (s since the epoch), wall (s), CPU (s), peak (KiB), result."""

SIZE: Final = struct.Struct("<Q")

KEY_LENGTH: Final = struct.Struct("<I")
"""In front of a keyed item: the length of its key, then the key as JSON, then the pickled item."""

DIGEST: Final = 16
"""Bytes of the digest of a function."""

KEPT: Final = struct.Struct("<QQ")
"""In place of a result that stays where it was made: its data id, and its size in bytes."""

KEPT_IN_RECORD: Final = 64 * 1024
"""Results up to this many bytes are kept in the record; larger ones in a file of their own."""


class Entry(NamedTuple):
    """The fixed-size part of one task's outcome."""

    state: int
    details: int
    """Length of the details in bytes."""
    started: float
    """Seconds since the epoch."""
    wall: float
    """Seconds."""
    cpu: float
    """Seconds."""
    peak: int
    """Peak resident memory of the executor while it ran, KiB; 0 where it was not measured."""
    result: int
    """Length of the pickled result or exception in bytes."""


class Outcome(NamedTuple):
    """One task's outcome, cut out of its batch."""

    entry: Entry
    details: memoryview
    result: memoryview


class Record(NamedTuple):
    """One finished attempt, as it stands in the checkpoint (one row of table ``attempt``)."""

    scatter: int
    task: int
    """Index of the task in its scatter."""
    attempt: int
    """1 for the first attempt of this task; counts on through resumed sessions."""
    digest: bytes | None
    """The key's digest; None for tasks which are not checkpointed for resume."""
    data_id: str | None
    """Canonical JSON."""
    state: str
    """``done``, ``failed``, ``lost``, ``blocked`` or ``interrupted``."""
    rank: int
    started: float
    finished: float
    cpu: float
    peak_memory: int
    """KiB."""
    error: str | None
    """Type of the exception, or the name of the signal."""
    message: str | None
    traceback: str | None
    stderr: str | None
    metrics: str | None
    """JSON object: what the task gave to `mpipool.record`."""
    outputs: str | None
    """JSON list of the paths which the task published through `mpipool.output`."""
    result: bytes | None
    """Pickled; None for failures and for results kept in a file."""
    result_file: str | None
    """Name in the folder of results, with size and SHA-256 as ``name:size:hex``."""


def outcomes(table: memoryview, details: memoryview, results: memoryview) -> Iterator[Outcome]:
    """Cut a batch of outcomes into single ones."""
    at_details = at_result = 0
    for fields in ENTRY.iter_unpack(table):
        entry = Entry._make(fields)
        end_details, end_result = at_details + entry.details, at_result + entry.result
        yield Outcome(entry, details[at_details:end_details], results[at_result:end_result])
        at_details, at_result = end_details, end_result


def dump_details(details: dict[str, Any]) -> bytes:
    """Encode the details of one outcome."""
    return json.dumps(details, separators=(",", ":")).encode()


def load_details(details: memoryview | bytes) -> dict[str, Any]:
    """Decode the details of one outcome; empty where there are none."""
    loaded: dict[str, Any] = json.loads(bytes(details)) if len(details) else {}
    return loaded


def key_prefix(digest: bytes, data_id: str, attempts: int) -> bytes:
    """Encode what stands in front of a keyed item; ``attempts`` were made in earlier sessions."""
    key = {"digest": digest.hex(), "data_id": data_id, "attempt": attempts}
    encoded = dump_details(key)
    return KEY_LENGTH.pack(len(encoded)) + encoded


def cut_key(item: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Cut a keyed item into its key and the pickled item."""
    (length,) = KEY_LENGTH.unpack_from(item)
    start = KEY_LENGTH.size + length
    return load_details(item[KEY_LENGTH.size : start]), item[start:]
