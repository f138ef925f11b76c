"""Tasks with batch options: ``parseAndSubmit`` on a login node, ``parseAndRun`` in the job."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from mpipool.ctrl_pool.arguments import BatchArgumentParser
from mpipool.ctrl_pool.batch import UMASK
from mpipool.ctrl_pool.diagnostics import NODE, abortOnError, setBatchType
from mpipool.ctrl_pool.log import warn
from mpipool.ctrl_pool.pool import startPool
from mpipool.ctrl_pool.runner import BatchTaskRunner
from mpipool.ctrl_pool.standins import CmdLineTask


class BatchCmdLineTask(CmdLineTask):  # type: ignore[misc]  # LSST's, or a stand-in
    """A task that can be submitted to a batch system."""

    @classmethod
    def parseAndSubmit(cls, args: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Parse a command line with batch options; submit a job which does `parseAndRun`.

        With ``--batch-type smp`` that is done at once, with ``none`` in this process.

        Raises
        ------
        SystemExit
            If the command line is wrong (2), or if submitting fails.
        """
        taskParser = cls._makeArgumentParser(doBatch=True, add_help=False)
        batchParser = BatchArgumentParser(parent=taskParser)
        parsed = batchParser.parse_args(
            config=cls.ConfigClass(), args=args, override=cls.applyOverrides, **kwargs
        )
        if not cls.RunnerClass(cls, parsed.parent).precall(parsed.parent):
            taskParser.error("the task can't be prepared: see the messages before")
        setBatchType(parsed.batch)
        if parsed.batch is None:
            sys.argv = [sys.argv[0], *parsed.leftover]
            return cls.parseAndRun()
        cores = parsed.cores if parsed.cores > 0 else parsed.nodes * parsed.procs
        try:
            walltime = cls.batchWallTime(parsed.time, parsed.parent, cores)
            return parsed.batch.run(cls.batchCommand(parsed), walltime=walltime)
        except RuntimeError as error:
            batchParser.error(str(error))

    @classmethod
    def batchWallTime(cls, time: float, parsedCmd: Any, numCores: int) -> float:
        """Return how long the job takes, in seconds; subclasses may know better.

        Parameters
        ----------
        time : float
            Seconds per target.
        parsedCmd : Namespace
            What the task's parser found.
        numCores : int
            Number of cores.
        """
        return time * len(cls.RunnerClass.getTargetList(parsedCmd)) / numCores

    @classmethod
    def batchCommand(cls, args: Any) -> str:
        """Return the shell command which runs the task, on each rank.

        Parameters
        ----------
        args : Namespace
            What a `BatchArgumentParser` found.

        Raises
        ------
        RuntimeError
            If the task's class can't be imported.
        """
        module, package = _module(cls), __package__
        job = args.job if args.job is not None else "job"
        steps = [f"import os; os.umask({UMASK:#05o})"]
        steps.append(f"import {package}.log; {package}.log.jobLog({job!r})")
        if args.batchStats:
            steps.append(f"import atexit; atexit.register({package}.log.printProcessStats)")
        steps.append(f"import {module}; {module}.{cls.__qualname__}.parseAndRun()")
        code = "; ".join(steps)
        if args.batchProfile:
            where = f"{f'profile-{job}-'!r} + '%s-%d.dat' % (os.uname()[1], os.getpid())"
            code = f"import cProfile, os; cProfile.run({code!r}, filename={where})"
        command = [sys.executable, "-c", code, *(args.leftover or ())]
        if not _is_plain(cls):
            command.append("--noExit")  # an exit code of LSST's would have mpiexec end the job
        return shlex.join(command)

    @contextlib.contextmanager
    def logOperation(
        self, operation: str, catch: bool = False, trace: bool = True
    ) -> Iterator[None]:
        """Log the begin and the end of an operation.

        Parameters
        ----------
        operation : str
            What it is.
        catch : bool
            Log an exception, and go on behind the block.
        trace : bool
            With its traceback.
        """
        self.log.info(f"{NODE}: Start {operation}")
        try:
            yield
        except Exception as error:
            if not catch:
                raise
            warn(self.log, f"{NODE}: Caught {type(error).__name__} while {operation}: {error}")
            if trace:
                self.log.info(f"{NODE}: Traceback:\n{traceback.format_exc()}")
        finally:
            self.log.info(f"{NODE}: Finished {operation}")


class BatchPoolTask(BatchCmdLineTask):
    """A task which runs on rank 0, and maps what it likes with a `Pool`."""

    @classmethod
    @abortOnError
    def parseAndRun(cls, *args: Any, **kwargs: Any) -> Any:
        """Parse a command line, and run the task, with the pool begun."""
        pool = startPool()
        results = super().parseAndRun(*args, **kwargs)
        pool.exit()
        return results


class BatchParallelTask(BatchCmdLineTask):
    """A task which knows nothing of the pool: each target of its command line is a task there."""

    RunnerClass = BatchTaskRunner

    @classmethod
    def _makeArgumentParser(cls, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("doBatch", False)
        kwargs.pop("add_help", False)
        return super()._makeArgumentParser(*args, **kwargs)

    @classmethod
    def parseAndRun(cls, *args: Any, **kwargs: Any) -> Any:
        """Parse a command line, and have its targets done, with the pool begun."""
        pool = startPool()
        results = super().parseAndRun(*args, **kwargs)
        pool.exit()
        return results


def _module(cls: type) -> str:
    """Return the name by which a job can import the module of a class."""
    if cls.__module__ != "__main__":
        return cls.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # from python -m
    if spec is None:
        raise RuntimeError(
            f"{cls.__name__} is defined in the script {os.path.basename(sys.argv[0])}, from where "
            "a job can't import it: put it into a module, and have the script import that"
        )
    return str(spec.name)


def _is_plain(cls: Any) -> bool:
    """Whether a task's command line is parsed by argparse, and not by LSST's parser."""
    parser = cls._makeArgumentParser(add_help=False)
    return type(parser).parse_args is argparse.ArgumentParser.parse_args
