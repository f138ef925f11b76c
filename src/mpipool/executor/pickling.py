"""Pickling for other processes: lambdas, closures and what `__main__` defines go by value."""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

import cloudpickle

from mpipool.errors import UnpicklableError

PROTOCOL: Final = 5


class Packer:
    """Pickles many objects one behind the other, each so that it can be loaded alone.

    One pickler serves all of them: to make one costs more than to pickle a small item.
    """

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._pickler = cloudpickle.Pickler(self._file, protocol=PROTOCOL)

    @property
    def size(self) -> int:
        """Bytes written since the last `take`."""
        return self._file.tell()

    def add(self, item: Any, what: str, prefix: bytes = b"") -> int:
        """Pickle one object behind the others, and return how many bytes that took.

        Parameters
        ----------
        item : object
            What to pickle.
        what : str
            Names it in the error.
        prefix : bytes
            Written in front of it.

        Raises
        ------
        UnpicklableError
            If it can't be pickled.
        """
        start = self._file.tell()
        self._file.write(prefix)
        try:
            self._pickler.dump(item)
        except Exception as error:
            self._file.seek(start)
            self._file.truncate()
            raise UnpicklableError(what, f"{type(error).__name__}: {error}") from error
        finally:
            self._pickler.clear_memo()
        return self._file.tell() - start

    def take(self) -> bytes:
        """Return what was written and begin anew."""
        written = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return written


def dumps(item: Any, what: str) -> bytes:
    """Pickle one object.

    Raises
    ------
    UnpicklableError
        If it can't be pickled.
    """
    try:
        return cloudpickle.dumps(item, protocol=PROTOCOL)  # type: ignore[no-any-return]
    except Exception as error:
        raise UnpicklableError(what, f"{type(error).__name__}: {error}") from error


def dump_result(value: Any) -> bytes:
    """Pickle a result: by the plain pickler, which is faster, where that can do it.

    Raises
    ------
    UnpicklableError
        If it can't be pickled.
    """
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:
        return dumps(value, "the result")


def dump_exception(error: BaseException) -> bytes:
    """Pickle an exception; empty if it would not arrive at the other side."""
    try:
        pickled = dumps(error, "the exception")
        pickle.loads(pickled)  # an __init__ with other arguments fails only here
    except Exception:
        return b""
    return pickled
