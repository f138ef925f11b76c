"""``singleFrameDriver REPO --rerun NAME --id …``: every CCD of every visit, independently."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivers.command import (
    EXIT_CODES,
    CommandError,
    Ending,
    Stopped,
    add_limits,
    carry_out,
    complain,
    end,
)
from mpipool import enter

if TYPE_CHECKING:
    from drivers.configuration import Configuration
    from drivers.process_ccd import CcdJob
    from drivers.registry import RawFrame
    from drivers.repository import Rerun
    from drivers.run_records import RunRecords

STAGE = "singleFrame"
VERSION = "1"
"""Raised when `process_ccd` changes what it makes, so that older results are made again."""

_DESCRIPTION = """\
Calibrate the CCDs of a survey repository: overscan, bias level and gain where a frame is raw, mask
and variance, sky, detection, aperture photometry, seeing.

Each CCD is a task of its own. What is done is recorded in REPO/rerun/NAME/run.db: the same command
again does only what is missing.
"""
_EPILOG = f"""\
--id takes KEY=VALUE words, with KEY one of visit, ccd, filter, instrument, object, exptime, mjd.
  '^' separates alternatives, 'A..B' is an inclusive range, 'A..B:S' every S-th of it:
    --id visit=1228^1230..1236:2 ccd=0..103 filter=g^r
  All words of one --id must fit, and any of several --id. Without --id everything is selected.

exit code: 0 all done, 1 some CCDs failed, 2 usage, {EXIT_CODES}
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
    take_over : bool
        Take the rerun's database from a run of which nobody can say whether it lives.
    group : str
        A Unix group which shares the rerun; empty if there is none.
    notes : list of str
        What to tell before it begins.
    """

    rerun: Rerun
    frames: list[RawFrame]
    configuration: Configuration
    retries: int
    take_over: bool
    group: str
    notes: list[str]

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as the rerun's database has it."""
        return {STAGE: self.configuration.as_dict()}


class NothingSelected(CommandError):
    """No frame fits; the message says what could have been selected."""


