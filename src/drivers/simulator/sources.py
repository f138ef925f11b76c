"""The truth: stars and galaxies of the simulated sky, and asteroids on their ways."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from drivers.simulator.focal_plane import field_radius
from drivers.simulator.photometry import COLOUR, camera_magnitude
from drivers.simulator.sky_places import offset
from drivers.simulator.survey import BANDS, PIXEL_SCALE, Survey, Table
from drivers.simulator.visits import MJD0

EPOCH = 2016.0
"""Julian year for which positions are given."""

BRIGHT, FAINT = 14.0, 24.5
"""Reference magnitudes in r of the brightest and the faintest stars."""

_SLOPE = 0.2
"""The numbers of stars rise by ``10 ** (_SLOPE * magnitude)``."""

_GALAXY_BRIGHT, _GALAXY_FAINT, _GALAXY_SLOPE = 17.0, 24.5, 0.32
_MARGIN = 60.0
"""Arcseconds around all visits in which there are sources."""

_BLENDED = 0.08
"""The part of the sources which lie on top of another one."""

_MAGNITUDES = [(f"{system}_{band}", "f4") for system in ("mag", "ref") for band in BANDS]
_STAR = np.dtype(
    [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("pm_ra", "f8"), ("pm_dec", "f8"), *_MAGNITUDES]
)
_GALAXY = np.dtype(
    [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("half_light", "f4"), ("axis_ratio", "f4"),
     ("angle", "f4"), ("bulge", "f4"), *_MAGNITUDES]
)  # fmt: skip
_ASTEROID = np.dtype(
    [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("mjd", "f8"), ("rate_ra", "f8"),
     ("rate_dec", "f8"), *_MAGNITUDES]
)  # fmt: skip


@lru_cache(maxsize=4)
def stars(survey: Survey) -> Table:
    """Return the stars.

    Returns
    -------
    structured array, shape (n,)
        ``id``; ``ra``, ``dec`` [deg] at `EPOCH`; ``pm_ra`` (times cos(dec)), ``pm_dec`` [mas/yr];
        ``mag_g``, … [AB, in the camera's filters], ``ref_g``, … [AB, in the reference's].
    """
    random = survey.random("stars")
    table = np.zeros(_count(survey, survey.stars), _STAR)
    table["id"] = np.arange(1, len(table) + 1)
    magnitudes = _magnitudes(random, len(table), _SLOPE, BRIGHT, FAINT)
    # Dwarfs of the disc and the halo: two lumps of colour.
    red = random.uniform(size=len(table)) < 0.45
    colour = np.where(
        red, random.normal(1.25, 0.15, len(table)), random.normal(0.55, 0.2, len(table))
    )
    _give_magnitudes(random, table, magnitudes, colour)
    speed = 6.0 * 10 ** random.normal(0, 0.35, len(table)) * survey.has("proper_motion")
    way = random.uniform(0, 2 * np.pi, len(table))
    table["pm_ra"], table["pm_dec"] = speed * np.cos(way), speed * np.sin(way)
    _place(survey, random, table)
    return table


@lru_cache(maxsize=4)
def galaxies(survey: Survey) -> Table:
    """Return the galaxies.

    Returns
    -------
    structured array, shape (n,)
        As `stars`, without proper motion, and ``half_light`` [arcsec], the radius along the major
        axis which has half of the flux; ``axis_ratio``; ``angle`` [deg], of the major axis from
        north to east; ``bulge``, 1 for a de Vaucouleurs profile, 0 for an exponential one.
    """
    random = survey.random("galaxies")
    wanted = survey.galaxies if survey.has("galaxies") else 0
    table = np.zeros(_count(survey, wanted), _GALAXY)
    count = len(table)
    table["id"] = 1_000_000_000 + np.arange(1, count + 1)
    magnitudes = _magnitudes(random, count, _GALAXY_SLOPE, _GALAXY_BRIGHT, _GALAXY_FAINT)
    _give_magnitudes(random, table, magnitudes, random.normal(0.7, 0.25, count))
    size = 0.6 * 10 ** (-0.12 * (magnitudes - 22)) * 10 ** random.normal(0, 0.15, count)
    table["half_light"] = np.clip(size, 0.15, 4.0)
    table["axis_ratio"] = random.uniform(0.25, 1.0, count)
    table["angle"] = random.uniform(0, 180, count)
    table["bulge"] = random.uniform(size=count) < 0.3
    _place(survey, random, table)
    return table


@lru_cache(maxsize=4)
def asteroids(survey: Survey) -> Table:
    """Return the asteroids.

    Returns
    -------
    structured array, shape (n,)
        As `stars`, with the place at ``mjd`` and ``rate_ra`` (times cos(dec)), ``rate_dec``
        [arcsec/day] instead of proper motions.
    """
    random = survey.random("asteroids")
    count = _count(survey, 0.7) if survey.has("asteroids") else 0
    table = np.zeros(count, _ASTEROID)
    table["id"] = 2_000_000_000 + np.arange(1, count + 1)
    _give_magnitudes(random, table, random.uniform(17, 22, count), random.normal(0.6, 0.05, count))
    rate, way = random.uniform(600, 1300, count), random.uniform(0, 2 * np.pi, count)
    table["rate_ra"], table["rate_dec"] = rate * np.cos(way), rate * np.sin(way)
    table["mjd"] = MJD0 + 0.005 * survey.visits
    _place(survey, random, table)
    return table


def half_region(survey: Survey) -> tuple[float, float]:
    """Return half the width and height of the sky that has sources [arcsec]."""
    radius = field_radius(survey) * PIXEL_SCALE
    high = (1 + survey.dither) * radius + _MARGIN
    return high + 1.5 * radius * (survey.pointings - 1) / 2, high


def _count(survey: Survey, per_detector: float) -> int:
    wide, high = half_region(survey)
    ccd = survey.width * survey.height * PIXEL_SCALE**2
    return round(per_detector * 4 * wide * high / ccd)


def _magnitudes(
    random: np.random.Generator, count: int, slope: float, bright: float, faint: float
) -> Any:
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.log10(random.uniform(low, high, count)) / slope


def _give_magnitudes(random: np.random.Generator, table: Table, r: Any, colour: Any) -> None:
    for band in BANDS:
        scatter = random.normal(0, 0.02, len(table)) if COLOUR[band] else 0.0
        table[f"ref_{band}"] = r + COLOUR[band] * colour + scatter
    for band in BANDS:
        table[f"mag_{band}"] = camera_magnitude(band, table)


def _place(survey: Survey, random: np.random.Generator, table: Table) -> None:
    """Spread sources over the sky, some of them on top of others."""
    wide, high = half_region(survey)
    count = len(table)
    xi, eta = random.uniform(-wide, wide, count), random.uniform(-high, high, count)
    near = np.flatnonzero(random.uniform(size=count) < _BLENDED)
    if survey.has("blends") and count > 1:
        other = random.integers(0, count, len(near))
        distance, way = random.uniform(0.8, 2.5, len(near)), random.uniform(0, 2 * np.pi, len(near))
        xi[near], eta[near] = (
            xi[other] + distance * np.cos(way),
            eta[other] + distance * np.sin(way),
        )
    table["ra"], table["dec"] = offset(survey.ra, survey.dec, xi, eta)
