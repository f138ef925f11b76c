"""The runner of `BatchParallelTask`: each target of a command line is a task of the pool.

A target that fails, also by taking its process along, fails alone. With a checkpoint, a target
that was done before is not done again.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mpipool import keys
from mpipool.ctrl_pool import joint
from mpipool.ctrl_pool.cache import Applied
from mpipool.ctrl_pool.diagnostics import NODE, abortOnError
from mpipool.ctrl_pool.log import warn
from mpipool.ctrl_pool.master import PoolMaster
from mpipool.ctrl_pool.standins import Struct, TaskRunner
from mpipool.errors import UsageError

_Target: TypeAlias = tuple[Any, dict[str, Any]]


class BatchTaskRunner(TaskRunner):  # type: ignore[misc]  # LSST's, or a stand-in
    """Has a task do the targets of a command line on all ranks."""

    numProcesses: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.numProcesses > 1:
            warn(self.log, f"-j {self.numProcesses} is not looked at: the ranks are the processes")
            self.numProcesses = 1

    def run(self, parsedCmd: Any) -> list[Any] | None:
        """Have all targets done.

        Returns
        -------
        list or None
            What came of each; with an ``exitStatus`` of 1, where it failed. None if the command
            can't be run.

        Raises
        ------
        Exception
            With ``doRaise``, what the first failed target raised, once the others are done.
        """
        self.prepareForMultiProcessing()
        pool = PoolMaster()
        if not self.precall(parsedCmd):
            return None
        targets = self.getTargetList(parsedCmd)
        if not targets:
            warn(self.log, "there is nothing to do: no data were found for the command line")
            return []
        self.log.info(f"{len(targets)} targets on {pool.size} ranks")
        # A failure is one for the pool, too: else it would be recorded as done.
        runner = copy.copy(self)
        runner.doRaise = True
        found = joint.Context("default").map(
            Applied(runner, "default", (), {}), targets, errors="return", **self._keyed(targets)
        )
        return [self._settle(*pair) for pair in zip(targets, found, strict=True)]

    def _settle(self, target: _Target, result: Any) -> Any:
        if not isinstance(result, Exception):
            return result
        if self.doRaise:
            raise result
        what = f"{type(result).__name__}: {result}{result.__cause__ or ''}"
        self.log.error(f"{NODE}: failed on {getattr(target[0], 'dataId', target[0])}: {what}")
        return Struct(exitStatus=1, dataRef=target[0], metadata=None, result=None)

    def _keyed(self, targets: Sequence[_Target]) -> dict[str, Any]:
        """Return the options of a map by which a checkpoint knows targets again, if it can."""
        name = getattr(self.TaskClass, "_DefaultName", "") or self.TaskClass.__name__
        if not joint.is_recorded():
            return {"stage": name}
        try:
            known = [keys.canonical(identity(target), "the target") for target in targets]
            config = _plain(self.config)
            keys.canonical(config, "the configuration")
        except UsageError as error:
            self.log.info(f"targets that are done will not be known again: {error}")
            return {"stage": name}
        if len(set(known)) < len(known):
            self.log.info("targets that are done will not be known again: some are the same")
            return {"stage": name}
        return {"stage": name, "key": identity, "config": config}

    @abortOnError
    def __call__(self, cache: Any, args: Any) -> Any:
        """Have one target done; its cache is not used."""
        return super().__call__(args)


def identity(target: _Target) -> Any:
    """Return what tells a target from others: its data ID, and what is said about it."""
    reference, kwargs = target
    found = getattr(reference, "dataId", reference)
    if isinstance(reference, (list, tuple)):
        found = [getattr(one, "dataId", one) for one in reference]
    if isinstance(found, Mapping):
        found = dict(found)
    return [found, kwargs] if kwargs else found


def _plain(config: Any) -> Any:
    """Return a configuration as plain values, so far as it is made of them."""
    if hasattr(config, "toDict"):
        return config.toDict()
    return vars(config) if hasattr(config, "__dict__") else config
