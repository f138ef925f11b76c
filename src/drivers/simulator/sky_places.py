"""Places on the sky: tangent planes, offsets and proper motions, right also at the poles."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.simulator.survey import Floats

ARCSEC = np.pi / 180 / 3600


def basis(ra: Any, dec: Any) -> tuple[Floats, Floats, Floats]:
    """Return the unit vectors outwards, to the east and to the north, shape (…, 3)."""
    alpha, delta = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    zero = np.zeros_like(alpha)
    out = (np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta))
    north = (-np.sin(delta) * np.cos(alpha), -np.sin(delta) * np.sin(alpha), np.cos(delta))
    return (
        np.stack(out, -1),
        np.stack((-np.sin(alpha), np.cos(alpha), zero), -1),
        np.stack(north, -1),
    )


def angles(vectors: Floats) -> tuple[Floats, Floats]:
    """Return right ascension (0 to 360) and declination [deg] of vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def project(ra0: float, dec0: float, vectors: Floats) -> tuple[Floats, Floats]:
    """Return the standard coordinates of unit vectors about a place [arcsec]: xi east, eta north.

    What is more than 60 degrees away is infinitely far.
    """
    out, east, north = basis(ra0, dec0)
    depth = vectors @ out
    depth = np.where(depth > 0.5, depth, np.nan)
    scale = 1 / (depth * ARCSEC)
    return (
        np.nan_to_num((vectors @ east) * scale, nan=np.inf),
        np.nan_to_num((vectors @ north) * scale, nan=np.inf),
    )


def offset(ra0: float, dec0: float, xi: Any, eta: Any) -> tuple[Floats, Floats]:
    """Return the place with these standard coordinates [arcsec] about another one [deg]."""
    out, east, north = basis(ra0, dec0)
    xi, eta = np.asarray(xi, float)[..., None], np.asarray(eta, float)[..., None]
    return angles(out + (xi * east + eta * north) * ARCSEC)


def moved(
    ra: Floats, dec: Floats, pm_ra: Floats, pm_dec: Floats, years: float
) -> tuple[Floats, Floats]:
    """Return where stars are after some years; proper motions [mas/yr] (pm_ra times cos(dec))."""
    return angles(moved_vectors(ra, dec, pm_ra, pm_dec, years))


def moved_vectors(ra: Floats, dec: Floats, pm_ra: Any, pm_dec: Any, years: float) -> Floats:
    """Return unit vectors to where stars are after some years (see `moved`)."""
    out, east, north = basis(ra, dec)
    step = years * ARCSEC / 1000
    vectors = out + (
        np.asarray(pm_ra)[..., None] * east + np.asarray(pm_dec)[..., None] * north
    ) * step  # fmt: skip
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def shifted(ra: Floats, dec: Floats, xi: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Return places moved by some arcseconds to the east and to the north, each by its own."""
    return moved(ra, dec, xi * 1000, eta * 1000, 1.0)
