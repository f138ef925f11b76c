"""A patch of sky with known stars and galaxies, and calibrated images of it as files."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.fits_product import image_unit, write_product
from drivers.results import CcdSolution, PatchArea, Psf, WarpInput
from drivers.sky_position import make_wcs, sky_positions

CENTRE = (150.0, 2.2)
BETA = 3.0
STAMP = 61


def tan_cards(ra, dec, shape, *, angle=0.0, scale=0.2, offset=(0.0, 0.0), sip=0.0):  # noqa: PLR0913
    """World coordinates whose reference pixel is an offset [px] off the middle of an image."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    step = scale / 3600
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec,
        "CRPIX1": (shape[1] + 1) / 2 + offset[0], "CRPIX2": (shape[0] + 1) / 2 + offset[1],
        "CD1_1": -step * cosine, "CD1_2": step * sine,
        "CD2_1": step * sine, "CD2_2": step * cosine,
    }  # fmt: skip
    if sip:
        cards |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2}
        cards |= {"A_2_0": sip, "A_0_2": sip, "A_1_1": sip, "B_2_0": sip, "B_0_2": -sip}
    return cards


def patch_area(shape=(400, 400), *, tract=9813, patch=(3, 4), margin=0, **more):
    """A patch in the middle of its tract, which is larger by its corner at (1000, 2000)."""
    cards = tan_cards(*CENTRE, shape, offset=(1000, 2000))
    inner = (1000 + margin, 2000 + margin, 1000 + shape[1] - margin, 2000 + shape[0] - margin)
    return PatchArea(tract, patch, cards, 1000, 2000, shape, inner, **more)


def moffat(fwhm, size=STAMP, dx=0.0, dy=0.0):
    """A star of flux 1 at an offset from the middle pixel."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    y, x = np.mgrid[:size, :size] - size // 2
    radius = (x - dx) ** 2 + (y - dy) ** 2
    return (BETA - 1) / (np.pi * alpha**2) * (1 + radius / alpha**2) ** -BETA


def star_psf(fwhm, shape, size=25):
    return Psf(moffat(fwhm, size)[None].astype(np.float32), shape)


@dataclass
class Sky:
    """Sources on the sky: arrays of position [deg] and flux [nJy]."""

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray


def random_stars(area, count, seed, *, mags=(18.0, 23.0), spacing=14.0, border=20):
    """Stars on a patch, no two of which are nearer than a spacing [px]."""
    rng = np.random.default_rng(seed)
    rows, columns = area.shape
    places = []
    while len(places) < count:
        place = rng.uniform((border, border), (columns - border, rows - border))
        if all(np.hypot(*(place - other)) > spacing for other in places):
            places.append(place)
    x, y = np.array(places).reshape(-1, 2).T
    ra, dec = sky_positions(make_wcs(area.patch_wcs), x, y)
    mags = rng.uniform(*mags, count)
    return Sky(ra, dec, 10 ** (0.4 * (31.4 - mags)))


@dataclass
class Frame:
    """A calibrated image of the sky.

    `noise` is the sky's standard deviation in a pixel [image units = electrons].
    """

    visit: int
    ccd: int = 0
    shape: tuple[int, int] = (500, 500)
    fwhm: float = 4.0
    zero_point: float = 31.0
    noise: float = 30.0
    angle: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    sip: float = 0.0
    seed: int = 0
    wcs: dict = field(init=False)

    def __post_init__(self):
        self.wcs = tan_cards(
            *CENTRE, self.shape, angle=self.angle, offset=self.offset, sip=self.sip
        )

    def draw(self, sky):
        """Image, mask and variance."""
        rng = np.random.default_rng((self.visit, self.ccd, self.seed))
        image = np.zeros(self.shape)
        scale = 10 ** (0.4 * (self.zero_point - 31.4))
        x, y = make_wcs(self.wcs).all_world2pix(sky.ra, sky.dec, 0)
        for one_x, one_y, flux in zip(x, y, sky.flux * scale, strict=True):
            add_star(image, one_x, one_y, flux, self.fwhm)
        variance = np.maximum(image, 0) + self.noise**2
        image += rng.normal(size=self.shape) * np.sqrt(variance)
        # The variance which a reduction knows is made from the noisy image.
        known = np.maximum(image, 0) + self.noise**2
        mask = np.zeros(self.shape, np.int32)
        return image.astype(np.float32), mask, known.astype(np.float32)


def add_star(image, x, y, flux, fwhm):
    half = STAMP // 2
    column, row = round(x), round(y)
    left, low = max(0, column - half), max(0, row - half)
    part = image[low : max(0, row + half + 1), left : max(0, column + half + 1)]
    if part.size:
        star = moffat(fwhm, dx=x - column, dy=y - row)
        down, across = low - row + half, left - column + half
        part += flux * star[down : down + part.shape[0], across : across + part.shape[1]]


def write_frame(root, frame, planes, *, psf=True, sky=None, cell=64):
    """Write a calibrated image below root; return what a warp needs to know of it."""
    image, mask, variance = planes
    name = f"calexp-{frame.visit}-{frame.ccd}.fits"
    units = [
        image_unit("IMAGE", image, frame.wcs, {}),
        image_unit("MASK", mask, frame.wcs, {}),
        image_unit("VARIANCE", variance, frame.wcs, {}),
    ]
    write_product(root / name, units, {})
    return WarpInput(
        frame.visit,
        frame.ccd,
        name,
        CcdSolution(frame.wcs, frame.zero_point),
        sky,
        cell,
        star_psf(frame.fwhm, frame.shape) if psf else None,
        frame.shape,
    )
