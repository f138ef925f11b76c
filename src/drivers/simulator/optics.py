"""From the sky to the pixels and back: the telescope's distortion, the visit's own, the detectors.

Standard coordinates (a tangent plane about the true pointing) are turned by the camera's rotation
and stretched along the radius; then the visit's own distortion is added. Lengths in the focal
plane are in pixels. What a raw frame's header says knows nothing of all that: it is a tangent
plane about where the telescope believed to point, with the detectors where the drawings have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from drivers.simulator.focal_plane import Detector, field_radius, to_detector, to_focal_plane
from drivers.simulator.sky_places import basis, offset, project
from drivers.simulator.survey import PIXEL_SCALE, Floats, Survey
from drivers.simulator.visits import Visit

DISTORTION = 0.005
"""How much farther than it should be the rim of the field is from the middle, as a part."""

SIP_ORDER = 4
_STEP = 32
"""Pixels between the places at which smooth functions are evaluated."""


def sky_to_pixel(
    survey: Survey, visit: Visit, detector: Detector, vectors: Floats
) -> tuple[Floats, Floats]:
    """Return where unit vectors to the sky (shape (n, 3)) are in the detector's pixels."""
    xi, eta = project(visit.ra, visit.dec, vectors)
    u, v = _turned(visit.angle, xi / PIXEL_SCALE, eta / PIXEL_SCALE)
    du, dv = _distortion(survey, visit, u, v)
    return to_detector(survey, detector, u + du, v + dv)


def pixel_to_sky(
    survey: Survey, visit: Visit, detector: Detector, x: Floats, y: Floats
) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of pixels: `sky_to_pixel` backwards."""
    u, v = _undistorted(survey, visit, *to_focal_plane(survey, detector, x, y))
    xi, eta = _turned(visit.angle, u, v)
    return offset(visit.ra, visit.dec, xi * PIXEL_SCALE, eta * PIXEL_SCALE)


def _turned(angle: float, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return standard coordinates for the focal plane's, or these for those: it is a reflection."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    with np.errstate(invalid="ignore"):  # what is infinitely far
        return -cosine * u + sine * v, sine * u + cosine * v


def _distortion(survey: Survey, visit: Visit, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return by how much the distortion moves places in the focal plane [px]."""
    radius = field_radius(survey)
    # Nothing of interest is farther out, where the polynomials would turn back.
    u, v = np.clip(u, -2 * radius, 2 * radius), np.clip(v, -2 * radius, 2 * radius)
    a, b = u / radius, v / radius
    stretch = _coefficient(survey) * (a**2 + b**2)
    terms = np.stack((a * a, a * b, b * b, a**3, a * a * b, a * b * b, b**3))
    warp = np.array(visit.warp).reshape(2, -1)
    return (
        stretch * u + np.tensordot(warp[0], terms, 1),
        stretch * v + np.tensordot(warp[1], terms, 1),
    )


def _coefficient(survey: Survey) -> float:
    return DISTORTION * survey.has("distortion")


