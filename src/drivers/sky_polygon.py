"""Convex polygons on the sphere, whose edges are great circles, and vectors to the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d
from numpy.typing import NDArray

from drivers.frame_error import FrameError

Polygon = ConvexPolygon
Floats = NDArray[np.float64]


def unit_vectors(ra: Any, dec: Any) -> Floats:
    """Return the unit vectors to positions [deg], along a new last axis."""
    alpha, delta = np.radians(ra), np.radians(dec)
    flat = np.cos(delta)
    parts = (flat * np.cos(alpha), flat * np.sin(alpha), np.sin(delta))
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def radec(vectors: Floats) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def polygon(corners: Any, margin: float = 0.0) -> Polygon:
    """Return the convex polygon around corners.

    Parameters
    ----------
    corners : (array, array)
        Right ascensions and declinations [deg]. Their order does not matter.
    margin : float
        By how much it is to be larger, on all sides [arcsec].

    Raises
    ------
    FrameError
        If the corners enclose nothing.
    """
    vectors = unit_vectors(*np.asarray(corners, float))
    if margin:
        vectors = _grown(vectors, math.radians(margin / 3600))
    try:
        return ConvexPolygon([UnitVector3d(*vector) for vector in vectors.tolist()])
    except (ValueError, RuntimeError) as error:
        raise FrameError("the corners do not enclose a part of the sky") from error


def _grown(vectors: Floats, margin: float) -> Floats:
    """Add a square of this half side around each corner: the hull is larger by at least that."""
    east = np.stack([-vectors[:, 1], vectors[:, 0], np.zeros(len(vectors))], axis=-1)
    at_pole = np.hypot(vectors[:, 0], vectors[:, 1]) < 1e-12
    east[at_pole] = (1.0, 0.0, 0.0)
    east /= np.linalg.norm(east, axis=-1, keepdims=True)
    north = np.cross(vectors, east)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.concatenate([vectors + margin * (a * east + b * north) for a, b in signs])


def widened(region: Polygon, margin: float) -> Polygon:
    """Return a polygon which is larger by at least a margin [arcsec] on all sides."""
    if not margin:
        return region
    vertices = np.array([(v.x(), v.y(), v.z()) for v in region.getVertices()])
    return polygon(radec(vertices), margin)


def cap_box(ra: float, dec: float, radius: float) -> tuple[float, ...]:
    """Return a box [x, y, z: from, to] of vectors around a cap: its middle and radius [deg]."""
    chord = 2 * math.sin(math.radians(min(radius, 180)) / 2)
    middle = unit_vectors(ra, dec).tolist()
    return tuple(edge for value in middle for edge in (value - chord, value + chord))


def box_around(region: Polygon) -> tuple[float, ...]:
    """Return the smallest box [x, y, z: from, to] of vectors which holds a polygon.

    It holds the bulge of its edges too, which the corners' box would miss.
    """
    box = region.getBoundingBox3d()
    sides = (box.x(), box.y(), box.z())
    return tuple(edge for side in sides for edge in (side.getA(), side.getB()))


def circle_around(region: Polygon) -> tuple[Floats, float]:
    """Return the middle, a unit vector, and the radius [rad] of a circle around a polygon."""
    circle = region.getBoundingCircle()
    middle = circle.getCenter()
    vector = np.array([middle.x(), middle.y(), middle.z()])
    return vector, float(circle.getOpeningAngle().asRadians())


def position_of(ra: float, dec: float) -> UnitVector3d:
    """Return a position [deg] as polygons know it."""
    return UnitVector3d(LonLat.fromDegrees(ra, dec))


def paired(flat: Sequence[float]) -> Floats:
    """Return ``ra0, dec0, ra1, …`` as an array of right ascensions and one of declinations."""
    return np.asarray(flat, float).reshape(-1, 2).T
