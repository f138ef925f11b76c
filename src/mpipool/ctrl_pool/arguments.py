"""The batch options of a command line, in front of those of the task."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import Any

from mpipool.ctrl_pool.batch import BATCH_TYPES, Batch

_TEXT = """This submits a job to a batch system; options of the batch system and of the task may be
mixed, and those which the task requires are required here.

Options of the batch system:

"""

_BATCH_NAMES = {
    "outputDir": "batchOutput",
    "numNodes": "nodes",
    "numProcsPerNode": "procs",
    "numCores": "cores",
    "walltime": "time",
    "queue": "queue",
    "jobName": "job",
    "dryrun": "dryrun",
    "doExec": "doExec",
    "mpiexec": "mpiexec",
    "submit": "batchSubmit",
    "options": "batchOptions",
    "verbose": "batchVerbose",
}
"""Parameters of `Batch` and how the parsed options are called."""


class BatchArgumentParser(argparse.ArgumentParser):
    """Parses the batch options, and has a parent parse what is left.

    Parameters
    ----------
    parent : ArgumentParser, optional
        The task's parser, LSST's or argparse's own.
    *args, **kwargs
        As for argparse's.
    """

    def __init__(self, parent: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parent = parent
        add = self.add_argument_group("Batch submission options").add_argument
        add("--queue", help="queue (Slurm: partition)")
        add("--job", help="name of the job")
        add("--nodes", type=int, default=0, help="number of nodes")
        add("--procs", type=int, default=0, help="number of processes on each node")
        add("--cores", type=int, default=0, help="number of cores (slurm and smp)")
        add("--time", type=float, default=0, help="expected seconds per element")
        add(
            "--batch-type",
            dest="batchType",
            choices=list(BATCH_TYPES),
            default="smp",
            help="batch system; smp runs at once on this machine, none in this process",
        )
        add("--batch-output", dest="batchOutput", help="folder of the job's log")
        add("--batch-submit", dest="batchSubmit", help="options of the command which submits")
        add("--batch-options", dest="batchOptions", help="options for the script's header")
        for name, dest, text in (
            ("--batch-verbose", "batchVerbose", "let the script say where and how it runs"),
            ("--batch-profile", "batchProfile", "profile the job"),
            ("--batch-stats", "batchStats", "log what the process used, at its end (Linux)"),
            ("--dry-run", "dryrun", "say what would be done"),
            ("--do-exec", "doExec", "become the script, instead of submitting it"),
        ):
            add(name, dest=dest, action="store_true", help=text)
        add("--mpiexec", default="", help="options of mpiexec")

    def parse_args(  # type: ignore[override]  # the predecessor's
        self,
        config: Any = None,
        args: Sequence[str] | None = None,
        namespace: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Parse a command line.

        Parameters
        ----------
        config, **kwargs
            Passed on to the parent, if it is one of LSST's.
        args : sequence of str, optional
            The command line; ``sys.argv`` if it is not given.
        namespace : Namespace, optional
            What to fill.

        Returns
        -------
        Namespace
            The options, with ``parent`` (what the parent made of the rest), ``leftover`` (the
            rest), and ``batch`` (a `Batch`, or None).
        """
        found, leftover = self.parse_known_args(args=args, namespace=namespace)
        if leftover and self._parent is None:
            self.error(f"unrecognised arguments: {' '.join(leftover)}")
        found.leftover, found.parent = leftover, None
        if self._parent is not None:
            found.parent = parse(self._parent, config, args=leftover, **kwargs)
        found.batch = self.makeBatch(found)
        return found

    def makeBatch(self, args: Any) -> Batch | None:
        """Make the `Batch` which the options ask for; None if they ask for none."""
        kind = BATCH_TYPES[args.batchType]
        if kind is None:
            return None
        try:
            return kind(**{name: getattr(args, dest) for name, dest in _BATCH_NAMES.items()})
        except RuntimeError as error:
            self.error(str(error))

    def format_help(self) -> str:
        """Return the help on the batch options, and the parent's."""
        text = _TEXT + super().format_help()
        if self._parent is not None:
            text += f"\nOptions of the task:\n\n{self._parent.format_help()}"
        return text

    def format_usage(self) -> str:
        """Return the parent's usage, under our name."""
        if self._parent is None:
            return super().format_usage()
        theirs, self._parent.prog = self._parent.prog, self.prog
        try:
            return str(self._parent.format_usage())
        finally:
            self._parent.prog = theirs


def parse(parser: Any, config: Any, **kwargs: Any) -> Any:
    """Parse with a task's parser, and return what it found.

    LSST's parsers take the configuration and more, and put them into what they return. Those of
    argparse do neither: this does the latter for them.
    """
    takes = inspect.signature(parser.parse_args).parameters
    if "config" in takes:
        return parser.parse_args(config, **kwargs)
    found = parser.parse_args(args=kwargs.get("args"))
    for name, value in {"config": config, "log": kwargs.get("log")}.items():
        if value is not None and not hasattr(found, name):
            setattr(found, name, value)
    return found
