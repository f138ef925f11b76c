"""``mosaicDriver REPO --rerun NAME --id tract=… filter=…``: global solutions of tracts."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import EXPOSURE, MOSAIC
from drivers.survey_options import Command

COMMAND = Command(
    "mosaicDriver",
    """\
Solve the astrometry and photometry of all exposures which overlap in a tract together: exposure
solutions first, then for each tract and filter a sparse least-squares solution on a gang of ranks.

It is made of what singleFrameDriver has done in the rerun.
""",
    (
        EXPOSURE.name,
        MOSAIC.name,
    ),
)


def run() -> None:
    """Start `mosaicDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.mosaic")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
