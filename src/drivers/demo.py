"""Runs the drivers over a small survey, as a user would, and compares with the truth.

``python -m drivers.demo [FOLDER]`` simulates a survey; with ``--real`` the frames in
``../shared/data`` are processed instead.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from drivers.simulator.point_spread import SIGMAS, WEIGHTS
from drivers.simulator.survey import PIXEL_SCALE as SCALE

RERUN = "demo"
_RANKS = 4
_REAL = Path("../shared/data")
_PATTERNS = ("decam/case*/*_oo?_*.fits", "obs_test/raw_*.fits.gz")

_BRIGHT, _TOO_BRIGHT = 20_000, 1_000_000
"""Electrons of the stars that are compared with the truth."""

_NEAR = 5.0
"""Arcseconds from a true star within which a source is taken for it: raw headers are so wrong."""

_MARGIN = 12.0
"""Arcseconds by which they lie within the CCD."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.demo", description=__doc__, allow_abbrev=False
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", nargs="?", type=Path, help="where to work; else a new folder")
    parser.add_argument("--real", action="store_true", help="process the frames in ../shared/data")
    parser.add_argument("--visits", type=int, default=6)
    parser.add_argument("--ccds", type=int, default=8)
    options = parser.parse_args(arguments)
    files = _real_files() if options.real else []
    if options.real and not files:
        print(f"no demo on real frames: there are none in {_REAL.resolve()}")
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mpipool-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    repo = folder / "repo"
    code = 0 if options.real else _simulate(repo, options.visits, options.ccds)
    if not code:
        code = _drive(repo, files or sorted((repo / "raw").glob("*.fits")))
    print(f"\nThe demo took {time.monotonic() - began:.1f} s.")
    if code == 0:
        _show(folder, options.real)
    return code


def _real_files() -> list[Path]:
    return sorted(path for pattern in _PATTERNS for path in _REAL.glob(pattern))


def _simulate(repo: Path, visits: int, ccds: int) -> int:
    size = ["--visits", str(visits), "--ccds", str(ccds), "--bands", "g,r,i"]
    return _call([_command("makeSurvey"), str(repo), *size, "--cores", str(_RANKS)])


def _drive(repo: Path, files: Sequence[Path]) -> int:
    """Ingest the files and process them, each by the command a user would type."""
    listed = repo.parent / "files.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in files))
    process = [_command("singleFrameDriver"), str(repo), "--rerun", RERUN]
    # --cores starts just this mpiexec, and tells Open MPI to run as root if need be.
    return _call([_command("ingestDriver"), str(repo), f"@{listed}"]) or _call(
        [*process, "--cores", str(_RANKS)], [_command("mpiexec"), "-n", str(_RANKS), *process]
    )


def _call(command: Sequence[str], shown: Sequence[str] = ()) -> int:
    words = [Path(word).name if word == _command(Path(word).name) else word
             for word in shown or command]  # fmt: skip
    print(f"\n$ {shlex.join(words)}", flush=True)
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    print(f"({time.monotonic() - began:.1f} s, exit code {code})", flush=True)
    return code


