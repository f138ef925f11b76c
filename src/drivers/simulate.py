"""Makes a small survey with a known truth: raw frames of a simulated camera, in pure NumPy.

``python -m drivers.simulate FOLDER --visits 4 --ccds 6`` writes ``FOLDER/sim-VVVV-CC.fits`` and,
in ``FOLDER/truth/``, the stars and what each visit was like. The same arguments give the same
files, byte for byte.

Each frame has two amplifiers with their own gain, bias level (which drifts along the columns) and
overscan, a sky with a gradient, stars with a Moffat profile, Poisson and read noise.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PIXEL_SCALE = 0.2
"""Arcseconds per pixel."""

BETA = 3.5
"""Exponent of the stars' Moffat profile."""

ZERO_POINT = 26.0
"""AB magnitude that gives one electron per second."""

FILTERS = ("g", "r", "i")
OVERSCAN = 16
"""Columns of overscan of each amplifier."""

_GAINS = (1.6, 1.9)
_BIAS = (1000.0, 1120.0)
_READ_NOISE = 6.0
_SATURATION = 60_000.0
_EXPTIME = 30.0
_GAP = 40
"""Pixels between neighbouring CCDs."""

_CENTRE = (150.0, 2.2)
_BRIGHT, _FAINT = 16.0, 23.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What to simulate.

    Attributes
    ----------
    visits, ccds : int
        Exposures, and detectors in each.
    height, width : int
        Size of a detector [px]; the width is even.
    stars : int
        Mean number of stars on a detector.
    seed : int
        Of all random numbers.
    """

    visits: int = 4
    ccds: int = 6
    height: int = 1024
    width: int = 512
    stars: int = 200
    seed: int = 1

    @property
    def columns(self) -> int:
        """Detectors in a row of the focal plane."""
        return int(np.ceil(np.sqrt(self.ccds * self.height / self.width)))

    @property
    def focal_plane(self) -> tuple[int, int]:
        """Width and height of the whole mosaic [px]."""
        rows = -(-self.ccds // self.columns)
        return self.columns * (self.width + _GAP), rows * (self.height + _GAP)


@dataclass(frozen=True, slots=True)
class Visit:
    """One exposure: what the sky and the telescope were like.

    Attributes
    ----------
    number, filter : int, str
        Its name and filter.
    seeing : float
        Full width at half maximum of its stars [arcsec].
    sky : float
        Sky in the middle of the field [electrons per pixel].
    ra, dec, angle : float
        Where the telescope pointed, and the rotation of the camera [deg].
    """

    number: int
    filter: str
    seeing: float
    sky: float
    ra: float
    dec: float
    angle: float


def make_visits(survey: Survey) -> list[Visit]:
    """Return the exposures of the survey, dithered by up to 20 arcseconds."""
    random = np.random.default_rng([survey.seed, 1])
    return [
        Visit(
            number=100 + index,
            filter=FILTERS[index % len(FILTERS)],
            seeing=float(random.uniform(0.65, 1.1)),
            sky=float(random.uniform(300, 1200)),
            ra=_CENTRE[0] + float(random.uniform(-20, 20)) / 3600,
            dec=_CENTRE[1] + float(random.uniform(-20, 20)) / 3600,
            angle=float(random.uniform(-2, 2)),
        )
        for index in range(survey.visits)
    ]


def make_stars(survey: Survey) -> NDArray[Any]:
    """Return the truth catalogue.

    Returns
    -------
    structured array, shape (n,)
        ``id``, ``ra``, ``dec`` [deg] and ``mag_g``, ``mag_r``, ``mag_i`` [AB].
    """
    random = np.random.default_rng([survey.seed, 2])
    wide, high = (side + 600 for side in survey.focal_plane)
    count = round(survey.stars * wide * high / (survey.width * survey.height))
    stars = np.zeros(
        count, [("id", "i4"), ("ra", "f8"), ("dec", "f8"), *((f"mag_{f}", "f4") for f in FILTERS)]
    )
    stars["id"] = np.arange(1, count + 1)
    sky = _focal_plane_wcs(_CENTRE[0], _CENTRE[1], 0.0)
    x, y = random.uniform(-wide / 2, wide / 2, count), random.uniform(-high / 2, high / 2, count)
    stars["ra"], stars["dec"] = sky.wcs_pix2world(x, y, 0)
    # Numbers rise by 10**(0.25 mag), a little flatter than on the real sky, for more bright ones.
    part = random.uniform(0, 1, count)
    low, high_ = 10 ** (0.25 * _BRIGHT), 10 ** (0.25 * _FAINT)
    stars["mag_r"] = np.log10(low + part * (high_ - low)) / 0.25
    colour = random.normal(0.5, 0.3, count)
    stars["mag_g"], stars["mag_i"] = stars["mag_r"] + colour, stars["mag_r"] - 0.4 * colour
    return stars


def flux_of(magnitude: Any) -> Any:
    """Return the electrons of a star of this magnitude in one exposure."""
    return _EXPTIME * 10 ** (0.4 * (ZERO_POINT - np.asarray(magnitude, dtype=np.float64)))


def enclosed(radius: float, fwhm: float) -> float:
    """Return the part of a star's flux within a radius; both in the same unit."""
    return float(1 - (1 + (radius / _alpha(fwhm)) ** 2) ** (1 - BETA))


