"""Runs the drivers over a small survey, as a user would, and compares with the truth.

``python -m drivers.demo [FOLDER]`` simulates a survey; with ``--real`` the frames in
``../shared/data`` are processed instead.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from drivers.simulator.truth import wcs_cards
from drivers.sky_position import make_wcs, sky_positions

RERUN = "demo"
_RANKS = 4
_REAL = Path("../shared/data")
_PATTERNS = ("decam/case*/*_oo?_*.fits", "obs_test/raw_*.fits.gz")

EPOCH = 2016.0
"""Of the true places of stars [Julian year]."""

_NEAR = 0.5
"""Arcseconds from a true star within which a source is taken for it."""

_LEAST_SIGNAL = 50.0
"""Signal-to-noise ratio of the stars that are compared with the truth."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.demo", description=__doc__, allow_abbrev=False
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", nargs="?", type=Path, help="where to work; else a new folder")
    parser.add_argument("--real", action="store_true", help="process the frames in ../shared/data")
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--ccds", type=int, default=3)
    options = parser.parse_args(arguments)
    files = _real_files() if options.real else []
    if options.real and not files:
        print(f"no demo on real frames: there are none in {_REAL.resolve()}")
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mpipool-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    repo = folder / "repo"
    if options.real:
        code = _ingest(repo, files) or _process(repo, "singleFrameDriver")
    else:
        code = _simulate(repo, options.visits, options.ccds) or _drive(repo)
    print(f"\nThe demo took {time.monotonic() - began:.1f} s.")
    if code == 0:
        _show(folder, options.real)
    return code


def _real_files() -> list[Path]:
    return sorted(path for pattern in _PATTERNS for path in _REAL.glob(pattern))


def _simulate(repo: Path, visits: int, ccds: int) -> int:
    size = ["--visits", str(visits), "--ccds", str(ccds), "--bands", "g,r", "--stars", "150"]
    return _call([_command("makeSurvey"), str(repo), *size, "--cores", str(_RANKS)])


def _drive(repo: Path) -> int:
    """From raw frames to the catalogues, each step by the command a user would type."""
    files = sorted((repo / "raw").rglob("*.fits"))
    stars = ["--reference", str(repo / "reference.fits")]
    return (
        _ingest(repo, files, *stars)
        or _process(repo, "constructCalibsDriver", rerun="calibs")
        or _process(repo, "surveyDriver")
    )


def _ingest(repo: Path, files: Sequence[Path], *more: str) -> int:
    listed = repo.parent / "files.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in files))
    return _call([_command("ingestDriver"), str(repo), f"@{listed}", *more])


def _process(repo: Path, driver: str, *, rerun: str = RERUN) -> int:
    process = [_command(driver), str(repo), "--rerun", rerun]
    # --cores starts just this mpiexec, and tells Open MPI to run as root if need be.
    return _call(
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
        _compare(repo, rows)
    print(f"\nImages, catalogues and the run's records: {repo / 'rerun' / RERUN}")
    print(f"The registry: {repo / 'registry.sqlite'} (tables raw, calexp, visit, coadd)")


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


def _compare(repo: Path, rows: Sequence[sqlite3.Row]) -> None:
    """Print how what was measured compares with what was simulated."""
    truth = repo / "truth"
    ccds = {(int(row["visit"]), int(row["ccd"])): row for row in _table(truth / "ccds.fits")}
    _compare_visits(rows, ccds)
    dates = {row["visit"]: row["mjd"] for row in _table(truth / "visits.fits")}
    stars = moved(_table(truth / "sources.fits"), float(np.mean(list(dates.values()))))
    print("\nStars on the coadds, measured - true:")
    print("filter  stars  flux [mmag]  scatter  position [mas per axis]")
    for band in sorted({row["filter"] for row in rows}):
        flux, apart = match_stars(repo / "rerun" / RERUN, band, stars)
        print(
            f"{band:<6} {len(flux):>6} {_median(flux):>12} {_spread(flux):>8}"
            f" {_spread(apart.ravel()):>24}"
        )


def _compare_visits(rows: Sequence[sqlite3.Row], ccds: Mapping[tuple[int, int], Any]) -> None:
    print("\nSingle frames, medians over the CCDs:")
    print(
        'visit filter  seeing ["]   true  zero point - true [mmag]  astrometry off [mas per axis]'
    )
    steps = flat_steps(rows, ccds)
    for visit in sorted({row["visit"] for row in rows}):
        chosen = [row for row in rows if row["visit"] == visit]
        band, true = chosen[0]["filter"], [ccds[visit, row["ccd"]] for row in chosen]
        seeing = [row["seeing"] for row in chosen if row["seeing"] is not None]
        zero = [
            1000 * (row["zero_point"] - there["zero_point"] - steps[band])
            for row, there in zip(chosen, true, strict=True)
            if row["zero_point"] is not None
        ]
        off = [astrometry_off(row, there) for row, there in zip(chosen, true, strict=True)]
        print(
            f"{visit:>5} {band:<6} {_median(seeing, 3):>11} "
            f"{np.median([there['seeing'] for there in true]):>6.3f} {_median(zero):>25} "
            f"{_median(off):>30}"
        )


def flat_steps(
    rows: Sequence[sqlite3.Row], ccds: Mapping[tuple[int, int], Any]
) -> dict[str, float]:
    """Return by filter what the scale of its flats is [mag]: it is arbitrary, and in all frames."""
    steps: dict[str, list[float]] = {}
    for row in rows:
        if row["zero_point"] is not None:
            true = ccds[row["visit"], row["ccd"]]["zero_point"]
            steps.setdefault(row["filter"], []).append(row["zero_point"] - true)
    return {band: float(np.median(found)) for band, found in steps.items()}


def astrometry_off(row: Any, true: Any) -> float:
    """Return how far a CCD's coordinates are from the true ones: rms of both axes [mas]."""
    x, y = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(0, row["width"] - 1, 9), np.linspace(0, row["height"] - 1, 9)
        )
    )
    ra, dec = sky_positions(make_wcs(json.loads(row["wcs"])), x, y)
    true_ra, true_dec = sky_positions(make_wcs(wcs_cards(true)), x, y)
    east = (ra - true_ra) * np.cos(np.radians(true_dec))
    return float(np.sqrt(np.mean([east**2, (dec - true_dec) ** 2])) * 3.6e6)


