"""The point spread function: a mixture of Gaussians which varies over the field and with time.

Its profile is that of a Moffat function with exponent 3.5. What a pixel has is the function's value
at its middle: it is the function that images show, with the pixels' own size in it.
"""

from __future__ import annotations

import numpy as np

from drivers.simulator.focal_plane import Detector, field_radius, to_focal_plane
from drivers.simulator.survey import PIXEL_SCALE, Floats, Survey
from drivers.simulator.visits import Visit

WEIGHTS = np.array([0.13281, 0.48201, 0.32576, 0.05942])
SIGMAS = np.array([0.31107, 0.45636, 0.70510, 1.25006])
"""Standard deviations of the components, in units of the full width at half maximum."""

_BLUR = 3.0
"""Arcseconds of full width for each millimetre out of focus."""

_ASTIGMATISM = 0.03
_FWHM_TO_SIGMA = 1 / 2.3548


def covariances(survey: Survey, visit: Visit, detector: Detector, x: Floats, y: Floats) -> Floats:
    """Return the components' second moments xx, xy, yy [px**2] at pixels, shape (n, K, 3)."""
    a, b = _field_place(survey, detector, x, y)
    e1, e2 = _ellipticity(survey, visit, detector, a, b)
    turn = 2 * np.radians(detector.true_angle)  # of the focal plane's axes against the pixels'
    e1, e2 = e1 * np.cos(turn) + e2 * np.sin(turn), e2 * np.cos(turn) - e1 * np.sin(turn)
    core = (visit.seeing / PIXEL_SCALE * SIGMAS) ** 2
    blur = (_blur(visit, detector, a, b) / PIXEL_SCALE) ** 2
    size = core + blur[:, None]
    return np.stack(
        (size * (1 + e1)[:, None], size * e2[:, None], size * (1 - e1)[:, None]), axis=-1
    )


def widths(survey: Survey, visit: Visit, detector: Detector, x: Floats, y: Floats) -> Floats:
    """Return the full width at half maximum of (round) stars at pixels [arcsec]."""
    moments = covariances(survey, visit, detector, x, y)
    variances = (moments[..., 0] + moments[..., 2]) / 2
    peaks = WEIGHTS / variances
    low, high = np.zeros(len(peaks)), np.full(len(peaks), 50.0)
    for _ in range(40):
        radius = (low + high) / 2
        value = (peaks * np.exp(-(radius[:, None] ** 2) / (2 * variances))).sum(axis=1)
        above = value > peaks.sum(axis=1) / 2
        low, high = np.where(above, radius, low), np.where(above, high, radius)
    return np.asarray(2 * radius * PIXEL_SCALE)


def ellipticity(
    survey: Survey, visit: Visit, detector: Detector, x: Floats, y: Floats
) -> tuple[Floats, Floats]:
    """Return (xx - yy) / (xx + yy) and 2 xy / (xx + yy) of stars, along the focal plane's axes."""
    return _ellipticity(survey, visit, detector, *_field_place(survey, detector, x, y))


def defocus(survey: Survey, visit: Visit, detector: Detector, x: Floats, y: Floats) -> Floats:
    """Return how far pixels are from the focus [mm]."""
    return _defocus(visit, detector, *_field_place(survey, detector, x, y))


def _field_place(survey: Survey, detector: Detector, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    radius = field_radius(survey)
    u, v = to_focal_plane(survey, detector, np.asarray(x, float), np.asarray(y, float))
    return u / radius, v / radius


def _defocus(visit: Visit, detector: Detector, a: Floats, b: Floats) -> Floats:
    shape = visit.tilt_x * a + visit.tilt_y * b + visit.curvature * (a**2 + b**2)
    return np.asarray(visit.focus + shape + detector.height)


def _blur(visit: Visit, detector: Detector, a: Floats, b: Floats) -> Floats:
    """Return the standard deviation [arcsec] of what is out of focus."""
    return _BLUR * _FWHM_TO_SIGMA * np.abs(_defocus(visit, detector, a, b))


def _ellipticity(
    survey: Survey, visit: Visit, detector: Detector, a: Floats, b: Floats
) -> tuple[Floats, Floats]:
    usual = _ASTIGMATISM * survey.has("psf_variation")
    strength = usual * (1 + _defocus(visit, detector, a, b) / 0.15)
    return visit.e1 + strength * (a**2 - b**2), visit.e2 + strength * 2 * a * b
