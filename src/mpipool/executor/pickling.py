"""Pickling for other processes: lambdas, closures and what `__main__` defines go by value.

Large buffers (NumPy arrays) are not copied into the pickle. A *container* holds the pickle and, one
behind the other, the buffers which it refers to (protocol 5), so that what is loaded are views of
the message in which it came: no further copy, writeable, and alive as long as somebody uses them.
On the sending side a large buffer is sent from where it is.

A container begins with another byte than a pickle::

    magic, number of buffers, length of the pickle | offset and length of each buffer
    pickle | padding, buffer | padding, buffer ... | padding

Offsets count from the container's first byte. The buffers, and the end, are aligned to `ALIGNMENT`
with respect to what stands in front of the container too; `messages.encode` aligns the whole.
"""

from __future__ import annotations

import ctypes
import pickle
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import cloudpickle

from mpipool.errors import UnpicklableError
from mpipool.executor import blame
from mpipool.messages import ALIGNMENT, Buffer

PROTOCOL: Final = 5
OUT_OF_BAND: Final = 64 * 1024
"""Bytes. Smaller buffers are part of the pickle: there a copy is cheaper than the bookkeeping."""
LARGE: Final = 1 << 20
"""Bytes. What is at least so long is sent in pieces, from where it is, in a message of its own."""

LASTING: Final = 4096
"""Bytes. After a longer pickle a pickler is not used again: its memo does not shrink, and all of
it would be cleared each time."""

_MAGIC: Final = b"mpb1"
_MARK: Final = _MAGIC[0]
"""Pickles begin with 0x80."""
_HEAD: Final = struct.Struct("<4sIQ")
_SPAN: Final = struct.Struct("<QQ")
_ADDRESS: Final = 16
"""What malloc aligns to, and NumPy expects of its arrays."""


class Pieces:
    """A large pickle in pieces, some of them the very memory of what was pickled.

    It must be sent before anybody can change that.

    Attributes
    ----------
    buffers : list of bytes-like
        The pieces.
    """

    __slots__ = ("_size", "buffers")

    def __init__(self, buffers: list[Buffer]) -> None:
        self.buffers = buffers
        self._size = sum(map(len, buffers))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)


Pickled = bytes | Pieces
CALL: Final = ("the function", "arguments", "keywords")
"""Names of the parts of a call."""


class _File:
    """What a pickler writes to: it looks for nothing but this attribute."""

    def __init__(self, write: Callable[[Buffer], None]) -> None:
        self.write = write


_Kit = tuple[Any, list[Buffer], list[memoryview]]
"""A pickler, and the lists into which it writes: what belongs into the pickle, and what does not.
Large ``bytes`` are put there as they are."""


class _Dumper:
    """Keeps a pickler for the next item: to make one costs more than to pickle a small item."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._spare: list[_Kit] = []

    def _new(self) -> _Kit:
        pieces: list[Buffer] = []
        buffers: list[memoryview] = []
        aside = partial(_set_aside, buffers)
        file = _File(pieces.append)
        return self._make(file, protocol=PROTOCOL, buffer_callback=aside), pieces, buffers

    def dump(self, item: Any, prefix: bytes = b"") -> Pickled:
        """Pickle one object behind a prefix; raise whatever comes up."""
        try:
            kit = self._spare.pop()
        except (
            IndexError
        ):  # in use, by another thread or by what calls the pool while it is pickled
            kit = self._new()
        pickler, pieces, buffers = kit
        pickler.dump(item)
        if len(pieces) > 1 or buffers:
            behind = _contain(pieces, buffers, len(prefix)) if buffers else pieces
            packed = Pieces([prefix, *behind])
            return packed if len(packed) >= LARGE else bytes(packed)
        whole = prefix + pieces[0]
        if len(whole) <= LASTING:
            pickler.clear_memo()
            pieces.clear()
            self._spare.append(kit)
        return whole


def _set_aside(buffers: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Keep a large buffer out of the pickle; return whether it belongs into it."""
    try:
        raw = buffer.raw()
    except BufferError:  # it is not contiguous
        return True
    if raw.nbytes < OUT_OF_BAND:
        return True
    buffers.append(raw)
    return False


def _contain(pickled: list[Buffer], buffers: list[memoryview], before: int) -> list[Buffer]:
    """Make a container of a pickle and its buffers, as pieces."""
    size = sum(map(len, pickled))
    at = before + _HEAD.size + _SPAN.size * len(buffers) + size
    spans: list[bytes] = []
    pieces: list[Buffer] = []
    for buffer in buffers:
        padding = -at % ALIGNMENT
        spans.append(_SPAN.pack(at + padding - before, len(buffer)))
        pieces += bytes(padding), buffer
        at += padding + len(buffer)
    head = _HEAD.pack(_MAGIC, len(buffers), size)
    return [head, *spans, *pickled, *pieces, bytes(-at % ALIGNMENT)]


def loads(pickled: Buffer) -> Any:
    """Load what was pickled here; raise whatever its classes raise.

    Parameters
    ----------
    pickled : bytes-like
        A pickle, or a container. Large buffers of what is returned are views of it, unless it is
        read-only or oddly aligned: then they are copied.
    """
    view = memoryview(pickled)
    if len(view) < OUT_OF_BAND or view[0] != _MARK:
        return pickle.loads(view)
    _, count, size = _HEAD.unpack_from(view)
    start = _HEAD.size + _SPAN.size * count
    spans = _SPAN.iter_unpack(view[_HEAD.size : start])
    buffers = [_usable(view[at : at + length]) for at, length in spans]
    return pickle.loads(view[start : start + size], buffers=buffers)