def moved(stars: NDArray[Any], mjd: float) -> NDArray[Any]:
    """Return the true stars where they are at a date."""
    years = 2000 + (mjd - 51544.5) / 365.25 - EPOCH
    there = stars.copy()
    there["dec"] += stars["pm_dec"] * years / 3.6e6
    there["ra"] += stars["pm_ra"] * years / 3.6e6 / np.cos(np.radians(stars["dec"]))
    return there


def match_stars(
    rerun: Path, band: str, stars: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Match the catalogues of a filter's coadds with the true stars, as far as they are bright.

    Parameters
    ----------
    rerun : Path
        Its folder.
    band : str
        The filter.
    stars : structured array
        The truth, at the date of the survey.

    Returns
    -------
    flux : array of float64, shape (n,)
        Measured minus true [mmag].
    apart : array of float64, shape (2, n)
        Measured minus true, east and north [mas].
    """
    flux, apart = [np.zeros(0)], [np.zeros((2, 0))]
    for path in sorted(rerun.glob(f"coadd/*/*/forced-*-{band}.fits")):
        tract_patch = path.name.removeprefix("forced-").removesuffix(f"-{band}.fits")
        primary = _table(path.with_name(f"ref-{tract_patch}.fits"))["primary"]
        found = _table(path)
        good = primary & ~(found["flag_saturated"] | found["flag_edge"] | found["flag_psf"])
        good &= found["psf_flux"] > _LEAST_SIGNAL * found["psf_flux_err"]
        found = found[good & (found["n_peaks"] == 1)]
        if not len(found):
            continue
        east = (found["ra"][:, None] - stars["ra"]) * np.cos(np.radians(stars["dec"]))
        north = found["dec"][:, None] - stars["dec"]
        nearest = np.hypot(east, north).argmin(axis=1)
        own = np.arange(len(found)), nearest
        near = np.hypot(east[own], north[own]) < _NEAR / 3600
        mag = 31.4 - 2.5 * np.log10(found["psf_flux"]) - stars[f"mag_{band}"][nearest]
        flux.append(1000 * mag[near])
        apart.append(3.6e6 * np.array([east[own], north[own]])[:, near])
    return np.concatenate(flux), np.concatenate(apart, axis=1)


def _table(path: Path) -> NDArray[Any]:
    # By way of astropy's table: a plain array has the letters T and F where columns are logical.
    return np.asarray(Table(fits.getdata(path, 1)).as_array())


def _median(values: Any, digits: int = 1) -> str:
    return f"{np.median(values):.{digits}f}" if len(values) else "–"


def _spread(values: NDArray[np.float64]) -> str:
    """Return the standard deviation, by the median of what is off the median."""
    if not len(values):
        return "–"
    return f"{1.4826 * np.median(np.abs(values - np.median(values))):.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
