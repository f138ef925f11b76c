"""What of a keyed map is done already, by an earlier run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mpipool import keys
from mpipool.checkpoint.results import read_result
from mpipool.errors import CheckpointError, UsageError
from mpipool.executor.caller import Caller
from mpipool.executor.pickling import loads
from mpipool.task import key_prefix


@dataclass(slots=True)
class Resumed:
    """The items of a keyed map, as the checkpoint knows them."""

    results: dict[int, Any] = field(default_factory=dict)
    """What is done, by index."""
    waiting: list[int] = field(default_factory=list)
    """Which items are to be run."""
    prefixes: list[bytes] = field(default_factory=list)
    """Their keys, as they are sent with them."""

    def merged_with(self, values: list[Any]) -> list[Any]:
        """Put what was done before and what was run now in the order of the items."""
        merged = dict(zip(self.waiting, values, strict=True)) | self.results
        return [merged[index] for index in range(len(merged))]


def identify(stage: str, key: Callable[[Any], Any], items: list[Any]) -> list[str]:
    """Make the data IDs of items, as canonical JSON.

    Raises
    ------
    UsageError
        If two items have the same, or one is not made of JSON values.
    """
    identities = [keys.canonical(key(item), f"data ID of {stage}") for item in items]
    first: dict[str, int] = {}
    for index, identity in enumerate(identities):
        if identity in first:
            raise UsageError(
                f"items {first[identity]} and {index} of {stage} have the same data ID {identity}"
            )
        first[identity] = index
    return identities


def resume(caller: Caller, digests: list[bytes], identities: list[str]) -> Resumed:
    """Ask the checkpoint what is done, and prepare the rest.

    A task counts as done if it is recorded so, and all that it made is still there.
    """
    resumed = Resumed()
    known: list[Any] = [None] * len(digests)
    results: Iterable[Any] = ()
    if caller.attachment.recorded and digests:
        known, results = caller.ask("find", digests=[digest.hex() for digest in digests])
    pickled = iter(results)
    reopened = []
    for index, found in enumerate(known):
        result = next(pickled) if found else b""
        if found and found["state"] == "done":
            if _is_whole(found, caller.attachment.results):
                resumed.results[index] = _load(found, result, caller.attachment.results)
                continue
            reopened.append(digests[index].hex())
        attempts = found["attempts"] if found else 0
        resumed.waiting.append(index)
        resumed.prefixes.append(key_prefix(digests[index], identities[index], attempts))
    if reopened:
        caller.ask("reopen", digests=reopened)
    return resumed


def _is_whole(found: dict[str, Any], folder: str) -> bool:
    """Whether what the task made is still there; outputs are relative to the database's folder."""
    made = [os.path.join(os.path.dirname(folder), path) for path in found["outputs"]]
    if found["result_file"]:
        made.append(os.path.join(folder, found["result_file"].split(":")[0]))
    return all(os.path.isfile(path) for path in made)


def _load(found: dict[str, Any], result: bytes, folder: str) -> Any:
    if found["result_file"]:
        result = read_result(folder, found["result_file"])
    try:
        return loads(result)
    except Exception as error:
        raise CheckpointError(
            folder,
            f"a result of an earlier run can't be loaded ({error}); "
            "give the stage another version=",
        ) from error