def _alpha(fwhm: float) -> float:
    return float(fwhm / (2 * np.sqrt(2 ** (1 / BETA) - 1)))


def _focal_plane_wcs(ra: float, dec: float, angle: float, x: float = 0.0, y: float = 0.0) -> WCS:
    """Return the coordinates of pixels whose origin is at `x`, `y` of the focal plane."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [1 - x, 1 - y]
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = PIXEL_SCALE / 3600 * np.array([[-cosine, sine], [sine, cosine]])
    return wcs


def ccd_wcs(survey: Survey, visit: Visit, ccd: int) -> WCS:
    """Return the coordinates of a detector's pixels."""
    row, column = divmod(ccd, survey.columns)
    wide, high = survey.focal_plane
    x = column * (survey.width + _GAP) - wide / 2
    y = row * (survey.height + _GAP) - high / 2
    return _focal_plane_wcs(visit.ra, visit.dec, visit.angle, x, y)


def true_image(survey: Survey, visit: Visit, ccd: int, stars: NDArray[Any]) -> Floats:
    """Return a detector's expected image, sky included [electrons], shape (rows, columns)."""
    y, x = np.mgrid[0.0 : survey.height, 0.0 : survey.width]
    image = visit.sky * (1 + 0.05 * (x / survey.width - 0.5) + 0.08 * (y / survey.height - 0.5))
    sx, sy = ccd_wcs(survey, visit, ccd).wcs_world2pix(stars["ra"], stars["dec"], 0)
    near = (np.abs(sx - survey.width / 2) < survey.width / 2 + 60) & (
        np.abs(sy - survey.height / 2) < survey.height / 2 + 60
    )
    alpha = _alpha(visit.seeing / PIXEL_SCALE)
    fluxes = flux_of(stars[f"mag_{visit.filter}"])
    for star in np.flatnonzero(near):
        _add_star(image, sx[star], sy[star], fluxes[star], alpha)
    return np.asarray(image)


def _add_star(image: Floats, x: float, y: float, flux: float, alpha: float) -> None:
    peak = flux * (BETA - 1) / (np.pi * alpha**2)
    # Up to where the profile falls to a twentieth of an electron, at most 60 pixels.
    half = int(min(60, alpha * np.sqrt((peak / 0.05) ** (1 / BETA)) + 2)) if peak > 0.05 else 2
    x0, x1 = max(0, round(x) - half), min(image.shape[1], round(x) + half + 1)
    y0, y1 = max(0, round(y) - half), min(image.shape[0], round(y) + half + 1)
    if x0 >= x1 or y0 >= y1:
        return
    squared = (np.arange(x0, x1) - x) ** 2 + ((np.arange(y0, y1) - y) ** 2)[:, np.newaxis]
    image[y0:y1, x0:x1] += peak * (1 + squared / alpha**2) ** -BETA


