"""Dataclasses whose objects nobody changes once they are made: mypy sees to that.

At run time they are ordinary ones, since a frozen one sets each of its fields by a call. A dozen
fields take 0.4 µs instead of 1.4, and some forty objects are made on the way of a single task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_Made = TypeVar("_Made")


@dataclass_transform(frozen_default=True)
def value(described: type[_Made]) -> type[_Made]:
    """Make a class of values."""
    return dataclass(slots=True, unsafe_hash=True)(described)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def named_value(described: type[_Made]) -> type[_Made]:
    """Make a class of values whose fields must be named."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(described)
