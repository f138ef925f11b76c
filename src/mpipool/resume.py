"""What of a keyed map is done already, by an earlier run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final

from mpipool import keys
from mpipool.checkpoint.results import read_result
from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointError, MemoryExceeded, UsageError
from mpipool.executor.caller import Attachment, Caller
from mpipool.executor.pickling import loads
from mpipool.needs import rounded
from mpipool.task import key_prefix

AGAIN: Final = 2
"""So many times what it was seen to use a task gets which had lacked memory."""
KIB_IN_MIB: Final = 1024
_LACKING: Final = {MemoryExceeded.__name__, MemoryError.__name__}


@dataclass(slots=True)
class Resumed:
    """The items of a keyed map, as the checkpoint knows them."""

    results: dict[int, Any] = field(default_factory=dict)
    """What is done, by index."""
    waiting: list[int] = field(default_factory=list)
    """Which items are to be run."""
    prefixes: list[bytes] = field(default_factory=list)
    """Their keys, as they are sent with them."""
    memories: list[int] = field(default_factory=list)
    """How many MiB they are known to need; 0 where nothing is known."""
    seconds: list[float] = field(default_factory=list)
    """How long they took, or at least take; -1 where no more is known than ``mean``."""
    mean: float = 0.0
    """How long those which are done took; 0 if none is."""

    def merged_with(self, values: list[Any]) -> list[Any]:
        """Put what was done before and what was run now in the order of the items."""
        merged = dict(zip(self.waiting, values, strict=True)) | self.results
        return [merged[index] for index in range(len(merged))]


def identify(stage: str, key: Any, items: list[Any]) -> list[str]:
    """Make the data IDs of items, as canonical JSON.

    Raises
    ------
    UsageError
        If two items have the same, or one is not made of JSON values; if ``key`` is no function.
    """
    if not callable(key):
        raise UsageError(f"key= of {stage} is a function which makes the data ID of an item")
    identities = [keys.canonical(key(item), f"data ID of {stage}") for item in items]
    first: dict[str, int] = {}
    for index, identity in enumerate(identities):
        if identity in first:
            raise UsageError(
                f"items {first[identity]} and {index} of {stage} have the same data ID {identity}"
            )
        first[identity] = index
    return identities


def resume(
    caller: Caller, digests: list[bytes], identities: list[str], limited: bool = False
) -> Resumed:
    """Ask the checkpoint what is done, and prepare the rest.

    A task counts as done if it is recorded so, and all that it made is still there. ``limited``
    says whether the call limits the memory of its tasks.
    """
    resumed = Resumed()
    known: list[Any] = [None] * len(digests)
    results: Iterable[Any] = ()
    if caller.attachment.recorded and digests:
        known, results = caller.ask("find", digests=[digest.hex() for digest in digests])
    pickled = iter(results)
    reopened = []
    resumed.mean = _mean(known)
    for index, found in enumerate(known):
        result = next(pickled) if found else b""
        if found and found["state"] == "done":
            if _is_whole(found, caller.attachment.results):
                resumed.results[index] = _load(found, result, caller.attachment)
                continue
            reopened.append(digests[index].hex())
        attempts = found["attempts"] if found else 0
        resumed.waiting.append(index)
        resumed.prefixes.append(key_prefix(digests[index], identities[index], attempts))
        resumed.memories.append(_learnt(found, limited) if found else 0)
        resumed.seconds.append(_least(found, resumed.mean) if found else -1.0)
    if reopened:
        caller.ask("reopen", digests=reopened)
    return resumed


def _learnt(found: dict[str, Any], limited: bool) -> int:
    """Return how many MiB a task should have, as its last attempt has shown; 0 if it has not."""
    peak = -(-int(found["peak_memory"]) // KIB_IN_MIB)
    if found["error"] in _LACKING:
        return rounded(AGAIN * peak)
    return rounded(peak) if limited and found["state"] == "done" else 0


def _mean(known: Iterable[dict[str, Any] | None]) -> float:
    took = [found["seconds"] for found in known if found and found["state"] == "done"]
    return fmean(took) if took else 0.0


def _least(found: dict[str, Any], mean: float) -> float:
    """Return how long a task takes at least, if its last attempt has shown more than others did."""
    if found["state"] == "done":
        return float(found["seconds"])
    lasted = found["seconds"] if found["state"] == "interrupted" else 0.0
    return float(lasted) if lasted > mean else -1.0


def _is_whole(found: dict[str, Any], folder: str) -> bool:
    """Whether what the task made is still there; outputs are relative to the database's folder."""
    made = [os.path.join(os.path.dirname(folder), path) for path in found["outputs"]]
    if found["result_file"]:
        made.append(os.path.join(folder, found["result_file"].split(":")[0]))
    return all(os.path.isfile(path) for path in made)


def _load(found: dict[str, Any], result: bytes, attachment: Attachment) -> Any:
    folder = attachment.results
    if found["result_file"]:
        result = read_result(folder, found["result_file"], Trust.of(attachment.group))
    try:
        return loads(result)
    except Exception as error:
        raise CheckpointError(
            folder,
            f"a result of an earlier run can't be loaded ({error}); "
            "give the stage another version=",
        ) from error
