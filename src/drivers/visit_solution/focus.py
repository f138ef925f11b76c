"""The width of stars over the focal plane, and how far that is out of focus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.visit_solution.legendre import legendre_terms, term_orders
from drivers.visit_solution.shared_fit import Expected, Values, fit_shared

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_CCDS_FOR = {0: 1, 1: 5, 2: 10, 3: 20, 4: 30}
"""CCDs that a polynomial of this order takes."""

_GRADIENT, _LEAST, _ERROR = 0.1, 0.001, 0.01
"""Expected slope and its least [arcsec]; scatter of a CCD's seeing [arcsec]."""


@dataclass(frozen=True, slots=True)
class Focus:
    """How wide stars are.

    Attributes
    ----------
    surface : array of float64, shape (ccds,)
        Full width at half maximum in the middle of each CCD as the science detectors' polynomial
        has it [arcsec].
    excess : array of float64, shape (ccds,)
        What was measured minus that [arcsec]; NaN where nothing was measured.
    defocus : float or None
        Height of the focus above the science detectors, in the unit of the heights of the focus
        detectors. None if that can't be told.
    """

    surface: Floats
    excess: Floats
    defocus: float | None


def solve_focus(
    seeing: Floats, places: tuple[Floats, Floats], heights: Floats, *, order: int, clip: float
) -> Focus | None:
    """Fit the seeing over the focal plane; None if it was measured nowhere.

    Parameters
    ----------
    seeing : array, shape (ccds,)
        Full width at half maximum [arcsec], NaN where unknown.
    places : (array, array), shape (ccds,)
        Middles of the CCDs in the focal plane, from -1 to 1.
    heights : array, shape (ccds,)
        Height of each detector above the focal plane: 0 of science detectors, NaN where unknown.
    order : int
        Highest order of the polynomial.
    clip : float
        Standard deviations beyond which a CCD is not used.
    """
    known = np.isfinite(seeing) & (heights == 0)
    count = int(known.sum())
    order = max((n for n, least in _CCDS_FOR.items() if n <= order and count >= least), default=-1)
    if order < 0:
        return None
    terms = legendre_terms(*places, order)
    typical = float(np.median(seeing[known]))
    values = Values(
        value=seeing[known] - typical,
        error=np.full(count, _ERROR),
        group=np.zeros(count, dtype=np.intp),
        shared=terms[known],
        own=np.zeros((count, 0)),
    )
    expected = Expected(term_orders(order), _GRADIENT, np.zeros(0), _LEAST)
    surface = typical + terms @ fit_shared(values, 1, expected, clip).shared
    return Focus(surface, seeing - surface, _defocus(seeing, surface, heights))


def _defocus(seeing: Floats, surface: Floats, heights: Floats) -> float | None:
    """Return the height of the focus above the science detectors.

    A detector at height h adds (c * (h - z))**2 to the square of the width, where z is the height
    of the focus: so above and below the science detectors that square changes by
    c**2 * (h**2 - 2 * h * z), from which c and z follow.
    """
    there = np.isfinite(seeing) & np.isfinite(heights) & (heights != 0)
    h = heights[there]
    if not ((h > 0).any() and (h < 0).any()):
        return None
    change = seeing[there] ** 2 - surface[there] ** 2
    (square, slope), *_ = np.linalg.lstsq(np.stack([h**2, h], -1), change, rcond=None)
    return float(-slope / (2 * square)) if square > 0 else None