def _command(name: str) -> str:
    """Return the program of this environment, or the one on the PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else (shutil.which(name) or name)


def _show(folder: Path, real: bool) -> None:
    repo = folder / "repo"
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT * FROM calexp WHERE rerun = ? ORDER BY visit, ccd", (RERUN,)
        ).fetchall()
    if real:
        _show_measured(rows)
    else:
        _compare(folder, rows)
    print(f"\nImages, catalogues and the run's records: {repo / 'rerun' / RERUN}")
    print(f"The registry: {repo / 'registry.sqlite'} (tables raw and calexp)")


def _show_measured(rows: Sequence[sqlite3.Row]) -> None:
    print('\nvisit   ccd filter     size     sky   noise  seeing["]  sources')
    for row in rows:
        seeing = f"{row['seeing']:9.2f}" if row["seeing"] is not None else "        –"
        print(
            f"{row['visit']:<7} {row['ccd']:>3} {row['filter']:<6} "
            f"{row['width']:>4}x{row['height']:<4} {_number(row['sky_level'])} "
            f"{_number(row['sky_noise'])}  {seeing}  {row['n_sources']:>7}"
        )


def _number(value: float | None) -> str:
    return "      –" if value is None else f"{value:7.1f}"


def _compare(folder: Path, rows: Sequence[sqlite3.Row]) -> None:
    """Print how what was measured compares with what was simulated, visit by visit."""
    truth = folder / "repo" / "truth"
    stars = np.array(fits.getdata(truth / "sources.fits", "STARS"))
    ccds = np.array(fits.getdata(truth / "ccds.fits", "CCDS"))
    print('\nvisit filter  seeing["]   true  bright stars found  measured/true flux')
    for visit in np.unique(ccds["visit"]):
        true = {int(ccd["ccd"]): ccd for ccd in ccds[ccds["visit"] == visit]}
        chosen = [row for row in rows if row["visit"] == visit]
        matches = [match_bright(folder / "repo", row, stars, true[row["ccd"]]) for row in chosen]
        found, there = sum(len(ratios) for ratios, _ in matches), sum(n for _, n in matches)
        seeing = _median([row["seeing"] for row in chosen if row["seeing"] is not None])
        flux = _median([ratio for ratios, _ in matches for ratio in ratios])
        print(
            f"{visit:>5} {true[0]['filter'].decode():<6} {seeing:>9} "
            f"{np.median([ccd['seeing'] for ccd in true.values()]):6.3f}"
            f"  {found:>11} of {there:<4} {flux:>17}"
        )


def _median(values: Sequence[float]) -> str:
    return f"{np.median(values):.3f}" if len(values) else "–"


def match_bright(
    repo: Path, row: sqlite3.Row, stars: NDArray[Any], ccd: Any
) -> tuple[NDArray[np.float64], int]:
    """Match a catalogue with the bright true stars that lie well inside of the CCD.

    Parameters
    ----------
    repo : Path
        The repository.
    row : sqlite3.Row
        The CCD's row of table `calexp`.
    stars : structured array
        The truth.
    ccd
        The CCD's row of the truth.

    Returns
    -------
    ratios : array of float64, shape (found,)
        Measured over true flux in the largest aperture.
    there : int
        How many bright stars there are.
    """
    with fits.open(repo / row["catalog"]) as units:
        sources, radius = np.array(units["SOURCES"].data), units["SOURCES"].header["APRAD4"]
    flux = 10 ** (0.4 * (ccd["zero_point_flat"] - stars[f"mag_{row['filter']}"]))
    well_lit = (flux > _BRIGHT) & (flux < _TOO_BRIGHT)
    bright = np.flatnonzero(well_lit & _well_inside(row, stars))
    ratios = []
    for star in bright:
        offset = np.hypot(
            (sources["ra"] - stars["ra"][star]) * np.cos(np.radians(stars["dec"][star])),
            sources["dec"] - stars["dec"][star],
        )
        if len(offset) and offset.min() < _NEAR / 3600:
            measured = float(sources["flux"][offset.argmin(), 3])
            ratios.append(measured / (flux[star] * _enclosed(radius * SCALE / ccd["seeing"])))
    return np.array(ratios), len(bright)


def _enclosed(radius: float) -> float:
    """Return the part of a star's flux within a radius in units of the seeing."""
    return float(1 - WEIGHTS @ np.exp(-0.5 * (radius / SIGMAS) ** 2))


def _well_inside(row: sqlite3.Row, stars: NDArray[Any]) -> NDArray[np.bool_]:
    corners = np.array([[row[f"{axis}{index}"] for axis in ("ra", "dec")] for index in range(4)])
    low, high = corners.min(axis=0) + _MARGIN / 3600, corners.max(axis=0) - _MARGIN / 3600
    inside = (stars["ra"] > low[0]) & (stars["ra"] < high[0])
    return np.asarray(inside & (stars["dec"] > low[1]) & (stars["dec"] < high[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
