"""Keys: what makes a task the same task in the next run."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from mpipool.errors import UsageError


def canonical(value: Any, where: str) -> str:
    """Write a value as canonical JSON: sorted keys, no spaces, NumPy scalars as numbers.

    Parameters
    ----------
    value : object
        Dicts with string keys, lists, tuples, strings, numbers, booleans, None, paths are not
        taken: say ``str(path)``.
    where : str
        Names the value in errors, for example ``"data ID"``.

    Raises
    ------
    UsageError
        For NaN, infinities and everything that is not JSON, with the field's name.
    """
    return json.dumps(_plain(value, where), sort_keys=True, separators=(",", ":"))


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"{where} is {value}: a key can't hold that, it equals nothing")
        return value
    if isinstance(value, dict):
        return {_name(key, where): _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        if getattr(value, "ndim", 0):
            raise UsageError(f"{where} is an array: a key is made of single values and lists")
        return _plain(value.item(), where)
    raise UsageError(f"{where} is a {type(value).__name__}: a key is made of JSON values only")


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise UsageError(f"{where} has the name {key!r}: names in a key are strings")
    return key


def digest(stage: str, version: str, config: Any, data_id: str) -> bytes:
    """Return the key's digest, 16 bytes.

    Parameters
    ----------
    stage, version : str
        The kind of task, and its author's version of it. Code is never digested.
    config : object
        The configuration, as `canonical` takes it.
    data_id : str
        Canonical JSON.
    """
    text = f"[{canonical([stage, version, config], 'configuration')},{data_id}]"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
