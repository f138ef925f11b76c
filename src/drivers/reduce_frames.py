"""``reduceFramesDriver REPO --rerun NAME --id visit=…``: whole visits, solved while in memory."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import EXPOSURE, SINGLE_FRAME
from drivers.survey_options import Command

COMMAND = Command(
    "reduceFramesDriver",
    """\
Reduce exposures: each visit is a task, which processes its CCDs on all ranks that are free, gathers
their stars, solves astrometry, zero points and focus over the whole focal plane, and has each CCD
written, where it is still in memory, with what the visit says of it.

It ends with what singleFrameDriver and the exposure stage make, and later drivers go on from
either. A CCD which can't be used is named at the end; singleFrameDriver tries it again.
""",
    (SINGLE_FRAME.name, EXPOSURE.name),
    by_visit=True,
)


def run() -> None:
    """Start `reduceFramesDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.reduce_frames")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
