"""``constructCalibsDriver REPO --rerun NAME --kind bias dark flat``: makes calibration frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from drivers.command import EXIT_CODES, Ending, add_limits, carry_out, end
from mpipool import enter

_DESCRIPTION = """\
Make calibration frames of each CCD from exposures, each kind with the earlier ones: bias (what the
overscan leaves), dark, flat (with the sensitivity of the CCDs to one another), fringe, and sky
frames (what the sky has in common in all exposures of a filter beside what is smooth).

They stand in REPO/rerun/NAME/calib, and in the registry with the time for which they are good: a
day before the first exposure, until there are later ones, or as --valid-from and --valid-to say.
singleFrameDriver takes what is good for its frame. --id selects exposures: of bias, dark and flat
those which the headers call so, of fringe and sky those of the sky.
"""
_EPILOG = f"""\
A CCD with too few exposures, or which can't be used, is named; the others are made.

exit code: 0 all made, 1 some could not be made, 2 usage, {EXIT_CODES}
"""
_KINDS = ("bias", "dark", "flat", "fringe", "sky")


def run() -> None:
    """Start `constructCalibsDriver`: the console script."""
    enter("drivers.construct_calibs", preload=("drivers.stages.sky_frames",))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Make what a command line asks for, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> Ending:
    from drivers.calib_run import Validity, carry_out_calibs, describe, make_calib_plan

    with ExitStack() as open_files:
        plan = make_calib_plan(options, open_files)
        validity = Validity(options.valid_from, options.valid_to)
        if options.dry_run:
            return describe(plan)
        return carry_out_calibs(plan, options, validity)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="constructCalibsDriver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("repo", metavar="REPO", help="folder of the repository")
    add("--rerun", required=True, metavar="NAME", help="where outputs go: REPO/rerun/NAME")
    add("--kind", nargs="+", choices=_KINDS, default=list(_KINDS[:3]), help="what to make")
    add("--id", action="append", nargs="*", default=[], metavar="KEY=VALUE",
        help="of which exposures and CCDs, such as visit=10000..10020 ccd=0..103")  # fmt: skip
    add("--valid-from", type=date, metavar="DATE", help="YYYY-MM-DD[THH:MM], or an MJD")
    add("--valid-to", type=date, metavar="DATE", help="the same; from then on they are not good")
    add("--config-file", action="append", default=[], metavar="FILE", help="TOML")
    add("-c", "--config", nargs="+", action="extend", default=[], metavar="STAGE.FIELD=VALUE",
        help="such as calibs.least_frames=5")  # fmt: skip
    add("--clobber-config", action="store_true",
        help="go on with a rerun of another configuration")  # fmt: skip
    _add_how(parser)
    add_limits(parser)
    return parser


def _add_how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dry-run", action="store_true", help="say what would be made; change nothing")
    add("--fail-fast", action="store_true", help="begin nothing more once a task has failed")
    add("--retries", type=int, default=0, metavar="K", help="try a failed task K times more")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add("--survive", action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that")  # fmt: skip
    add(
        "--take-over",
        action="store_true",
        help="take the run's database from a run on another host which nobody can see any more",
    )


def date(text: str) -> float:
    """Read a date (UTC) or an MJD; return the MJD.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is neither.
    """
    from datetime import UTC, datetime

    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither YYYY-MM-DD nor an MJD") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (when - datetime(1858, 11, 17, tzinfo=UTC)).total_seconds() / 86400


if __name__ == "__main__":
    run()
