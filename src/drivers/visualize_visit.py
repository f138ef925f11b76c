"""``visualizeVisit REPO --rerun NAME --id visit=…``: whole focal planes as FITS and PNG."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from drivers.command import (
    EXIT_CODES,
    CommandError,
    Ending,
    Stopped,
    add_limits,
    carry_out,
    end,
    first_line,
)
from mpipool import enter

_DESCRIPTION = """\
Draw visits: the calibrated images of all CCDs, binned, put where they are on the sky. North is up,
and east to the left. Each visit becomes a FITS image and a PNG,
REPO/rerun/NAME/calexp/vVVVVVVV/focal-plane-VVVVVVV-SKY.fits and .png.
"""
_EPILOG = f"exit code: 0 all drawn, 1 some could not be drawn, 2 usage, {EXIT_CODES}"


def run() -> None:
    """Start `visualizeVisit`: the console script."""
    enter("drivers.visualize_visit", preload=("drivers.stages.visit_image",))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Draw the visits which a command line selects, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    from drivers.selection import add_selection

    parser = argparse.ArgumentParser(
        prog="visualizeVisit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("repo", metavar="REPO", help="folder of the repository")
    add("--rerun", required=True, metavar="NAME", help="of whose images")
    add_selection(parser)
    add(
        "--sky",
        choices=("subtracted", "corrected", "original"),
        default="subtracted",
        help="the images as they are (the default); with the correction of skyCorrectionDriver; or "
        "with the sky put back which was subtracted CCD by CCD",
    )
    add("--binning", type=_size, default=8, metavar="N", help="N x N pixels become one (8)")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add_limits(parser)
    return parser


def _size(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1024")
    return int(text)


def _run(options: argparse.Namespace) -> Ending:
    from drivers.progress import shown
    from drivers.stages.visit_image import STAGE, draw_visit
    from mpipool import Pool, WorldLost

    jobs = _jobs(options)
    try:
        with Pool() as pool, shown(len(jobs), "visualize", "visits") as progress:
            outcomes = pool.map(draw_visit, jobs, stage=STAGE, errors="return", progress=progress)
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped("nothing but the images that are there was kept") from error
    lines, failed = [], 0
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failed += 1
            lines.append(f"visit {job.visit} could not be drawn: {first_line(outcome)}")
        else:
            failed += bool(outcome["notes"])
            lines.append(f"{job.root}/{outcome['picture']}: {outcome['n_ccds']} CCDs")
            lines += [f"  left out: {note}" for note in outcome["notes"]]
    return Ending(1 if failed else 0, lines)


def _jobs(options: argparse.Namespace) -> list[Any]:
    """Return what is to be drawn.

    Raises
    ------
    CommandError
        If nothing is, or there is no sky correction where one is asked for.
    """
    from drivers.registry import find_products, open_registry, selectable
    from drivers.repository import open_repository
    from drivers.selection import wanted
    from drivers.stages.visit_image import VisitImageJob

    repository = open_repository(options.repo)
    rerun = repository.rerun(options.rerun)
    condition = wanted(options.id, options.where, selectable("calexp")).condition()
    with open_registry(repository.registry) as registry:
        rows = find_products(registry, "calexp", [rerun.name], *condition)
    if not rows:
        raise CommandError(f"--id selects no image of the rerun {rerun.name}")
    visits: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        visits.setdefault(row["visit"], []).append(_drawable(row))
    for visit in visits if options.sky == "corrected" else ():
        if not rerun.sky_correction(visit).is_file():
            raise CommandError(
                f"visit {visit} has no sky correction in the rerun {rerun.name}; "
                "skyCorrectionDriver makes it"
            )
    rerun.check_writable()
    return [
        VisitImageJob(
            visit=visit,
            ccds=tuple(ccds),
            root=str(repository.root),
            image=rerun.relative(rerun.focal_plane(visit, options.sky, "fits")),
            picture=rerun.relative(rerun.focal_plane(visit, options.sky, "png")),
            sky=options.sky,
            correction=rerun.relative(rerun.sky_correction(visit)),
            size=options.binning,
        )
        for visit, ccds in sorted(visits.items())
    ]


def _drawable(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "ccd": row["ccd"],
        "image": row["image"],
        "pixel_scale": row["pixel_scale"],
        "wcs": json.loads(row["wcs"]),
        "corners": [[row[f"ra{at}"], row[f"dec{at}"]] for at in range(4)],
    }


if __name__ == "__main__":
    run()
