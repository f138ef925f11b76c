"""The plane that touches the sky in a point: where small fields are flat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def project(ra: Floats, dec: Floats, centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the standard coordinates of positions, east and north [deg]; NaN behind the plane.

    Parameters
    ----------
    ra, dec : array
        Positions [deg].
    centre : (float, float)
        Where the plane touches the sky [deg].
    """
    alpha, delta = np.radians(ra) - np.radians(centre[0]), np.radians(dec)
    sine, cosine = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    height = sine * np.sin(delta) + cosine * np.cos(delta) * np.cos(alpha)
    height = np.where(height > 0.01, height, np.nan)
    east = np.cos(delta) * np.sin(alpha) / height
    north = (cosine * np.sin(delta) - sine * np.cos(delta) * np.cos(alpha)) / height
    return np.degrees(east), np.degrees(north)


def deproject(east: Floats, north: Floats, centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return right ascension (from 0 to 360) and declination [deg] of standard coordinates."""
    xi, eta = np.radians(east), np.radians(north)
    sine, cosine = np.sin(np.radians(centre[1])), np.cos(np.radians(centre[1]))
    along = cosine - eta * sine
    ra = np.degrees(np.arctan2(xi, along)) + centre[0]
    dec = np.degrees(np.arctan2(sine + eta * cosine, np.hypot(xi, along)))
    return ra % 360.0, dec
