"""``singleFrameDriver REPO --rerun NAME --id …``: every CCD of every visit, independently."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import SINGLE_FRAME
from drivers.survey_options import Command

COMMAND = Command(
    "singleFrameDriver",
    """\
Calibrate CCDs: overscan, bias, dark, flat, defects, cosmic rays, sky, detection with deblending,
point spread function, photometry, astrometry and zero point.

Each CCD is a task of its own. What is done is recorded in REPO/rerun/NAME/run.db: the same command
again does only what is missing.
""",
    (SINGLE_FRAME.name,),
)


def run() -> None:
    """Start `singleFrameDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.single_frame")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
