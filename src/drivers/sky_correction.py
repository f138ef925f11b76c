"""``skyCorrectionDriver REPO --rerun NAME --id visit=…``: the sky over the whole focal plane."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import SKY_CORRECTION
from drivers.survey_options import Command

COMMAND = Command(
    "skyCorrectionDriver",
    """\
Replace the sky that was subtracted CCD by CCD by one of the whole focal plane: restore the
original sky, subtract a model over the focal plane, the scaled sky frame, and a residual model.

It is made of what singleFrameDriver has done in the rerun.
""",
    (SKY_CORRECTION.name,),
)


def run() -> None:
    """Start `skyCorrectionDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.sky_correction")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
