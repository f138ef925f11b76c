"""``surveyDriver REPO --rerun NAME``: everything, from raw frames to forced photometry."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import NAMES
from drivers.survey_options import Command

COMMAND = Command(
    "surveyDriver",
    """\
Process a survey from raw frames to the multi-band catalogue: single frames, exposure solutions,
sky correction, mosaics, warps and coadds, detection, measurement in all bands, forced photometry on
coadds and on single frames.

All is one graph without barriers: a task starts when what it is made of is there. What is done is
recorded in REPO/rerun/NAME/run.db: the same command again does only what is missing, also after
some of it has failed.
""",
    NAMES,
    chooses=True,
)


def run() -> None:
    """Start `surveyDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.survey")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