def read_out(survey: Survey, electrons: Floats, random: np.random.Generator) -> NDArray[np.uint16]:
    """Return the raw frame: Poisson noise, two amplifiers with overscan between them, counts."""
    noisy = random.poisson(electrons)
    half = survey.width // 2
    bias = [level + np.linspace(0, 6, survey.height)[:, np.newaxis] for level in _BIAS]
    parts = []
    for index, data in enumerate((noisy[:, :half], noisy[:, half:])):
        empty = np.zeros((survey.height, OVERSCAN))
        pixels = np.hstack([data, empty] if index == 0 else [empty, data])
        counts = (pixels + random.normal(0, _READ_NOISE, pixels.shape)) / _GAINS[index]
        parts.append(counts + bias[index])
    counts = np.rint(np.hstack(parts))
    return np.clip(counts, 0, _SATURATION + 2000).astype(np.uint16)


def raw_header(survey: Survey, visit: Visit, ccd: int) -> fits.Header:
    """Return the keywords of a raw frame.

    The reference pixel counts the pixels of the frame as it is read out, and is right for those of
    the first amplifier.
    """
    half, full, rows = survey.width // 2, survey.width, survey.height
    second = half + 2 * OVERSCAN
    header = ccd_wcs(survey, visit, ccd).to_header()
    header.update(
        INSTRUME="SimCam", VISIT=visit.number, CCD=ccd, FILTER=visit.filter, EXPTIME=_EXPTIME,
        OBJECT="simulated field", SATURATE=_SATURATION,
        GAIN1=_GAINS[0], GAIN2=_GAINS[1],
        DATASEC1=f"[1:{half},1:{rows}]",
        BIASSEC1=f"[{half + 1}:{half + OVERSCAN},1:{rows}]",
        DETSEC1=f"[1:{half},1:{rows}]",
        BIASSEC2=f"[{half + OVERSCAN + 1}:{second},1:{rows}]",
        DATASEC2=f"[{second + 1}:{second + half},1:{rows}]",
        DETSEC2=f"[{half + 1}:{full},1:{rows}]",
    )  # fmt: skip
    header["MJD-OBS"] = 60000.0 + visit.number / 1000
    return header


def write_survey(folder: Path, survey: Survey) -> list[Path]:
    """Write all frames and the truth, and return the frames' paths."""
    truth = folder / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    stars, visits = make_stars(survey), make_visits(survey)
    _write_truth(truth / "truth.fits", stars, visits)
    paths = []
    for visit in visits:
        for ccd in range(survey.ccds):
            random = np.random.default_rng([survey.seed, 3, visit.number, ccd])
            counts = read_out(survey, true_image(survey, visit, ccd, stars), random)
            paths.append(folder / f"sim-{visit.number:04d}-{ccd:02d}.fits")
            unit = fits.PrimaryHDU(counts, header=raw_header(survey, visit, ccd))
            unit.writeto(paths[-1], overwrite=True)
    return paths


def _write_truth(path: Path, stars: NDArray[Any], visits: Sequence[Visit]) -> None:
    kind = [("visit", "i4"), ("filter", "S2"), ("seeing", "f8"), ("sky", "f8")]
    rows = np.array([(v.number, v.filter, v.seeing, v.sky) for v in visits], dtype=kind)
    tables = [fits.BinTableHDU(stars, name="STARS"), fits.BinTableHDU(rows, name="VISITS")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path, overwrite=True)


def parse(arguments: Sequence[str]) -> tuple[Path, Survey]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.simulate", description=__doc__, allow_abbrev=False
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="where to write the frames")
    parser.add_argument("--visits", type=_positive, default=4)
    parser.add_argument("--ccds", type=_positive, default=6)
    parser.add_argument("--size", type=_size, default="512x1024", metavar="WIDTHxHEIGHT")
    parser.add_argument("--stars", type=_positive, default=200, help="per CCD")
    parser.add_argument("--seed", type=_positive, default=1)
    options = parser.parse_args(arguments)
    width, height = options.size
    return options.folder, Survey(
        visits=options.visits,
        ccds=options.ccds,
        height=height,
        width=width,
        stars=options.stars,
        seed=options.seed,
    )


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


def main(arguments: Sequence[str]) -> int:
    """Simulate the survey that the command line asks for."""
    folder, survey = parse(arguments)
    paths = write_survey(folder, survey)
    print(f"{len(paths)} frames of {survey.visits} visits x {survey.ccds} CCDs in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
