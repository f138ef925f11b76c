"""``forcedPhotCcdDriver REPO --rerun NAME --id visit=…``: sources of coadds on single frames."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import FORCED_CCD
from drivers.survey_options import Command

COMMAND = Command(
    "forcedPhotCcdDriver",
    """\
Measure the sources which multiBandDriver has found on the CCDs of each visit.
""",
    (FORCED_CCD.name,),
)


def run() -> None:
    """Start `forcedPhotCcdDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.forced_phot_ccd")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
