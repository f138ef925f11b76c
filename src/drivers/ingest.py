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

from mpipool import enter

if TYPE_CHECKING:
    from drivers.header_scan import Scan
    from drivers.registry import RawFrame

_DESCRIPTION = """\
Read the headers of FITS files and fill the registry of a survey repository.

The repository is made if it doesn't exist (its parent folder must). Files stay where they are.
Masks and weights that stand beside an image may be among the FILES: they are skipped. Ingesting a
file again changes nothing.
"""
_EPILOG = "exit code: 0 all ingested, 1 some files could not be used, 2 usage"


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
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Ingest the files that the command line names, and return the exit code."""
    from drivers.registry import RegistryError
    from drivers.repository import RepositoryError, repository_to_fill
    from mpipool import MpipoolError

    options = _parser().parse_args(arguments)
    try:
        files = expand(options.files)
        repository = repository_to_fill(options.repo)
        outcome = _scan(files)
        added = _store(repository.registry, outcome) if outcome.frames else 0
    except (RegistryError, RepositoryError, MpipoolError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _report(options.repo, len(files), added, outcome)
    return 1 if outcome.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ingestDriver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    parser.add_argument(
        "files",
        metavar="FILES",
        nargs="+",
        help="FITS files (also .fits.fz, .fits.gz), patterns, or @LIST for a file with one a line",
    )
    parser.add_argument("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    return parser


def expand(words: Iterable[str]) -> list[str]:
    """Return the absolute paths which the words name, without repetition, in their order.

    A word is a path, a pattern, or ``@LIST``: a text file with a path or pattern on each line.
    """
    paths: dict[str, None] = {}
    for word in words:
        lines = Path(word[1:]).read_text().splitlines() if word.startswith("@") else [word]
        for line in (line.strip() for line in lines):
            if not line:
                continue
            found = [line] if os.path.lexists(line) else sorted(glob.glob(line))
            paths.update(dict.fromkeys(os.path.abspath(path) for path in found or [line]))
    return list(paths)


def _scan(files: Sequence[str]) -> Outcome:
    """Read the files' headers in parallel."""
    from drivers.header_scan import scan_file
    from drivers.progress import shown
    from mpipool import Pool

    with Pool() as pool, shown(len(files), "ingest", "files") as progress:
        scans = pool.map(scan_file, files, errors="return", progress=progress)
    outcome = Outcome()
    for path, scan in zip(files, scans, strict=True):
        _add(outcome, path, scan)
    return outcome


def _add(outcome: Outcome, path: str, scan: Scan | BaseException) -> None:
    if isinstance(scan, BaseException):
        outcome.problems.append((path, f"could not be read: {_first_line(scan)}"))
        return
    outcome.companions += scan.companion
    outcome.frames += scan.frames
    outcome.problems += [(path, problem) for problem in scan.problems]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _store(registry: Path, outcome: Outcome) -> int:
    """Write the frames to the registry; return how many it took, and add the refused problems."""
    from drivers.registry import add_frames, open_registry

    registry.parent.mkdir(exist_ok=True)
    with open_registry(registry, create=True) as connection:
        refused = add_frames(connection, outcome.frames)
    outcome.problems += [
        (frame.path, f"{frame} is in the registry already, from {holder}")
        for frame, holder in refused.items()
    ]
    return len(outcome.frames) - len(refused)


def _report(repo: str, n_files: int, added: int, outcome: Outcome) -> None:
    beside = f", {outcome.companions} companions of images skipped" if outcome.companions else ""
    print(f"{n_files} files: {added} images ingested into {repo}{beside}")
    if outcome.problems:
        print(f"{len(outcome.problems)} could not be used:")
    for path, problem in outcome.problems:
        print(f"  {path}: {problem}")


if __name__ == "__main__":
    run()
