"""``makeSurvey REPO --visits N --ccds M --bands g,r``: a simulated survey to try things on.

It writes raw frames (``REPO/raw``), a reference catalogue in other filters
(``REPO/reference.fits``) with the filters' colour terms (``REPO/survey.toml``), and what is true
(``REPO/truth``), which no driver reads.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
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
from drivers.simulator.survey import BANDS, EFFECTS, Survey
from mpipool import enter

STAGE = "makeSurvey"

_EPILOG = f"""\
The same arguments give the same bytes, on however many ranks. The same command again makes only
what is missing.

--without takes effects, separated by commas: {", ".join(EFFECTS)}

exit code: 0 all written, 1 some frames could not be written, 2 usage, {EXIT_CODES}
"""


def run() -> None:
    """Start `makeSurvey`: the console script."""
    enter("drivers.make_survey", preload=("drivers.simulator.writing",))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Simulate the survey that the command line asks for, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> Ending:
    from drivers.repository import repository_to_fill
    from drivers.simulator.writing import jobs, write_tables

    survey = _survey(options)
    root = repository_to_fill(options.repo).root
    todo = jobs(survey, root)
    outcomes = _map(survey, root, todo)
    failed = [
        f"  {job.path}: {first_line(outcome)}"
        for job, outcome in zip(todo, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    ]
    if failed:
        return Ending(1, [f"{len(failed)} of {len(todo)} files could not be written:", *failed])
    write_tables(survey, root, [row for rows in outcomes for row in rows])
    frames = survey.visits * survey.ccds
    lines = [f"{frames} frames of {survey.visits} visits x {survey.ccds} CCDs in {root / 'raw'}"]
    if survey.calibs:
        calibs = sum(job.exposure.kind != "science" for job in todo)
        lines.append(f"{calibs} files of calibration frames in {root / 'raw' / 'calibs'}")
    return Ending(0, lines)


def _map(survey: Survey, root: Path, todo: Sequence[Any]) -> list[Any]:
    """Write all files, on however many ranks there are; return the outcomes."""
    from drivers.progress import shown
    from drivers.simulator.writing import VERSION, memory, write_frames
    from mpipool import Pool, WorldLost

    (root / "truth").mkdir(parents=True, exist_ok=True)
    checkpoint = root / "truth" / "run.db"
    try:
        with (
            Pool(checkpoint=checkpoint, config=survey.as_dict()) as pool,
            shown(len(todo), "simulate", "files") as progress,
        ):
            return pool.map(
                write_frames,
                todo,
                stage=STAGE,
                key=lambda job: job.key,
                version=VERSION,
                memory=memory(survey),
                errors="return",
                progress=progress,
            )
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped("the same command goes on from there") from error


def parse(arguments: Sequence[str]) -> tuple[str, Survey]:
    """Read a command line; return the repository and the survey.

    Raises
    ------
    CommandError
        If there can be no such survey.
    """
    options = _parser().parse_args(arguments)
    return options.repo, _survey(options)


def _survey(options: argparse.Namespace) -> Survey:
    width, height = options.size
    if options.visits > MOST_VISITS:
        raise CommandError(f"--visits {options.visits} are too many: at most {MOST_VISITS}")
    return Survey(
        visits=options.visits,
        ccds=options.ccds,
        bands=options.bands,
        height=height,
        width=width,
        stars=options.stars,
        galaxies=options.galaxies,
        seed=options.seed,
        pointings=options.pointings,
        dither=options.dither,
        ra=options.centre[0],
        dec=options.centre[1],
        calibs=options.calibs,
        per_visit=options.per_file == "visit",
        without=options.without,
    )


MOST_VISITS = 9_900
"""Exposures of the sky: calibration frames are numbered from 10,000 on."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="makeSurvey",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("repo", metavar="REPO", help="folder of the repository; made if its parent folder exists")
    add("--visits", type=_positive, default=4, metavar="N", help="exposures of the sky")
    add("--ccds", type=_positive, default=6, metavar="M", help="detectors, some for focus from 14")
    add("--bands", type=_bands, default="g,r", metavar="LIST", help="filters, taken in turns")
    add("--seed", type=_positive, default=1, metavar="S", help="of all random numbers")
    _add_sky_options(parser)
    add("--size", type=_size, default="512x1024", metavar="WIDTHxHEIGHT", help="of a detector")
    add("--calibs", type=_count, default=3, metavar="N", help="bias, dark, and flat exposures")
    add("--per-file", choices=("ccd", "visit"), default="ccd", help="what a file holds")
    add("--without", type=_effects, default="", metavar="LIST", help="effects to leave out")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add_limits(parser)
    return parser


def _add_sky_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--stars", type=_count, default=200, metavar="N", help="per detector")
    add("--galaxies", type=_count, default=150, metavar="N", help="per detector")
    add("--centre", type=_place, default="150,2.2", metavar="RA,DEC", help="of the survey [deg]")
    add("--pointings", type=_positive, default=1, metavar="N", help="fields, side by side")
    add(
        "--dither",
        type=_part,
        default=0.15,
        metavar="X",
        help="how far visits point from their field's middle, as a part of its radius",
    )


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or int(match[1]) % 2 or min(int(match[1]), int(match[2])) < 32:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT with an even width, both at least 32"
        )
    return int(match[1]), int(match[2])


def _bands(text: str) -> tuple[str, ...]:
    bands = tuple(text.split(","))
    if not set(bands) <= set(BANDS) or len(set(bands)) < len(bands):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different ones of {BANDS}")
    return bands


def _effects(text: str) -> frozenset[str]:
    effects = frozenset(filter(None, text.split(",")))
    if unknown := sorted(effects - set(EFFECTS)):
        raise argparse.ArgumentTypeError(f"there is no effect {', '.join(unknown)}")
    return effects


def _place(text: str) -> tuple[float, float]:
    try:
        ra, dec = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not RA,DEC [deg]") from None
    if not (0 <= ra < 360 and -90 <= dec <= 90):
        raise argparse.ArgumentTypeError(f"{text!r} is not on the sky: RA 0 to 360, DEC -90 to 90")
    return ra, dec


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return part


if __name__ == "__main__":
    run()
