"""TAN-SIP cards of just the order that a smooth mapping takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.tan_sip import ToSky, tan_sip_cards
from drivers.astrometry.tangent_plane import deproject

Floats = NDArray[np.float64]

_ORDERS = (3, 4, 5, 6)
_ERROR = 0.2
"""By how much the cards may differ from the mapping anywhere [mas]."""

_GRID = 12


def precise_cards(to_sky: ToSky, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the cards of the lowest order which agrees with a mapping all over an image.

    Parameters
    ----------
    to_sky : function
        Takes columns and rows [px, counted from 0], returns right ascensions and declinations
        [deg].
    shape : (int, int)
        Rows and columns of the image [px].
    """
    rows, columns = shape
    across, along = np.linspace(-0.5, columns - 0.5, _GRID), np.linspace(-0.5, rows - 0.5, _GRID)
    x, y = (axis.ravel() for axis in np.meshgrid(across, along))
    true = to_sky(x, y)
    for order in _ORDERS:
        cards = tan_sip_cards(to_sky, shape, order)
        if _distance(tan_sip_positions(cards, x, y), true) <= _ERROR:
            break
    return cards


def tan_sip_positions(cards: Mapping[str, Any], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of pixels, counted from 0, by such cards.

    This is a thousand times quicker than to make a `WCS` of cards which serve once.
    """
    u, v = x - (cards["CRPIX1"] - 1), y - (cards["CRPIX2"] - 1)
    moved = [u + _polynomial(cards, "A", u, v), v + _polynomial(cards, "B", u, v)]
    east, north = (
        cards[f"CD{axis}_1"] * moved[0] + cards[f"CD{axis}_2"] * moved[1] for axis in (1, 2)
    )
    return deproject(east, north, (cards["CRVAL1"], cards["CRVAL2"]))


def _polynomial(cards: Mapping[str, Any], name: str, u: Floats, v: Floats) -> Floats:
    order = int(cards.get(f"{name}_ORDER", 0))
    coefficients = np.zeros((order + 1, order + 1))
    for i, k in np.ndindex(coefficients.shape):
        coefficients[i, k] = cards.get(f"{name}_{i}_{k}", 0.0)
    return np.asarray(np.polynomial.polynomial.polyval2d(u, v, coefficients))


def _distance(places: tuple[Floats, Floats], others: tuple[Floats, Floats]) -> float:
    """Return the largest distance of two lists of near positions [mas]."""
    east = ((places[0] - others[0] + 180) % 360 - 180) * np.cos(np.radians(others[1]))
    return float(np.hypot(east, places[1] - others[1]).max()) * 3_600_000
