"""Results which stay on the rank that made them, and what stands for them elsewhere."""

from __future__ import annotations

import os
from typing import Any, Self

from mpipool.executor import store
from mpipool.executor.environment import RANK
from mpipool.ids import DataId, Rank, home_of
from mpipool.task import KEPT

_pickled: list[Handle] = []
"""Handles which were pickled since `taken_along`."""


class Handle:
    """Stands for a result which was kept where it was made (``keep=True``).

    A task which is given handles, as its item or among its arguments, gets their values, and runs
    where they are if that rank is free for it; otherwise they move there, rank to rank. The data
    are let go when the handle which the call returned is garbage; copies of a handle, in tasks, do
    not hold them. If the rank is lost where they are, who needs them runs the call again.

    Attributes
    ----------
    size : int
        Of the pickled value, bytes.
    """

    __slots__ = ("_data", "_maker", "_owns", "size")

    def __init__(self, data: DataId, size: int, maker: Rank, owns: bool = False) -> None:
        self._data, self.size, self._maker, self._owns = data, size, maker, owns

    @classmethod
    def of(cls, reference: memoryview) -> Self:
        """Make the handle which owns what a result stands for."""
        data, size = KEPT.unpack(reference)
        maker = Rank(int(os.environ.get(RANK, "0")))  # the agent above leads this scatter
        return cls(DataId(data), size, maker, owns=True)

    @property
    def rank(self) -> Rank:
        """The rank where the value is."""
        return home_of(self._data)

    def get(self) -> Any:
        """Return the value.

        Raises
        ------
        MpipoolError
            If it was let go: the handle which owned it is gone. Or if it was lost with its rank,
            and so was the rank whose task had it made; else it is made again.
        """
        return store.current[0].fetch(self._data, maker=self._maker)

    def __repr__(self) -> str:
        return f"<Handle: {self.size:,} bytes on rank {self.rank}>"

    def __reduce__(self) -> tuple[Any, ...]:
        _pickled.append(self)
        return Handle, (self._data, self.size, self._maker)

    def __del__(self) -> None:
        if self._owns:
            store.dropped.append(self._data)


def taken_along() -> Rank | None:
    """Return where most of the data are whose handles were pickled since the last call."""
    if not _pickled:
        return None
    sizes: dict[Rank, int] = {}
    for handle in _pickled:
        sizes[handle.rank] = sizes.get(handle.rank, 0) + handle.size
    _pickled.clear()
    return max(sizes, key=sizes.__getitem__)


def resolved(value: Any) -> Any:
    """Return the value of a handle, or what is none as it is."""
    return value.get() if type(value) is Handle else value