def _usable(view: memoryview) -> Buffer:
    if view.readonly or ctypes.addressof(ctypes.c_char.from_buffer(view)) % _ADDRESS:
        return bytearray(view)
    return view


_ANY: Final = _Dumper(cloudpickle.Pickler)
_PLAIN: Final = _Dumper(pickle.Pickler)
"""What can pickle anything, and what is faster."""


# --- what is pickled -----------------------------------------------------------------------------


class Packer:
    """Pickles many objects one behind the other, each so that it can be loaded alone."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self.size = 0
        """Bytes put behind each other since the last `take`."""

    def pack(
        self,
        item: Any,
        what: str | Callable[[], str],
        prefix: bytes = b"",
        names: Sequence[str] = ("item",),
    ) -> Pickled:
        """Pickle one object, and leave it to the caller to `put` it or to send it at once.

        Parameters
        ----------
        item : object
            What to pickle.
        what : str or callable
            Names it in the error; or returns that, since it is seldom needed.
        prefix : bytes
            Written in front of it.
        names : sequence of str
            What its user calls it; or, if it is a tuple made of several things, each of these.

        Raises
        ------
        UnpicklableError
            If it can't be pickled.
        """
        try:
            return _ANY.dump(item, prefix)
        except Exception as error:
            parts = item if len(names) > 1 else (item,)
            named = what if isinstance(what, str) else what()
            raise _unpicklable(named, error, *zip(names, parts, strict=True)) from error

    def put(self, packed: bytes) -> None:
        """Put something packed behind the others."""
        self._packed.append(packed)
        self.size += len(packed)

    def add(self, item: Any, what: str, prefix: bytes = b"") -> int:
        """Pickle one object behind the others, and return how many bytes that took.

        It may be changed afterwards: large buffers are copied.

        Raises
        ------
        UnpicklableError
            If it can't be pickled.
        """
        packed = bytes(self.pack(item, what, prefix))
        self.put(packed)
        return len(packed)

    def take(self) -> bytes:
        """Return what was put behind each other and begin anew."""
        written = b"".join(self._packed)
        self._packed.clear()
        self.size = 0
        return written


def dump_call(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]
) -> Pickled:
    """Pickle a function, and the further arguments of its calls.

    Raises
    ------
    UnpicklableError
        If one of them can't be pickled.
    """
    call = (function, arguments, keywords)
    try:
        return _ANY.dump(call)
    except Exception as error:
        raise _unpicklable("the function", error, *zip(CALL, call, strict=True)) from error


def dump_pieces(item: Any, what: str) -> list[Buffer]:
    """Pickle one object which is sent at once, from where it is.

    Raises
    ------
    UnpicklableError
        If it can't be pickled.
    """
    try:
        packed = _ANY.dump(item)
    except Exception as error:
        raise _unpicklable(what, error, (what.split()[-1], item)) from error
    return packed.buffers if isinstance(packed, Pieces) else [packed]


def dumps(item: Any, what: str) -> bytes:
    """Pickle one object, all of it into the pickle, which anybody can load.

    Raises
    ------
    UnpicklableError
        If it can't be pickled.
    """
    try:
        return cloudpickle.dumps(item, protocol=PROTOCOL)  # type: ignore[no-any-return]
    except Exception as error:
        raise _unpicklable(what, error, (what.split()[-1], item)) from error


def dump_result(value: Any, in_band: bool = False) -> Pickled:
    """Pickle a result: by the plain pickler, which is faster, where that can do it.

    Parameters
    ----------
    value : object
        The result.
    in_band : bool
        Make one plain pickle in any case, which anybody can load: for a file.

    Raises
    ------
    UnpicklableError
        If it can't be pickled.
    """
    try:
        return _in_pieces(pickle.dumps(value, PROTOCOL)) if in_band else _PLAIN.dump(value)
    except Exception:
        if in_band:
            return _in_pieces(dumps(value, "the result"))
    try:
        return _ANY.dump(value)
    except Exception as error:
        raise _unpicklable("the result", error, ("result", value)) from error


def _in_pieces(pickled: bytes) -> Pickled:
    """Have a long pickle sent from where it is."""
    return Pieces([pickled]) if len(pickled) >= LARGE else pickled


def dump_exception(error: BaseException) -> bytes:
    """Pickle an exception; empty if it would not arrive at the other side."""
    try:
        pickled: bytes = cloudpickle.dumps(error, protocol=PROTOCOL)
        pickle.loads(pickled)  # an __init__ with other arguments fails only here
    except Exception:
        return b""
    return pickled


def _unpicklable(what: str, error: Exception, *roots: tuple[str, Any]) -> UnpicklableError:
    reason = f"{type(error).__name__}: {error}"
    if blame.is_about_depth(error):
        return UnpicklableError(what, f"{reason}: it is nested too deeply")
    return UnpicklableError(what, reason, *(blame.find(roots) or ()))


def as_raised(error: BaseException) -> BaseException:
    """Return what the pickler raised, with a note that names the object at fault.

    It is what executors of the standard library raise. Other errors are returned as they are.
    """
    cause = error.__cause__
    if not isinstance(error, UnpicklableError) or cause is None:
        return error
    cause.add_note(str(error))
    cause.__context__ = None
    return cause
