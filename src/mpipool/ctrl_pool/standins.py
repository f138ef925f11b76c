"""What batch tasks are made of: LSST's classes, or ours where ``lsst.pipe.base`` has none.

A task is a class with a ``ConfigClass`` (or none), ``_makeArgumentParser`` and ``runDataRef`` or
``run``; a runner makes one, and has it do each target of the command line. Ours do what batch
tasks need of LSST's, and no more: no butler, no configuration files, no metadata.
"""

from __future__ import annotations

import argparse
import importlib
import traceback
from types import SimpleNamespace
from typing import Any

from mpipool.ctrl_pool.arguments import parse
from mpipool.ctrl_pool.diagnostics import NODE
from mpipool.ctrl_pool.log import logger


class Struct(SimpleNamespace):
    """Named values."""

    def getDict(self) -> dict[str, Any]:
        """Return them by name."""
        return dict(vars(self))


class PlainTaskRunner:
    """Has a task do each target of a command line.

    Parameters
    ----------
    TaskClass : class
        The task's.
    parsedCmd : Namespace
        What its parser found. ``config`` and ``log`` are its task's; with ``doraise``, what a
        target raises is not caught.
    doReturnResults : bool
        Whether results are kept.
    """

    def __init__(self, TaskClass: Any, parsedCmd: Any, doReturnResults: bool = False) -> None:
        self.TaskClass, self.doReturnResults = TaskClass, bool(doReturnResults)
        self.config, self.log = getattr(parsedCmd, "config", None), _log_of(parsedCmd, TaskClass)
        self.doRaise = bool(getattr(parsedCmd, "doraise", False))
        self.numProcesses = getattr(parsedCmd, "processes", None) or 1

    def prepareForMultiProcessing(self) -> None:
        """Do nothing: all that we hold can be sent."""

    def precall(self, parsedCmd: Any) -> bool:
        """Return whether the command can be run: True."""
        return True

    @staticmethod
    def getTargetList(parsedCmd: Any, **kwargs: Any) -> list[tuple[Any, dict[str, Any]]]:
        """Return the targets, each with keyword arguments.

        They are the references or values of ``--id``; without that option, the command line is
        the only target.
        """
        found = getattr(parsedCmd, "id", None)
        references = getattr(found, "refList", found)
        if references is None:
            references = [parsedCmd]
        return [(reference, kwargs) for reference in references]

    def makeTask(self, parsedCmd: Any = None, args: Any = None) -> Any:
        """Make the task."""
        return self.TaskClass(config=self.config, log=self.log)

    def run(self, parsedCmd: Any) -> list[Any] | None:
        """Have all targets done, one after the other; return what came of each."""
        if not self.precall(parsedCmd):
            return None
        return [self(target) for target in self.getTargetList(parsedCmd)]

    def __call__(self, args: tuple[Any, dict[str, Any]]) -> Struct:
        """Have one target done.

        Returns
        -------
        Struct
            ``exitStatus`` 0 or 1, ``dataRef``, and ``result`` if results are kept.
        """
        reference, kwargs = args
        task = self.makeTask(args=args)
        do = getattr(task, "runDataRef", None) or task.run
        status, result = 0, None
        try:
            result = do(reference, **kwargs)
        except Exception as error:
            if self.doRaise:
                raise
            status = 1
            what = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            self.log.error(f"{NODE}: failed on {reference}: {what}")
        if self.doReturnResults:
            return Struct(exitStatus=status, dataRef=reference, result=result)
        return Struct(exitStatus=status)


class PlainCmdLineTask:
    """A task with a command line.

    Parameters
    ----------
    config : object, optional
        Made of ``ConfigClass`` if it is not given.
    log : Logger, optional
        Made if it is not given.
    """

    ConfigClass: Any = Struct
    RunnerClass: Any = PlainTaskRunner
    _DefaultName = ""

    def __init__(self, config: Any = None, log: Any = None, **kwargs: Any) -> None:
        self.config = type(self).ConfigClass() if config is None else config
        self.log = log or logger(self.getName())

    def getName(self) -> str:
        """Return the task's name."""
        return self._DefaultName or type(self).__name__

    @classmethod
    def applyOverrides(cls, config: Any) -> None:
        """Change the defaults of a configuration; subclasses do."""

    @classmethod
    def _makeArgumentParser(cls, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("doBatch", None)
        return argparse.ArgumentParser(*args, **kwargs)

    @classmethod
    def parseAndRun(
        cls, args: Any = None, config: Any = None, log: Any = None, doReturnResults: bool = False
    ) -> Struct:
        """Parse a command line, and have its targets done.

        Returns
        -------
        Struct
            ``argumentParser``, ``parsedCmd``, ``taskRunner`` and ``resultList``.

        Raises
        ------
        SystemExit
            If the command line is wrong (2), or if targets failed (1).
        """
        config = cls.ConfigClass() if config is None else config
        cls.applyOverrides(config)
        parser = cls._makeArgumentParser()
        parsed = parse(parser, config, args=args, log=log, override=cls.applyOverrides)
        runner = cls.RunnerClass(TaskClass=cls, parsedCmd=parsed, doReturnResults=doReturnResults)
        results = runner.run(parsed)
        failed = sum(getattr(result, "exitStatus", 0) > 0 for result in results or ())
        if failed and not getattr(parsed, "noExit", False):
            raise SystemExit(1)
        return Struct(
            argumentParser=parser, parsedCmd=parsed, taskRunner=runner, resultList=results
        )


def _log_of(parsedCmd: Any, TaskClass: Any) -> Any:
    found = getattr(parsedCmd, "log", None)
    return found or logger(getattr(TaskClass, "_DefaultName", "") or TaskClass.__name__)


def _classes() -> tuple[Any, Any]:
    try:
        lsst = importlib.import_module("lsst.pipe.base")
        return lsst.CmdLineTask, lsst.TaskRunner
    except (ImportError, AttributeError):  # it is not installed, or so new that it has none
        return PlainCmdLineTask, PlainTaskRunner


CmdLineTask, TaskRunner = _classes()
"""What tasks and runners are, here."""
