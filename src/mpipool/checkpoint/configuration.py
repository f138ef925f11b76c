"""The configuration with which a run was made, and how another one differs from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mpipool.errors import UsageError

_ABSENT: Final = object()


def canonical(config: Mapping[str, Any] | None) -> str:
    """Write a configuration so that equal ones are equal strings; ``null`` for none."""
    plain = None if config is None else dict(config)
    try:
        return json.dumps(
            plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"the configuration can't be written as JSON: {error}") from error


def differences(old: str, new: str) -> list[str]:
    """List what differs between two canonical configurations, as ``key: old → new``."""
    before, after = dict(_flat(json.loads(old))), dict(_flat(json.loads(new)))
    return [
        f"{key}: {_show(before.get(key, _ABSENT))} → {_show(after.get(key, _ABSENT))}"
        for key in sorted(before.keys() | after.keys())
        if _show(before.get(key, _ABSENT)) != _show(after.get(key, _ABSENT))
    ]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested keys as ``outer.inner``; an empty mapping is a value."""
    if isinstance(value, dict) and (value or prefix):
        if not value:
            yield prefix, value
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    elif prefix:
        yield prefix, value


def _show(value: Any) -> str:
    return "(absent)" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
