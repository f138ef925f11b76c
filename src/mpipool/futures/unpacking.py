"""What came of submitted calls, unpacked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from mpipool.errors import TaskError
from mpipool.executor.handle import Handle
from mpipool.executor.invoking import InitializerFailed
from mpipool.executor.pickling import loads
from mpipool.executor.stream import Call, failure
from mpipool.futures.future import BrokenPool, Future, Settlement
from mpipool.messages import Results
from mpipool.task import DONE, ENTRY, Entry, Outcome


class Unpacker:
    """Unpacks the outcomes of one lane.

    Parameters
    ----------
    call : Call
        The lane's.

    Attributes
    ----------
    name : str
        What its calls are called in errors.
    mean : float or None
        Seconds which a call takes, lately; None until one has ended.
    """

    def __init__(self, call: Call) -> None:
        self.name = call.stage or "submit"
        self.mean: float | None = None
        self._load = Handle.of if call.options.get("keep") else loads
        self._as_raised = bool(call.options.get("as_raised"))

    def unpack(
        self, batch: Results, futures: Sequence[Future | None]
    ) -> tuple[list[Settlement], BrokenPool | None]:
        """Say how futures are to be settled, and what is wrong if no call can run any more.

        Parameters
        ----------
        batch : Results
            Some outcomes.
        futures : sequence of Future or None
            Of all calls of the lane; None for those which are over.
        """
        table, details, results = (memoryview(part) for part in batch.parts)
        settlements: list[Settlement] = []
        broken: BrokenPool | None = None
        at = at_details = 0
        busy = 0.0
        for index, fields in enumerate(ENTRY.iter_unpack(table), start=batch.first):
            state, length, _, wall, _, _, size = fields
            busy += wall
            result, said = results[at : at + size], details[at_details : at_details + length]
            at, at_details = at + size, at_details + length
            future = futures[index]
            if future is None:
                continue
            if state == DONE:
                settlements.append((future, *self._loaded(index, result)))
                continue
            error = failure(self._task(index), Outcome(Entry._make(fields), said, result))
            if isinstance(error, InitializerFailed):
                broken = error = _broken(error)
            settlements.append((future, None, error))
        self._learn(busy / max(batch.count, 1))
        return settlements, broken

    def _learn(self, mean: float) -> None:
        self.mean = mean if self.mean is None else (self.mean + mean) / 2

    def _loaded(self, index: int, result: memoryview) -> tuple[Any, Exception | None]:
        try:
            return self._load(result), None
        except Exception as error:  # a class of the user's may raise whatever it likes
            reason = f"its result can't be loaded here: {type(error).__name__}: {error}"
            if self._as_raised:
                error.add_note(f"{self._task(index)}: {reason}")
                return None, error
            unloadable = TaskError(self._task(index), reason)
            unloadable.__cause__ = error
            return None, unloadable

    def _task(self, index: int) -> str:
        return f"task {index} of {self.name}"


def _broken(error: InitializerFailed) -> BrokenPool:
    # As the standard library's executors do it, but there it is the worker who says it.
    logger = logging.getLogger("concurrent.futures")
    logger.critical("Exception in initializer:", exc_info=error)
    return BrokenPool(f"the initializer failed: {error}")


def runs(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Put consecutive numbers together: the first of each run, and how many they are."""
    found: list[tuple[int, int]] = []
    for index in sorted(indices):
        if found and sum(found[-1]) == index:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((index, 1))
    return found
