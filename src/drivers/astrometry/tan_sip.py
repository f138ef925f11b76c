"""Writes any smooth mapping of pixels to the sky as the FITS cards of a tangent plane with SIP.

The cards are fitted to a grid of points without noise, so the order need not be feared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.correction import terms
from drivers.astrometry.tangent_plane import deproject, project

Floats = NDArray[np.float64]
ToSky = Callable[[Floats, Floats], tuple[Floats, Floats]]

_GRID = 17
_ROUNDS = 3


def tan_sip_cards(to_sky: ToSky, shape: tuple[int, int], order: int) -> dict[str, Any]:
    """Return the cards.

    Parameters
    ----------
    to_sky : function
        Takes columns and rows [px, counted from 0], returns right ascensions and declinations
        [deg].
    shape : (int, int)
        Rows and columns of the image [px].
    order : int
        Of the polynomial; 1 for none.
    """
    rows, columns = shape
    middle = (columns - 1) / 2, (rows - 1) / 2
    half = np.maximum(np.array([columns, rows]) / 2, 1.0)
    u, v = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-1, 1, _GRID)]))
    u, v = u * half[0], v * half[1]
    ra, dec = to_sky(middle[0] + u, middle[1] + v)
    at = to_sky(np.array([middle[0]]), np.array([middle[1]]))
    centre = float(at[0][0]) % 360.0, float(at[1][0])
    for _ in range(_ROUNDS):
        found = _fit(u, v, half, project(ra, dec, centre), order)
        moved = deproject(found[:1, 0], found[:1, 1], centre)
        centre = float(moved[0][0]), float(moved[1][0])
    return _cards(found, (u, v), centre, middle, order)


def _fit(u: Floats, v: Floats, half: Floats, plane: tuple[Floats, Floats], order: int) -> Floats:
    """Return coefficients of powers of u and v [deg], shape (terms, 2)."""
    size = float(half.max())
    design = terms(np.stack([u, v], axis=-1) / size, order)
    found = np.linalg.lstsq(design, np.stack(plane, axis=-1), rcond=None)[0]
    powers = np.array([p + q for p, q in _powers(order)])
    return np.asarray(found / size ** powers[:, None])


def _powers(order: int) -> list[tuple[int, int]]:
    return [(total - k, k) for total in range(order + 1) for k in range(total + 1)]


def _cards(
    found: Floats,
    grid: tuple[Floats, Floats],
    centre: tuple[float, float],
    middle: tuple[float, float],
    order: int,
) -> dict[str, Any]:
    matrix = found[1:3].T
    kind = "-SIP" if order > 1 else ""
    cards: dict[str, Any] = {
        "WCSAXES": 2, "CTYPE1": f"RA---TAN{kind}", "CTYPE2": f"DEC--TAN{kind}",
        "CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS",
        "CRVAL1": centre[0], "CRVAL2": centre[1],
        "CRPIX1": middle[0] + 1, "CRPIX2": middle[1] + 1,
    }  # fmt: skip
    for i, k in np.ndindex(2, 2):
        cards[f"CD{i + 1}_{k + 1}"] = float(matrix[i, k])
    if order > 1:
        inverse = np.linalg.inv(matrix)
        forward = (inverse @ found.T).T
        forward[:3] = 0
        cards |= _polynomial("A", "B", forward, order)
        cards |= _polynomial("AP", "BP", _backward(grid, forward, order), order)
    return cards


def _backward(grid: tuple[Floats, Floats], forward: Floats, order: int) -> Floats:
    """Return the polynomial that takes the distortion back, fitted to the grid."""
    points = np.stack(grid, axis=-1)
    size = float(np.abs(points).max())
    distorted = points + terms(points, order) @ forward
    design = terms(distorted / size, order)
    found = np.linalg.lstsq(design, points - distorted, rcond=None)[0]
    powers = np.array([p + q for p, q in _powers(order)])
    return np.asarray(found / size ** powers[:, None])


def _polynomial(first: str, second: str, coefficients: Floats, order: int) -> dict[str, Any]:
    cards: dict[str, Any] = {f"{first}_ORDER": order, f"{second}_ORDER": order}
    for (p, q), (one, two) in zip(_powers(order), coefficients, strict=True):
        if one or two:
            cards |= {f"{first}_{p}_{q}": float(one), f"{second}_{p}_{q}": float(two)}
    return cards
