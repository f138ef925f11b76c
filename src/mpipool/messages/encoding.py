"""Messages as bytes, derived from the types of their fields."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final, get_type_hints

from mpipool.messages.below_agents import LOCAL_MESSAGES
from mpipool.messages.between_ranks import RANK_MESSAGES
from mpipool.messages.message import Buffer, Message
from mpipool.messages.parcel import Parcel

_SCALARS: Final = {int: "q", float: "d", bool: "?"}
_ALIGNED: Final = 64 * 1024
"""Bytes of parts from which on the longest is aligned."""
ALIGNMENT: Final = 64
"""Bytes."""
_NUMBER_AT: Final = 48
_LENGTH: Final = (1 << _NUMBER_AT) - 1
_IS_PARCEL: Final = 1 << 63
"""The length of a parcel is marked with this and its number: it is not in the message."""


Pack = Callable[[Any], bytes]
Unpack = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one class of message is packed: in one struct its code, its scalars, the lengths of its
    other fields and the number of its parts; then these fields; then the lengths of the parts."""

    make: type[Message]
    names: tuple[str, ...]
    """Of the fields, scalars first."""
    values: Callable[[Message], tuple[Any, ...]]
    """Gets these."""
    scalars: int
    head: struct.Struct
    packs: tuple[Pack, ...]
    """How each of the other fields is packed."""
    unpacks: tuple[tuple[Unpack, Any], ...]
    """How it is unpacked, and what it is when it is empty."""


def _pack_integers(values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _unpack_integers(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}q", packed)


def _layout(make: type[Message]) -> _Layout:
    scalars: dict[str, str] = {}
    others: dict[str, tuple[Pack, Unpack, Any]] = {}
    for name, hint in get_type_hints(make).items():
        kind = getattr(hint, "__supertype__", hint)
        if name in {"parts", "code"}:
            continue
        if kind in _SCALARS:
            scalars[name] = _SCALARS[kind]
        elif kind is str:
            others[name] = (str.encode, bytes.decode, "")
        elif kind is bytes:
            others[name] = (bytes, bytes, b"")
        else:
            others[name] = (_pack_integers, _unpack_integers, ())
    names = (*scalars, *others)
    head = struct.Struct("<B" + "".join(scalars.values()) + "I" * (len(others) + 1))
    packs = tuple(pack for pack, _, _ in others.values())
    unpacks = tuple((unpack, empty) for _, unpack, empty in others.values())
    return _Layout(make, names, _getter(names), len(scalars), head, packs, unpacks)


def _packed(pack: Pack, value: Any) -> bytes:
    return pack(value) if value else b""


def _getter(names: tuple[str, ...]) -> Callable[[Message], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


_LAYOUTS: Final[dict[int, _Layout]] = {}
for _code, _make in enumerate(RANK_MESSAGES + LOCAL_MESSAGES, start=1):
    _make.code = _code
    _LAYOUTS[_code] = _layout(_make)


def encode(
    message: Message,
    payload: Sequence[Buffer] | None = None,
    refer: Callable[[Parcel], int] | None = None,
) -> list[Buffer]:
    """Encode a message as a list of buffers: the header, then its parts as they are.

    The header ends with the length of each part, and with what aligns the longest of them, so that
    the concatenation can be cut again and arrays be used where they are.

    Parameters
    ----------
    message : Message
        What to encode.
    payload : sequence of bytes-like, optional
        A further part, in pieces.
    refer : callable, optional
        Returns the number of a parcel on the link; there is no payload then.
    """
    layout = _LAYOUTS[message.code]
    values, parts = layout.values(message), message.parts
    scalars, others = values[: layout.scalars], values[layout.scalars :]
    if any(others):
        others = tuple(map(_packed, layout.packs, others))
    sizes = lengths = [*map(len, parts)]
    if refer is not None:
        parts = tuple(part for part in message.parts if not isinstance(part, Parcel))
        lengths, sizes = [_length(part, refer) for part in message.parts], [*map(len, parts)]
    if payload is not None:
        sizes.append(sum(map(len, payload)))
    head = layout.head.pack(message.code, *scalars, *map(len, others), len(lengths))
    header = b"".join((head, *filter(None, others), _sizes(len(lengths)).pack(*lengths)))
    if sum(sizes) > _ALIGNED:
        before = len(header) + sum(sizes[: sizes.index(max(sizes))])
        header += bytes(-before % ALIGNMENT)
    return [header, *parts, *(payload or ())]


def _length(part: Any, refer: Callable[[Parcel], int]) -> int:
    if not isinstance(part, Parcel):
        return len(part)
    return _IS_PARCEL | refer(part) << _NUMBER_AT | len(part)


def decode(frame: Buffer, find: Callable[[int, int], Any] | None = None) -> Message:
    """Decode what `encode` made; the parts are views of ``frame``, not copies.

    Parameters
    ----------
    frame : bytes-like
        What came.
    find : callable, optional
        Returns what stands for a parcel, given its number on the link and its size.
    """
    view = memoryview(frame)
    layout = _LAYOUTS[view[0]]
    _, *values, count = layout.head.unpack_from(view)
    at = layout.head.size
    for field, (unpack, empty) in enumerate(layout.unpacks, start=layout.scalars):
        size = values[field]
        values[field] = unpack(view[at : at + size].tobytes()) if size else empty
        at += size
    fields = dict(zip(layout.names, values, strict=True))
    if count:
        lengths = _sizes(count).unpack_from(view, at)
        there = sum(lengths) if find is None else sum(n for n in lengths if n < _IS_PARCEL)
        fields["parts"] = tuple(_cut(view, len(view) - there, lengths, find))
    return layout.make(**fields)


@cache
def _sizes(count: int) -> struct.Struct:
    """Return how the lengths of so many parts are packed."""
    return struct.Struct(f"<{count}Q")


def _cut(
    view: memoryview, at: int, lengths: Sequence[int], find: Callable[[int, int], Any] | None
) -> list[Any]:
    parts = []
    for length in lengths:
        if length >= _IS_PARCEL:
            assert find, "a parcel came where none can"
            parts.append(find((length ^ _IS_PARCEL) >> _NUMBER_AT, length & _LENGTH))
            continue
        parts.append(view[at : at + length])
        at += length
    return parts


def describe(message: Message) -> str:
    """Write a message for a log: its fields, and how long its parts are."""
    fields = ", ".join(
        f"{field.name}={getattr(message, field.name)!r}"
        for field in dataclasses.fields(message)
        if field.name != "parts"
    )
    return f"{type(message).__name__}({fields}; {[len(part) for part in message.parts]} bytes)"
