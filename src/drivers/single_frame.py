"""``singleFrameDriver REPO --rerun NAME --id …``: every CCD of every visit, independently."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpipool import enter

if TYPE_CHECKING:
    from drivers.configuration import Configuration
    from drivers.process_ccd import CcdJob
    from drivers.registry import RawFrame
    from drivers.repository import Rerun

STAGE = "singleFrame"
VERSION = "1"
"""Raised when `process_ccd` changes what it makes, so that older results are made again."""

_NOTES = 5
"""Kinds of notes that the summary shows."""

_DESCRIPTION = """\
Calibrate the CCDs of a survey repository: overscan, bias level and gain where a frame is raw, mask
and variance, sky, detection, aperture photometry, seeing.

Each CCD is a task of its own. What is done is recorded in REPO/rerun/NAME/run.db: the same command
again does only what is missing.
"""
_EPILOG = """\
--id takes KEY=VALUE words, with KEY one of visit, ccd, filter, instrument, object, exptime, mjd.
  '^' separates alternatives, 'A..B' is an inclusive range, 'A..B:S' every S-th of it:
    --id visit=1228^1230..1236:2 ccd=0..103 filter=g^r
  All words of one --id must fit, and any of several --id. Without --id everything is selected.

exit code: 0 all done, 1 some CCDs failed, 2 usage
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do.

    Attributes
    ----------
    rerun : Rerun
        Where the outputs go.
    frames : list of RawFrame
        What was selected.
    configuration : Configuration
        The numbers of the processing.
    retries : int
        How often a failed task is tried again.
    """

    rerun: Rerun
    frames: list[RawFrame]
    configuration: Configuration
    retries: int


class NothingSelected(Exception):
    """No frame fits; the message says what could have been selected."""


def run() -> None:
    """Start `singleFrameDriver`: the console script."""
    enter("drivers.single_frame", preload=("drivers.process_ccd",))
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Process the CCDs that the command line selects, and return the exit code."""
    from drivers.configuration import ConfigurationError
    from drivers.data_id import DataIdError
    from drivers.registry import RegistryError
    from drivers.repository import RepositoryError
    from mpipool import MpipoolError

    options = _parser().parse_args(arguments)
    try:
        plan = make_plan(options)
        return describe(plan) if options.dry_run else process(plan)
    except (
        ConfigurationError,
        DataIdError,
        NothingSelected,
        RegistryError,
        RepositoryError,
        MpipoolError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="singleFrameDriver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("repo", metavar="REPO", help="folder of the repository")
    add("--rerun", required=True, metavar="NAME", help="where outputs go: REPO/rerun/NAME")
    add("--id", action="append", nargs="*", default=[], metavar="KEY=VALUE", help="what to process")
    add("--config", nargs="+", action="extend", default=[], metavar="NAME=VALUE")
    add("--retries", type=_count, default=0, metavar="K", help="try a failed CCD K times more")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    return parser


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def make_plan(options: argparse.Namespace) -> Plan:
    """Check the command line against the repository. Changes nothing on disk."""
    from drivers.configuration import parse_configuration
    from drivers.data_id import condition, parse_selection
    from drivers.registry import SELECTABLE, find_frames, open_registry
    from drivers.repository import open_repository

    selections = [parse_selection(words, SELECTABLE) for words in options.id]
    configuration = parse_configuration(options.config)
    repository = open_repository(options.repo)
    rerun = repository.rerun(options.rerun)
    with open_registry(repository.registry) as connection:
        frames = find_frames(connection, *condition(selections))
        if not frames:
            raise NothingSelected(f"--id selects nothing. {_available(connection)}")
    rerun.check_writable()
    return Plan(rerun, frames, configuration, options.retries)


def _available(connection: Any) -> str:
    from drivers.data_id import compact
    from drivers.registry import distinct_values

    keys = ("visit", "ccd", "filter", "instrument")
    values = {key: distinct_values(connection, key) for key in keys}
    if not values["visit"]:
        return "The registry is empty: ingest frames first (ingestDriver)."
    return "There are " + " ".join(f"{key}={compact(values[key])}" for key in keys)


def describe(plan: Plan) -> int:
    """Print what would be done."""
    done = {(row["visit"], row["ccd"]) for row in committed_rows(plan.rerun)}
    n_done = 0
    for frame in plan.frames:
        is_done = (frame.visit, frame.ccd) in done
        n_done += is_done
        state = " (done already)" if is_done else ""
        print(f"{frame} filter={frame.filter} {frame.instrument} {frame.path}{state}")
    print(f"{len(plan.frames)} CCDs selected, {n_done} done already; nothing was changed")
    return 0


def process(plan: Plan) -> int:
    """Process the CCDs, derive the registry's table, and print what was done."""
    from drivers.process_ccd import process_ccd
    from drivers.progress import shown
    from mpipool import Pool

    jobs = [_job(plan, frame) for frame in plan.frames]
    settings = plan.configuration.as_dict()
    plan.rerun.make_folder()
    with Pool(checkpoint=plan.rerun.run_db, config={"singleFrame": settings}) as pool:
        derive_calexps(plan.rerun)
        with shown(len(jobs), "single frame", "CCDs") as progress:
            outcomes = pool.map(
                process_ccd,
                jobs,
                stage=STAGE,
                key=_data_id,
                version=VERSION,
                config=settings,
                retries=plan.retries,
                errors="return",
                progress=progress,
            )
    # Now all records are on disk.
    derive_calexps(plan.rerun)
    return _report(plan, outcomes, pool.last_map)


def _data_id(job: CcdJob) -> dict[str, int]:
    return job.data_id


def _job(plan: Plan, frame: RawFrame) -> CcdJob:
    from drivers.process_ccd import CcdJob

    rerun, data_id = plan.rerun, (frame.visit, frame.ccd)
    return CcdJob(
        frame=frame,
        root=str(rerun.repository.root),
        image=rerun.relative(rerun.calexp(*data_id)),
        catalog=rerun.relative(rerun.catalog(*data_id)),
        configuration=plan.configuration,
    )


def committed_rows(rerun: Rerun) -> list[dict[str, Any]]:
    """Return what the tasks of this rerun recorded, of those that are done."""
    from mpipool import read_records

    if not rerun.run_db.is_file():
        return []
    return [dict(entry.metrics) for entry in read_records(rerun.run_db, stage=STAGE, state="done")]


def derive_calexps(rerun: Rerun) -> int:
    """Make the registry's table `calexp` say of this rerun what its committed records say.

    Records are the truth and the table is derived from all of them, so it doesn't matter at which
    moment an earlier run was killed.
    """
    from drivers.registry import open_registry, replace_calexps

    rows = committed_rows(rerun)
    with open_registry(rerun.repository.registry, create=True) as connection:
        return replace_calexps(connection, rerun.name, rows)


def _report(plan: Plan, outcomes: Sequence[Any], summary: Any) -> int:
    failures = [
        (frame, outcome)
        for frame, outcome in zip(plan.frames, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    ]
    before = summary.reused
    line = f"{len(outcomes)} CCDs: {len(outcomes) - len(failures)} done ({before} of them before)"
    line += f", {len(failures)} failed, in {summary.wall:.1f} s"
    if before < len(outcomes):
        line += f"; the ranks were busy {100 * summary.utilisation:.0f} % of the time"
    print(line)
    print(f"images and catalogues: {plan.rerun.folder / 'calexp'}")
    print(f"records: {plan.rerun.run_db}; table calexp of {plan.rerun.repository.registry}")
    _report_notes(plan)
    _report_failures(plan, failures)
    return 1 if failures else 0


def _report_notes(plan: Plan) -> None:
    """Print what was unusual, most frequent first."""
    selected = {(frame.visit, frame.ccd) for frame in plan.frames}
    notes = Counter(
        note
        for row in committed_rows(plan.rerun)
        if (row["visit"], row["ccd"]) in selected
        for note in row["notes"]
    )
    for note, count in notes.most_common(_NOTES):
        print(f"note ({count} x): {note}")
    if len(notes) > _NOTES:
        print("more notes: column notes of table calexp")


def _report_failures(plan: Plan, failures: Iterable[tuple[RawFrame, BaseException]]) -> None:
    failures = list(failures)
    if not failures:
        return
    print(f"failed ({len(failures)}); details: mpipool failed {plan.rerun.run_db}")
    for frame, error in failures:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"  {frame}: {reason}")


if __name__ == "__main__":
    run()
