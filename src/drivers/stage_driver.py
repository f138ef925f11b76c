"""What the drivers which run stages of a survey have in common: command line to exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack

from drivers.command import Ending, carry_out, complain, end
from drivers.survey_options import Command, parser
from mpipool import enter

PRELOAD = (
    "drivers.stages.single_frame", "drivers.stages.exposure", "drivers.stages.sky_correction",
    "drivers.stages.mosaic", "drivers.stages.patch_coadd", "drivers.stages.detect",
    "drivers.stages.measure", "drivers.stages.forced_ccd",
)  # fmt: skip
"""What the processes of tasks have imported before the first one is forked."""


def start(command: Command, module: str) -> None:
    """Be the console script of a driver, which is in the named module."""
    enter(module, preload=PRELOAD)
    sys.argv[0] = command.program  # as the run's database is to know it
    end(main(command, sys.argv[1:]))


def main(command: Command, arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return carry_out(lambda: _run(command, arguments))


def _run(command: Command, arguments: Sequence[str]) -> Ending:
    options = parser(command).parse_args(arguments)
    with ExitStack() as open_files:
        from drivers import survey_plan  # what these import takes longer than --help should

        plan = survey_plan.make_plan(command, options, open_files)
        for note in plan.notes:
            complain(f"note: {note}")
        if options.show or options.dry_run:
            from drivers.survey_description import describe

            return describe(plan, options)
        from drivers.survey_run import carry_out as run_plan

        return run_plan(plan, options)
