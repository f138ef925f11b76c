"""``coaddDriver REPO --rerun NAME --id tract=… patch=… filter=…``: coadds of patches."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import stage_driver
from drivers.planning.stages import COADD, DETECT
from drivers.survey_options import Command

COMMAND = Command(
    "coaddDriver",
    """\
Warp the visits which overlap a patch, add them up without what moves or flares, and find sources.

Overlaps come from the registry: no image is opened to find them. It is made of what
singleFrameDriver (and mosaicDriver and skyCorrectionDriver, where they were run) has done in the
rerun.
""",
    (
        COADD.name,
        DETECT.name,
    ),
)


def run() -> None:
    """Start `coaddDriver`: the console script."""
    stage_driver.start(COMMAND, "drivers.coadd")


def main(arguments: Sequence[str]) -> int:
    """Do what a command line says, and return the exit code."""
    return stage_driver.main(COMMAND, arguments)


if __name__ == "__main__":
    run()
