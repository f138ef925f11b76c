"""``ingestDriver REPO FILES…``: reads each file's headers once, in parallel, into the registry."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
    first_line,
)
from mpipool import enter

if TYPE_CHECKING:
    from drivers.header_scan import Scan
    from drivers.registry import Added, RawFrame

_DESCRIPTION = """\
Read the headers of FITS files and fill the registry of a survey repository.

The repository is made if it doesn't exist (its parent folder must). Files stay where they are.
Masks and weights that stand beside an image may be among the FILES: they are skipped. Ingesting a
file again changes nothing.
"""
_EPILOG = f"exit code: 0 all ingested, 1 some files could not be used, 2 usage, {EXIT_CODES}"


@dataclass(slots=True)
class Outcome:
    """What became of the files.

    Attributes
    ----------
    frames : list of RawFrame
        Images to put into the registry.
    companions : int
        Files that belong to an image.
    problems : list of (str, str)
        File and reason.
    """

    frames: list[RawFrame] = field(default_factory=list)
    companions: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def run() -> None:
    """Start `ingestDriver`: the console script."""
    enter("drivers.ingest", preload=("drivers.header_scan",))
    end(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Ingest the files that the command line names, and return the exit code."""
    return carry_out(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> Ending:
    from drivers.registry import Added
    from drivers.repository import repository_to_fill

    named = expand(options.files)
    if named.folders and not (named.paths or named.unmatched):
        folder = named.folders[0]
        raise CommandError(f"{folder} is a folder; name the files in it: '{folder}/*.fits'")
    repository = repository_to_fill(options.repo)
    outcome = _scan(named.paths)
    outcome.problems += [(word, "no file fits this pattern") for word in named.unmatched]
    added = _store(repository.registry, outcome) if outcome.frames else Added()
    return Ending(1 if outcome.problems else 0, _report(options.repo, named, added, outcome))


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
        nargs="+",
        help="FITS files (also .fits.fz, .fits.gz), patterns, or @LIST for a file with one a line",
    )
    parser.add_argument("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    parser.add_argument(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add_limits(parser)
    return parser


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


def _scan(files: Sequence[str]) -> Outcome:
    """Read the files' headers in parallel."""
    from drivers.header_scan import scan_file
    from drivers.progress import shown
    from mpipool import Pool, WorldLost

    try:
        with Pool() as pool, shown(len(files), "ingest", "files") as progress:
            scans = pool.map(scan_file, files, errors="return", progress=progress)
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped("nothing was ingested; give the same command again") from error
    outcome = Outcome()
    for path, scan in zip(files, scans, strict=True):
        _add(outcome, path, scan)
    return outcome


def _add(outcome: Outcome, path: str, scan: Scan | BaseException) -> None:
    if isinstance(scan, BaseException):
        outcome.problems.append((path, f"could not be read: {first_line(scan)}"))
        return
    outcome.companions += scan.companion
    outcome.frames += scan.frames
    outcome.problems += [(path, problem) for problem in scan.problems]


def _store(registry: Path, outcome: Outcome) -> Added:
    """Write the frames to the registry, and add the refused ones to the problems."""
    from drivers.registry import add_frames, open_registry

    registry.parent.mkdir(exist_ok=True)
    with open_registry(registry, create=True) as connection:
        added = add_frames(connection, outcome.frames)
    outcome.problems += [(frame.path, reason) for frame, reason in added.refused.items()]
    return added


def _report(repo: str, named: Named, added: Added, outcome: Outcome) -> list[str]:
    new = f"{added.new} images ingested into {repo}"
    others = {
        "changed and ingested again": added.changed,
        "unchanged": added.unchanged,
        "companions of images skipped": outcome.companions,
        "folders skipped": len(named.folders),
    }
    counts = "".join(
        f", {count} {what.replace('s ', ' ', 1) if count == 1 else what}"
        for what, count in others.items()
        if count
    )
    lines = [f"{len(named.paths)} files: {new}{counts}"]
    if outcome.problems:
        lines.append(f"{len(outcome.problems)} could not be used:")
    return lines + [f"  {path}: {problem}" for path, problem in outcome.problems]


if __name__ == "__main__":
    run()
