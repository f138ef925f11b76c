"""``multiBandDriver REPO --rerun NAME --id tract=… patch=…``: measurement in all bands."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import FORCED, MEASURE, MERGE_DETECTIONS, MERGE_MEASUREMENTS
from drivers.survey_options import Command

COMMAND = Command(
    "multiBandDriver",
    """\
Merge what was found in all bands of a patch, deblend and measure in each band, choose the
reference band of each source, and measure at the reference places in all bands.

It is made of what coaddDriver has done in the rerun.
""",
    (
        MERGE_DETECTIONS.name,
        MEASURE.name,
        MERGE_MEASUREMENTS.name,
        FORCED.name,
    ),
)


def run() -> None:
    """Start `multiBandDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.multi_band")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
