"""What a process has its agent keep, and what it gets from the keepers of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mpipool.errors import MpipoolError
from mpipool.executor.pickling import dump_pieces, loads
from mpipool.ids import DataId, Rank, home_of
from mpipool.messages import Fetch, Fetched, HowMade, Keep, Made, Message, Release

if TYPE_CHECKING:
    from mpipool.executor.caller import Caller

dropped: deque[DataId] = deque()
"""Data whose handle here is garbage. Nothing is sent where garbage is found, in any thread and in
the middle of anything; they are let go when the process next says something about data."""

MISSING = object()


class Store:
    """Kept data, as one process sees them.

    Parameters
    ----------
    caller : Caller
        Of the process.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._values: dict[DataId, Any] = {}
        """What was fetched of what contexts store, or was put there by this process."""

    def keep(self, value: Any, what: str) -> DataId:
        """Have a value kept, and return its id.

        Raises
        ------
        UnpicklableError
            If it can't be sent to other ranks; ``what`` names it.
        """
        pickled = dump_pieces(value, what)
        answer = self._answer(lambda request: self._caller.send(Keep(request=request), pickled))
        assert isinstance(answer, Fetched)
        self._values[answer.data] = value
        return answer.data

    def fetch(self, data: DataId, copies: bool = False, maker: Rank | None = None) -> Any:
        """Get the value which an id stands for.

        Parameters
        ----------
        data : DataId
            The id.
        copies : bool
            Whether a copy stays on this rank, for its other processes.
        maker : Rank, optional
            Whose scatter made it, so that it can be made again where it is lost.

        Raises
        ------
        MpipoolError
            If it was let go, or lost for good.
        """
        self.release()
        answer = self._answer(
            lambda request: self._caller.send(Fetch(request=request, data=data, copies=copies))
        )
        if answer.parts:
            return loads(memoryview(answer.parts[0]))
        if maker is None:
            raise MpipoolError("these data were let go: their handle, or the store's, is gone")
        return self._make_again(data, maker)

    def _make_again(self, data: DataId, maker: Rank) -> Any:
        """Run the call once more which made something that is lost with its rank."""
        made = self._answer(
            lambda request: self._caller.send(HowMade(request=request, data=data, maker=maker))
        )
        assert isinstance(made, Made)
        if not made.parts:
            raise MpipoolError(
                f"these data were let go, as their handle is gone, or rank {home_of(data)} was lost"
                f" which kept them, and so was rank {maker} which knew how they were made"
            )
        return self._caller.run_again(made)

    def _answer(self, ask: Callable[[int], None]) -> Message:
        """Ask something of the agent, under the number of a new request; return its answer."""
        request = self._caller.next_request()
        try:
            ask(request)
            return self._caller.wait_for(request)
        finally:
            self._caller.forget(request)

    def stored(self, data: DataId) -> Any:
        """Get a value which a context stores: once in each process."""
        if data not in self._values:
            self._values[data] = self.fetch(data, copies=True)
        return self._values[data]

    def retain(self, data: set[DataId]) -> None:
        """Forget values of stored data, except these."""
        if not self._values.keys() <= data:
            self._values = {kept: value for kept, value in self._values.items() if kept in data}

    def release(self, data: Iterable[DataId] = ()) -> None:
        """Let data go, and what has lost its handle."""
        gone = [*data]
        while dropped:
            gone.append(dropped.popleft())
        if gone:
            self._caller.send(Release(data=tuple(gone)))


current: list[Store] = []
"""The one of this process."""