def run() -> None:
    """Start `singleFrameDriver`: the console script."""
    enter("drivers.single_frame", preload=("drivers.process_ccd",))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Process the CCDs that the command line selects, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> Ending:
    plan = make_plan(options)
    for note in plan.notes:
        complain(f"note: {note}")
    return describe(plan) if options.dry_run else process(plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="singleFrameDriver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("repo", metavar="REPO", help="folder of the repository")
    add("--rerun", required=True, metavar="NAME", help="where outputs go: REPO/rerun/NAME")
    add("--id", action="append", nargs="*", default=[], metavar="KEY=VALUE", help="what to process")
    add("--config", nargs="+", action="extend", default=[], metavar="NAME=VALUE")
    add("--retries", type=_count, default=0, metavar="K", help="try a failed CCD K times more")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    add(
        "--take-over",
        action="store_true",
        help="take the run's database from a run on another host which nobody can see any more",
    )
    add(
        "--group",
        default="",
        metavar="NAME",
        help="a Unix group whose members share the rerun, and may go on with it",
    )
    add_limits(parser)
    return parser


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def make_plan(options: argparse.Namespace) -> Plan:
    """Check the command line against the repository. Changes nothing on disk."""
    from drivers.configuration import parse_configuration
    from drivers.data_id import condition, parse_selection
    from drivers.registry import SELECTABLE, find_frames, open_registry, unmatched
    from drivers.repository import open_repository

    selections = [parse_selection(words, SELECTABLE) for words in options.id]
    configuration = parse_configuration(options.config)
    repository = open_repository(options.repo)
    rerun = repository.rerun(options.rerun)
    with open_registry(repository.registry) as connection:
        frames = find_frames(connection, *condition(selections))
        if not frames:
            raise NothingSelected(f"--id selects nothing. {_available(connection)}")
        empty = [unmatched(connection, selection) for selection in selections]
    if not options.dry_run:
        rerun.check_writable()
    notes = [f"--id {words} match nothing" for words in empty if words]
    return Plan(
        rerun, frames, configuration, options.retries, options.take_over, options.group, notes
    )


def _available(connection: Any) -> str:
    from drivers.data_id import compact
    from drivers.registry import distinct_values

    keys = ("visit", "ccd", "filter", "instrument")
    values = {key: distinct_values(connection, key) for key in keys}
    if not values["visit"]:
        return "The registry is empty: ingest frames first (ingestDriver)."
    return "There are " + " ".join(f"{key}={compact(values[key])}" for key in keys)


def describe(plan: Plan) -> Ending:
    """Say what would be done."""
    from drivers.run_records import read_run, require_configuration

    require_configuration(plan.rerun, plan.settings)
    records = read_run(plan.rerun, STAGE)
    lines, n_done = [], 0
    for frame in plan.frames:
        done = records.has_made(frame)
        n_done += done
        state = " (done already)" if done else ""
        lines.append(f"{frame} filter={frame.filter} {frame.instrument} {frame.path}{state}")
    lines.append(f"{len(plan.frames)} CCDs selected, {n_done} done already; nothing was changed")
    return Ending(0, lines)


def process(plan: Plan) -> Ending:
    """Process the CCDs, derive the registry's table, and say what was done."""
    from drivers.run_records import read_run
    from mpipool import Drained, WorldLost

    standing = Standing(len(plan.frames))
    try:
        outcomes, summary = _map(plan, standing)
        # Now all records are on disk.
        return _finish(plan, outcomes, summary)
    except Drained as error:
        errors = _derive_at_the_end(plan.rerun, read_run(plan.rerun, STAGE))
        return Ending(error.code, errors=[*errors, f"drained ({error.reason}): {standing}"])
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped(str(standing)) from error


@dataclass(slots=True)
class Standing:
    """How many of the CCDs are done; None as long as nobody knows."""

    total: int
    done: int | None = None

    def __str__(self) -> str:
        known = "" if self.done is None else f"{self.done} of {self.total} CCDs are done; "
        return f"{known}the same command goes on from there"


def _map(plan: Plan, standing: Standing) -> tuple[list[Any], Any]:
    """Return the tasks' outcomes, in the order of the frames, and the map's summary."""
    from drivers.process_ccd import process_ccd
    from drivers.progress import shown

    jobs = [_job(plan, frame) for frame in plan.frames]
    with _open_pool(plan) as pool, shown(len(jobs), "single frame", "CCDs") as show:
        _bring_in_line(plan)

        def progress(done: int, failed: int, total: int) -> None:
            standing.done = done
            show(done, failed, total)

        outcomes = pool.map(
            process_ccd,
            jobs,
            stage=STAGE,
            key=_key,
            version=VERSION,
            config=plan.configuration.as_dict(),
            retries=plan.retries,
            errors="return",
            progress=progress,
        )
    return outcomes, pool.last_map


def _bring_in_line(plan: Plan) -> None:
    """Before anything is run, have the table and the files say what the records say."""
    from drivers.run_records import read_run

    records = read_run(plan.rerun, STAGE)
    derive_calexps(plan.rerun, records)
    for frame in plan.frames:
        records.remove_outdated(frame)


def _finish(plan: Plan, outcomes: Sequence[Any], summary: Any) -> Ending:
    from drivers.run_records import read_run
    from drivers.summary import list_failures, list_notes, summarise

    records = read_run(plan.rerun, STAGE)
    errors = _derive_at_the_end(plan.rerun, records)
    selected = {(frame.visit, frame.ccd) for frame in plan.frames}
    failures = [
        (frame, outcome)
        for frame, outcome in zip(plan.frames, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    ]
    lines = summarise(plan.rerun, len(outcomes), len(failures), summary)
    lines += list_notes(row for row in records.rows() if (row["visit"], row["ccd"]) in selected)
    lines += list_failures(plan.rerun, failures)
    return Ending(1 if failures or errors else 0, lines, errors)


def _open_pool(plan: Plan) -> Any:
    """Open the rerun's database; if it is refused, nothing is left of what was made for it."""
    from mpipool import MpipoolError, Pool

    made = plan.rerun.make_folder()
    try:
        return Pool(
            checkpoint=plan.rerun.run_db,
            config=plan.settings,
            take_over=plan.take_over,
            group=plan.group,
        )
    except MpipoolError:
        for folder in made:
            with suppress(OSError):  # something stands in it
                folder.rmdir()
        raise


def _key(job: CcdJob) -> dict[str, Any]:
    return job.frame.key


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


def derive_calexps(rerun: Rerun, records: RunRecords) -> int:
    """Make the registry's table `calexp` say of this rerun what its committed records say.

    Records are the truth and the table is derived from all of them, so it doesn't matter at which
    moment an earlier run was killed.
    """
    from drivers.registry import open_registry, replace_calexps

    with open_registry(rerun.repository.registry, create=True) as connection:
        return replace_calexps(connection, rerun.name, records.rows())


def _derive_at_the_end(rerun: Rerun, records: RunRecords) -> list[str]:
    """Derive the table; return what to say if that can't be done, since all the rest is."""
    from drivers.registry import RegistryError

    try:
        derive_calexps(rerun, records)
    except RegistryError as error:
        safe = f"the records are safe in {rerun.run_db}; the next start derives the table"
        return [f"error: {error}", safe]
    return []


if __name__ == "__main__":
    run()