def _undistorted(survey: Survey, visit: Visit, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    u0, v0 = u, v
    for _ in range(10):  # each is at least thirty times better than the one before
        du, dv = _distortion(survey, visit, u0, v0)
        u0, v0 = u - du, v - dv
    return u0, v0


def pixel_area(survey: Survey, u: Floats, v: Floats) -> Floats:
    """Return the solid angle of pixels at places in the focal plane, relative to the middle's."""
    radius, d = field_radius(survey), _coefficient(survey)
    seen = np.hypot(u, v) / radius
    r = seen / (1 + d * seen**2)
    return np.asarray(1 / ((1 + d * r**2) * (1 + 3 * d * r**2)))


def smooth_image(
    survey: Survey, detector: Detector, function: Callable[[Floats, Floats], Floats]
) -> Any:
    """Return a smooth function of the focal plane (over the field's radius) at all pixels.

    Returns
    -------
    array of float32, shape (rows, columns)
    """
    radius = field_radius(survey)
    x, along_x = _interpolation(survey.width)
    y, along_y = _interpolation(survey.height)
    u, v = to_focal_plane(survey, detector, *np.meshgrid(x, y))
    coarse = np.asarray(function(u / radius, v / radius), dtype=np.float32)
    return (along_y @ coarse) @ along_x.T


def _interpolation(size: int) -> tuple[Floats, Any]:
    """Return nodes over an axis, and the matrix which interpolates between them linearly."""
    nodes = np.linspace(0, size - 1, max(2, size // _STEP + 1))
    place = np.arange(size) / (size - 1) * (len(nodes) - 1)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(len(nodes))))
    return nodes, weights.astype(np.float32)


def true_wcs(survey: Survey, visit: Visit, detector: Detector) -> dict[str, Any]:
    """Return the cards (TAN-SIP) of where the detector's pixels really are."""
    x0, y0 = (survey.width - 1) / 2, (survey.height - 1) / 2
    middle = pixel_to_sky(survey, visit, detector, np.array([x0]), np.array([y0]))
    crval = (float(middle[0][0]), float(middle[1][0]))
    grid = np.meshgrid(np.linspace(-x0, x0, 15), np.linspace(-y0, y0, 15))
    x, y = grid[0].ravel(), grid[1].ravel()
    out = basis(*pixel_to_sky(survey, visit, detector, x + x0, y + y0))[0]
    wanted = np.stack(project(*crval, out), -1) / 3600
    powers = _powers(SIP_ORDER)
    scale = max(x0, y0)
    design = np.stack([(x / scale) ** p * (y / scale) ** q for p, q in powers], -1)
    fitted = np.linalg.lstsq(design, wanted, rcond=None)[0]
    fitted /= np.array([scale ** (p + q) for p, q in powers])[:, None]
    return _sip_cards(crval, (x0 + 1, y0 + 1), powers, fitted)


def _powers(order: int) -> list[tuple[int, int]]:
    return [(p, n - p) for n in range(1, order + 1) for p in range(n, -1, -1)]


def _sip_cards(
    crval: tuple[float, float],
    crpix: tuple[float, float],
    powers: list[tuple[int, int]],
    fitted: Any,
) -> dict[str, Any]:
    cd = fitted[:2].T  # powers begin with x and y
    sip = np.linalg.solve(cd, fitted.T)
    cards = _linear_cards("-SIP", crval, crpix, cd) | {"A_ORDER": SIP_ORDER, "B_ORDER": SIP_ORDER}
    for (p, q), a, b in zip(powers[2:], sip[0][2:], sip[1][2:], strict=True):
        cards |= {f"A_{p}_{q}": float(a), f"B_{p}_{q}": float(b)}
    return cards


def _linear_cards(kind: str, crval: Any, crpix: Any, cd: Floats) -> dict[str, Any]:
    return {
        "CTYPE1": f"RA---TAN{kind}", "CTYPE2": f"DEC--TAN{kind}", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRVAL1": float(crval[0]), "CRVAL2": float(crval[1]),
        "CRPIX1": float(crpix[0]), "CRPIX2": float(crpix[1]),
        "CD1_1": float(cd[0, 0]), "CD1_2": float(cd[0, 1]),
        "CD2_1": float(cd[1, 0]), "CD2_2": float(cd[1, 1]), "RADESYS": "ICRS",
    }  # fmt: skip


def header_wcs(survey: Survey, visit: Visit, detector: Detector) -> dict[str, Any]:
    """Return the cards (TAN) which a raw frame has: right but for some arcseconds."""
    angle, turn = np.radians(visit.said_angle), np.radians(detector.angle)
    reflect = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # Where the middle of the field is in the pixels of this detector.
    x, y = -(rotate.T @ np.array([detector.x, detector.y]))
    crpix = ((survey.width + 1) / 2 + float(x), (survey.height + 1) / 2 + float(y))
    cd = reflect @ rotate * PIXEL_SCALE / 3600
    return _linear_cards("", (visit.said_ra, visit.said_dec), crpix, cd)
