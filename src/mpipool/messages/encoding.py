"""Messages as bytes, derived from the types of their fields."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from mpipool.messages.below_agents import LOCAL_MESSAGES
from mpipool.messages.between_ranks import RANK_MESSAGES
from mpipool.messages.message import Buffer, Message
from mpipool.messages.parcel import Parcel

_SCALARS: Final = {int: "q", float: "d", bool: "?"}
_U32: Final = struct.Struct("<I")
_ALIGNED: Final = 64 * 1024
"""Bytes of parts from which on the longest is aligned."""
ALIGNMENT: Final = 64
"""Bytes."""
_NUMBER_AT: Final = 48
_LENGTH: Final = (1 << _NUMBER_AT) - 1
_IS_PARCEL: Final = 1 << 63
"""The length of a parcel is marked with this and its number: it is not in the message."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one class of message is packed: scalars in one struct, the others one by one."""

    make: type[Message]
    scalars: tuple[str, ...]
    packed: struct.Struct
    others: tuple[tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]], ...]


def _pack_integers(values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _unpack_integers(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}q", packed)


def _layout(make: type[Message]) -> _Layout:
    scalars: list[str] = []
    formats = "<B"
    others: list[tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]]] = []
    for name, hint in get_type_hints(make).items():
        kind = getattr(hint, "__supertype__", hint)
        if name in {"parts", "code"}:
            continue
        if kind in _SCALARS:
            scalars.append(name)
            formats += _SCALARS[kind]
        elif kind is str:
            others.append((name, str.encode, bytes.decode))
        elif kind is bytes:
            others.append((name, bytes, bytes))
        else:
            others.append((name, _pack_integers, _unpack_integers))
    return _Layout(make, tuple(scalars), struct.Struct(formats), tuple(others))


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
        Returns the number of a parcel on the link.
    """
    layout = _LAYOUTS[message.code]
    header = [layout.packed.pack(message.code, *[getattr(message, f) for f in layout.scalars])]
    for name, pack, _ in layout.others:
        packed = pack(getattr(message, name))
        header += (_U32.pack(len(packed)), packed)
    parts: list[Any] = [*message.parts]
    body = [part for part in parts if not isinstance(part, Parcel)]
    lengths = [_length(part, refer) for part in parts]
    sizes = [len(part) for part in body]
    if payload is not None:
        sizes.append(sum(map(len, payload)))
        lengths.append(sizes[-1])
    header.append(struct.pack(f"<I{len(lengths)}Q", len(lengths), *lengths))
    if sum(sizes) > _ALIGNED:
        before = sum(map(len, header)) + sum(sizes[: sizes.index(max(sizes))])
        header.append(bytes(-before % ALIGNMENT))
    return [b"".join(header), *body, *(payload or ())]


def _length(part: Any, refer: Callable[[Parcel], int] | None) -> int:
    if refer is None or not isinstance(part, Parcel):
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
    values: dict[str, Any] = dict(
        zip(layout.scalars, layout.packed.unpack_from(view)[1:], strict=True)
    )
    at = layout.packed.size
    for name, _, unpack in layout.others:
        (size,) = _U32.unpack_from(view, at)
        at += _U32.size
        values[name] = unpack(bytes(view[at : at + size]))
        at += size
    (count,) = _U32.unpack_from(view, at)
    lengths = struct.unpack_from(f"<{count}Q", view, at + _U32.size)
    start = len(view) - sum(length for length in lengths if length < _IS_PARCEL)
    values["parts"] = tuple(_cut(view, start, lengths, find))
    return layout.make(**values)


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
