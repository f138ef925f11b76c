"""A camera made of numbers: what its CCDs would find of the stars of a small field.

Positions and fluxes are drawn from a model, so that solutions can be compared with what is true; no
pixel is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.tangent_plane import deproject, project
from drivers.results import STAR, CcdResult, SkyMesh, Solution, Table
from drivers.sky_position import make_wcs, sky_positions

Floats = NDArray[np.float64]

SCALE = 0.17
ROWS, COLUMNS = 1024, 512
_GAP = 40
CENTRE = (359.99, 20.0)
"""The field lies across right ascension 0."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Its CCDs in a grid, not quite where the drawings have them, and its distortion."""

    across: int = 3
    along: int = 2
    misplaced: float = 1.0
    """Pixels."""
    distortion: float = 0.004
    """Part by which the rim of the field is too far out."""
    steps: float = 0.02
    """Magnitudes by which CCDs differ."""
    seed: int = 1

    @property
    def ccds(self) -> int:
        return self.across * self.along

    @property
    def reach(self) -> float:
        return float(np.hypot(self.across * COLUMNS, self.along * ROWS)) / 2

    def middle(self, ccd: int) -> Floats:
        place = np.array([ccd % self.across, ccd // self.across])
        aside = place - (np.array([self.across, self.along]) - 1) / 2
        return aside * (np.array([COLUMNS, ROWS]) + _GAP)

    def turn(self, ccd: int) -> float:
        """Those of the upper half are turned round [rad]."""
        return np.pi if self.middle(ccd)[1] > 0 else 0.0

    def errors(self, ccd: int) -> tuple[Floats, float, float]:
        """Return by how much a CCD is misplaced [px, rad], and its step [mag]."""
        random = np.random.default_rng([self.seed, ccd])
        return (
            random.normal(0, self.misplaced, 2),
            float(random.normal(0, 2e-4 * self.misplaced)),
            float(random.normal(0, self.steps)),
        )


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Where the camera looked, and what its header says of it."""

    visit: int
    camera: Camera = field(default_factory=Camera)
    offset: tuple[float, float] = (0.0, 0.0)
    """Of the pointing, from `CENTRE` [arcsec]."""
    angle: float = 0.0
    """Degrees."""
    wrong_by: tuple[float, float, float] = (3.0, -2.0, 0.03)
    """What the header says too much [arcsec, arcsec, deg]."""
    zero_point: float = 27.0
    slope: float = 0.0
    """Magnitudes that clouds take from the middle to the rim along the focal plane's u."""

    @property
    def pointing(self) -> tuple[float, float]:
        ra, dec = deproject(*(np.array([a / 3600]) for a in self.offset), CENTRE)
        return float(ra[0]), float(dec[0])

    def focal_plane(self, ra: Floats, dec: Floats) -> Floats:
        """Return where positions are in the focal plane [px], shape (n, 2)."""
        east, north = (3600 * axis / SCALE for axis in project(ra, dec, self.pointing))
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        u, v = -cosine * east + sine * north, sine * east + cosine * north
        stretch = self.camera.distortion * (u**2 + v**2) / self.camera.reach**2
        own = np.random.default_rng([7, self.visit]).normal(0, 0.1, 4)
        a, b = u / self.camera.reach, v / self.camera.reach
        return np.stack(
            [
                u * (1 + stretch) + own[0] * a * b + own[1] * b**2,
                v * (1 + stretch) + own[2] * a**2 + own[3] * a * b,
            ],
            axis=-1,
        )

    def pixels(self, ccd: int, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
        """Return the pixels of positions on a CCD."""
        shift, turned, _ = self.camera.errors(ccd)
        angle = self.camera.turn(ccd) + turned
        aside = self.focal_plane(ra, dec) - self.camera.middle(ccd) - shift
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places = aside @ rotation + (np.array([COLUMNS, ROWS]) - 1) / 2
        return places[:, 0], places[:, 1]

    def header(self, ccd: int) -> dict[str, Any]:
        """Return the cards which the frame comes with: without distortion, by the drawings."""
        east, north, turned = self.wrong_by
        ra, dec = deproject(np.array([east / 3600]), np.array([north / 3600]), self.pointing)
        angle, turn = np.radians(self.angle + turned), self.camera.turn(ccd)
        reflect = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        x, y = -(rotate.T @ self.camera.middle(ccd))
        cd = reflect @ rotate * SCALE / 3600
        return {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRVAL1": float(ra[0]), "CRVAL2": float(dec[0]),
            "CRPIX1": float(x) + (COLUMNS + 1) / 2, "CRPIX2": float(y) + (ROWS + 1) / 2,
            "CD1_1": float(cd[0, 0]), "CD1_2": float(cd[0, 1]),
            "CD2_1": float(cd[1, 0]), "CD2_2": float(cd[1, 1]), "RADESYS": "ICRS",
        }  # fmt: skip

    def true_zero_point(self, ccd: int) -> float:
        """Return the zero point in the middle of a CCD."""
        u = float(self.camera.middle(ccd)[0]) / self.camera.reach
        return self.zero_point + self.camera.errors(ccd)[2] + self.slope * u


def field_of_stars(count: int, reach: float, seed: int = 3) -> Table:
    """Return stars, uniform in a square about `CENTRE` with sides of twice `reach` [arcsec]."""
    random = np.random.default_rng(seed)
    east, north = random.uniform(-reach, reach, (2, count)) / 3600
    stars = np.zeros(count, [("ra", "f8"), ("dec", "f8"), ("mag", "f8")])
    stars["ra"], stars["dec"] = deproject(east, north, CENTRE)
    stars["mag"] = random.uniform(16, 21, count)
    return stars


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Errors of what is found: per axis [px], of magnitudes, and of the reference [mas, mag]."""

    position: float = 0.04
    magnitude: float = 0.01
    reference: float = 5.0
    reference_magnitude: float = 0.01
    outliers: float = 0.02
    """Part of the stars which are matched with a wrong one, or vary."""


def observe(
    exposure: Exposure, stars: Table, noise: Noise, *, known: Any = None, only: Any = None
) -> list[CcdResult]:
    """Return what the CCDs of an exposure find.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    stars : structured array
        Of `field_of_stars`.
    noise : Noise
        Errors.
    known : array of bool, optional
        Stars which the reference has; by default all.
    only : iterable of int, optional
        CCDs on which stars are found; by default all.
    """
    known = np.ones(len(stars), bool) if known is None else known
    reference = np.random.default_rng(11)
    # The same errors in all exposures: they are the reference's.
    aside = reference.normal(0, noise.reference / 3.6e6, (2, len(stars)))
    mag = stars["mag"] + reference.normal(0, noise.reference_magnitude, len(stars))
    table = np.zeros(len(stars), STAR)
    table["id"] = np.where(known, np.arange(len(stars)), -1)
    table["dec"] = stars["dec"] + aside[1]
    table["ra"] = (stars["ra"] + aside[0] / np.cos(np.radians(stars["dec"]))) % 360
    table["mag"], table["mag_err"] = np.where(known, mag, np.nan), noise.reference_magnitude
    table["matched"] = known
    numbers = range(exposure.camera.ccds)
    return [
        _found(exposure, ccd, stars, table, noise, only is None or ccd in only) for ccd in numbers
    ]


def _found(
    exposure: Exposure, ccd: int, stars: Table, table: Table, noise: Noise, lit: bool
) -> CcdResult:
    random = np.random.default_rng([exposure.visit, ccd])
    x, y = exposure.pixels(ccd, stars["ra"], stars["dec"])
    on = np.flatnonzero((x > 5) & (x < COLUMNS - 6) & (y > 5) & (y < ROWS - 6))
    on = on[: len(on) * lit]
    found, count = table[on].copy(), len(on)
    found["x"], found["y"] = np.stack([x, y])[:, on] + random.normal(0, noise.position, (2, count))
    found["position_err"] = noise.position
    u = exposure.focal_plane(stars["ra"][on], stars["dec"][on])[:, 0] / exposure.camera.reach
    middle = float(exposure.camera.middle(ccd)[0]) / exposure.camera.reach
    zero_point = exposure.true_zero_point(ccd) + exposure.slope * (u - middle)
    bad = random.uniform(size=count) < noise.outliers
    found["x"][bad] += random.uniform(2, 5, bad.sum())
    mag = stars["mag"][on] + random.normal(0, noise.magnitude, count) - 0.5 * bad
    found["flux"] = 10 ** (-0.4 * (mag - zero_point))
    found["flux_err"] = found["flux"] * noise.magnitude / 1.0857
    header = exposure.header(ccd)
    unmatched = ~found["matched"]
    seen = sky_positions(make_wcs(header), found["x"], found["y"])
    found["ra"][unmatched], found["dec"][unmatched] = (axis[unmatched] for axis in seen)
    row = {
        "visit": exposure.visit, "ccd": ccd, "filter": "r", "role": "science", "wcs": header,
        "wcs_source": "header", "height": ROWS, "width": COLUMNS, "pixel_scale": SCALE,
        "zero_point": exposure.true_zero_point(ccd) + 0.03 if lit else None, "seeing": 0.7,
    }  # fmt: skip
    empty = np.zeros((2, 2), np.float32)
    return CcdResult(row, found, None, SkyMesh(empty, empty, 512, (ROWS, COLUMNS)), header)


def off_sky(exposure: Exposure, solution: Solution, ccds: Any = None) -> Floats:
    """Return by how much a solution is wrong all over the CCDs [mas], shape (n, 2)."""
    grid = field_of_stars(1500, 1.2 * exposure.camera.reach * SCALE, seed=99)
    found = []
    for ccd in range(exposure.camera.ccds) if ccds is None else ccds:
        x, y = exposure.pixels(ccd, grid["ra"], grid["dec"])
        on = (x > -0.5) & (x < COLUMNS - 0.5) & (y > -0.5) & (y < ROWS - 0.5)
        wcs = make_wcs(solution.ccds[exposure.visit, ccd].wcs)
        ra, dec = sky_positions(wcs, x[on], y[on])
        east = ((ra - grid["ra"][on] + 180) % 360 - 180) * np.cos(np.radians(dec))
        found.append(np.stack([east, dec - grid["dec"][on]], axis=-1) * 3.6e6)
    return np.concatenate(found)


def off_zero_points(exposure: Exposure, solution: Solution) -> Floats:
    """Return by how much the zero points are wrong [mmag]."""
    numbers = [ccd for visit, ccd in solution.ccds if visit == exposure.visit]
    return 1000 * np.array(
        [
            solution.ccds[exposure.visit, ccd].zero_point - exposure.true_zero_point(ccd)
            for ccd in numbers
        ]
    )


def rms(values: Floats) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))
