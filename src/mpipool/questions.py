"""What callers may ask of the checkpoint: answered by the recorder, in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mpipool.checkpoint.database import Checkpoint, Found


def _find(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[list[Any], list[bytes]]:
    found = checkpoint.find([bytes.fromhex(digest) for digest in facts["digests"]])
    results = [entry.result or b"" for entry in found if entry]
    return [entry and _known(entry) for entry in found], results


def _known(found: Found) -> dict[str, Any]:
    known = found._asdict()
    del known["result"]
    return known


def _reopen(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[Any, list[bytes]]:
    checkpoint.reopen([bytes.fromhex(digest) for digest in facts["digests"]])
    return {}, []


def _sync(checkpoint: Checkpoint, facts: dict[str, Any]) -> tuple[Any, list[bytes]]:
    """Answered when everything before is on disk."""
    return {}, []


QUESTIONS: Final[dict[str, Callable[[Checkpoint, dict[str, Any]], tuple[Any, list[bytes]]]]] = {
    "find": _find,
    "reopen": _reopen,
    "sync": _sync,
}
