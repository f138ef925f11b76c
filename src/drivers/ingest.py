"""``ingestDriver REPO FILES…``: reads each file's headers once, in parallel, into the registry."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.command import (
    EXIT_CODES,
    CommandError,
    Ending,
    Stopped,
    add_limits,
    carry_out,
    end,
)
from drivers.follow_options import Follow, add_follow, followed
from mpipool import enter

if TYPE_CHECKING:
    from drivers.configuration.reference import ReferenceColumns
    from drivers.instruments import Instrument
    from drivers.intake import Mode, Outcome
    from drivers.repository import Repository

_DESCRIPTION = """\
Read the headers of FITS files and fill the registry of a survey repository.

The repository is made if it doesn't exist (its parent folder must). Files stay where they are,
unless --mode says otherwise. Masks and weights that stand beside an image may be among the FILES:
they are skipped. Ingesting a file again changes nothing.
"""
_EPILOG = f"exit code: 0 all ingested, 1 some files could not be used, 2 usage, {EXIT_CODES}"


def run() -> None:
    """Start `ingestDriver`: the console script."""
    enter("drivers.ingest", preload=("drivers.header_scan", "drivers.placing"))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Ingest the files that the command line names, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_intermixed_args(arguments)))


def _run(options: argparse.Namespace) -> Ending:
    from drivers.instruments import read_instruments
    from drivers.intake import known_files
    from drivers.repository import repository_to_fill

    follow = followed(options)
    if not (options.files or options.reference or follow):
        raise CommandError("name FILES to ingest, or a table of stars with --reference")
    named = expand(options.files)
    if named.folders and not (named.paths or named.unmatched):
        folder = named.folders[0]
        raise CommandError(f"{folder} is a folder; name the files in it: '{folder}/*.fits'")
    repository = repository_to_fill(options.repo)
    columns = _reference_columns(options.reference_columns)
    described = read_instruments([Path(file) for file in options.instrument])
    known = known_files(repository.registry) if options.ignore_ingested else frozenset()
    paths = [path for path in named.paths if path not in known]
    outcome = _take(Work(repository, options.mode, described, follow), paths)
    outcome.problems += [(word, "no file fits this pattern") for word in named.unmatched]
    lines = _report(options.repo, named, outcome, len(named.paths) - len(paths), bool(follow))
    lines += _take_references(repository, options.reference, columns, outcome)
    return Ending(1 if outcome.problems else 0, lines + _problems(outcome))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ingestDriver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    parser.add_argument(
        "files",
        metavar="FILES",
        nargs="*",
        help="FITS files (also .fits.fz, .fits.gz), patterns, or @LIST for a file with one a line",
    )
    _add_what_to_do(parser)
    parser.add_argument("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    parser.add_argument(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add_limits(parser)
    add_follow(parser)
    return parser


def _add_what_to_do(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("skip", "link", "copy", "move"),
        default="skip",
        help="skip (the default): files stay where they are; else they are linked, copied or moved "
        "to REPO/raw/vVVVVVVV/, with the masks and weights beside them",
    )
    parser.add_argument(
        "--ignore-ingested",
        action="store_true",
        help="don't read files again which are in the registry, changed or not",
    )
    parser.add_argument(
        "--instrument",
        action="append",
        default=[],
        metavar="TOML",
        help="the description of a camera which the drivers don't know; it is kept in "
        "REPO/instruments",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="FILE",
        help="a FITS table of stars for the reference catalogue, REPO/reference.sqlite",
    )
    parser.add_argument(
        "--reference-columns",
        metavar="TOML",
        help="which column of --reference is what (otherwise they are known by their names)",
    )


@dataclass(slots=True)
class Named:
    """What the words of the command line name.

    Attributes
    ----------
    paths : list of str
        Files, absolute, without repetition. Those which don't exist are among them.
    folders, unmatched : list of str
        Folders, which are skipped, and patterns that nothing fits.
    """

    paths: list[str]
    folders: list[str]
    unmatched: list[str]


def expand(words: Iterable[str]) -> Named:
    """Return what the words name, in their order.

    A word is a path, a pattern, or ``@LIST``: a text file with a path or pattern on each line.
    """
    paths: dict[str, None] = {}
    unmatched = []
    for word in words:
        lines = Path(word[1:]).read_text().splitlines() if word.startswith("@") else [word]
        for line in filter(None, map(str.strip, lines)):
            is_pattern = glob.has_magic(line) and not os.path.lexists(line)
            found = sorted(glob.glob(line)) if is_pattern else [line]
            if not found:
                unmatched.append(line)
            paths.update(dict.fromkeys(map(os.path.abspath, found)))
    folders = [path for path in paths if os.path.isdir(path)]
    return Named([path for path in paths if path not in set(folders)], folders, unmatched)


@dataclass(frozen=True, slots=True)
class Work:
    """Where the files go, and how.

    Attributes
    ----------
    repository, mode, described
        See `drivers.intake.Intake`.
    follow : Follow or None
        The folders whose files are taken as they come.
    """

    repository: Repository
    mode: Mode
    described: Mapping[Path, Instrument]
    follow: Follow | None


def _take(work: Work, files: Sequence[str]) -> Outcome:
    """Take the files in, their headers read in parallel."""
    from drivers.intake import Intake, Outcome
    from drivers.progress import shown
    from mpipool import Pool, WorldLost

    if not (files or work.follow):
        return Outcome()
    intake = None
    try:
        with Pool() as pool:
            intake = Intake(work.repository, work.mode, pool, work.described)
            if files:
                with shown(len(files), "ingest", "files") as progress:
                    intake.take(files, progress)
            if work.follow:
                from drivers.night import take_as_they_come

                take_as_they_come(intake, work.follow)
    except (KeyboardInterrupt, WorldLost) as error:
        done = intake.outcome.files if intake else 0
        so_far = f"{done} of {len(files)} files are ingested" if done else "nothing was ingested"
        raise Stopped(f"{so_far}; give the same command again") from error
    return intake.outcome


def _reference_columns(file: str | None) -> ReferenceColumns | None:
    from drivers.configuration import load_configuration
    from drivers.configuration.reference import ReferenceColumns

    return load_configuration(ReferenceColumns, [file]) if file else None


def _take_references(
    repository: Repository,
    files: Sequence[str],
    columns: ReferenceColumns | None,
    outcome: Outcome,
) -> list[str]:
    """Add tables to the reference catalogue; return what to say of them."""
    from drivers.frame_error import FrameError
    from drivers.reference import Reference, add_stars, open_reference, read_stars

    lines = []
    for file in expand(files).paths:
        try:
            stars, magnitudes = read_stars(Path(file), columns)
        except FrameError as error:
            outcome.problems.append((file, str(error)))
            continue
        repository.root.mkdir(exist_ok=True)
        with open_reference(repository.reference, create=True) as connection:
            count = add_stars(connection, stars, magnitudes)
            names = ", ".join(Reference(connection).magnitudes) or "none"
        lines.append(f"{file}: {count} stars for the reference catalogue; magnitudes: {names}")
    return lines


def _report(repo: str, named: Named, outcome: Outcome, n_known: int, followed: bool) -> list[str]:
    if not (named.paths or followed):
        return []
    new = f"{outcome.new} images ingested into {repo}"
    others = {
        "changed and ingested again": outcome.changed,
        "unchanged": outcome.unchanged,
        "companions of images skipped": outcome.companions,
        "folders skipped": len(named.folders),
        "files known and not read": n_known,
    }
    counts = "".join(
        f", {count} {what.replace('s ', ' ', 1) if count == 1 else what}"
        for what, count in others.items()
        if count
    )
    return [f"{outcome.files + n_known} files: {new}{counts}"]


def _problems(outcome: Outcome) -> list[str]:
    if not outcome.problems:
        return []
    lines = [f"{len(outcome.problems)} could not be used:"]
    return lines + [f"  {path}: {problem}" for path, problem in outcome.problems]


if __name__ == "__main__":
    run()
