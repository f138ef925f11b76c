"""The zero points of all CCDs of a visit, together.

A polynomial over the focal plane (the air, and what differs between dome and sky) is shared by all
CCDs; what a CCD has beside that is believed as far as its stars show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.visit_solution.legendre import legendre_terms, term_orders
from drivers.visit_solution.shared_fit import Expected, Values, fit_shared

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_STARS_FOR = {0: 3, 1: 30, 2: 60, 3: 150, 4: 300, 5: 500}
"""Stars of the visit that a polynomial of this order takes."""

_GRADIENT, _OWN, _LEAST = 0.05, 0.03, 0.0003
"""Expected sizes at first, and the least [mag]."""


@dataclass(frozen=True, slots=True)
class StarMagnitudes:
    """What each star says.

    Attributes
    ----------
    zero_point, error : array of float64, shape (n,)
        Its magnitude [AB] plus 2.5 log10 of its flux, and the error [mag].
    ccd : array of int, shape (n,)
        Index of its CCD.
    u, v : array of float64, shape (n,)
        Its place in the focal plane, from -1 to 1.
    """

    zero_point: Floats
    error: Floats
    ccd: NDArray[np.intp]
    u: Floats
    v: Floats


@dataclass(frozen=True, slots=True)
class ZeroPoints:
    """The solution.

    Attributes
    ----------
    ccds : array of float64, shape (ccds,)
        Zero point in the middle of each CCD [mag].
    offsets : array of float64, shape (ccds,)
        What of it is the CCD's own [mag].
    used : array of bool, shape (n,)
        Stars which are no outliers.
    left : array of float64, shape (n,)
        What the stars say minus the solution [mag].
    """

    ccds: Floats
    offsets: Floats
    used: Flags
    left: Floats


def solve_zero_points(
    stars: StarMagnitudes, middles: tuple[Floats, Floats], *, order: int, clip: float
) -> ZeroPoints | None:
    """Return the zero points; None if fewer than three stars can be used.

    Parameters
    ----------
    stars : StarMagnitudes
        Of all CCDs.
    middles : (array, array), shape (ccds,)
        Where the CCDs' middles are in the focal plane, from -1 to 1.
    order : int
        Highest order of the polynomial.
    clip : float
        Standard deviations beyond which a star is not used.
    """
    count = len(stars.zero_point)
    order = max((n for n, least in _STARS_FOR.items() if n <= order and count >= least), default=-1)
    if order < 0:
        return None
    typical = float(np.median(stars.zero_point))
    values = Values(
        value=stars.zero_point - typical,
        error=stars.error,
        group=stars.ccd,
        shared=legendre_terms(stars.u, stars.v, order),
        own=np.ones((count, 1)),
    )
    groups = len(middles[0])
    expected = Expected(term_orders(order), _GRADIENT, np.array([_OWN]), _LEAST)
    fit = fit_shared(values, groups, expected, clip)
    offsets = np.asarray(fit.own[:, 0])
    ccds = typical + legendre_terms(*middles, order) @ fit.shared + offsets
    return ZeroPoints(ccds, offsets, fit.used, fit.left)
