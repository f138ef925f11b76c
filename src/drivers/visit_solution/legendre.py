"""Polynomials in two variables which stay well conditioned at high orders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def legendre_terms(u: Floats, v: Floats, order: int) -> Floats:
    """Return products of Legendre polynomials of u and v, by total order; shape (n, terms).

    Parameters
    ----------
    u, v : array, shape (n,)
        From -1 to 1.
    order : int
        Highest sum of the two orders.
    """
    one, other = (np.polynomial.legendre.legvander(axis, order) for axis in (u, v))
    return np.stack([one[:, n - k] * other[:, k] for n, k in _powers(order)], axis=-1)


def term_orders(order: int) -> NDArray[np.intp]:
    """Return the total order of each of these terms."""
    return np.array([n for n, _ in _powers(order)], dtype=np.intp)


def _powers(order: int) -> list[tuple[int, int]]:
    return [(n, k) for n in range(order + 1) for k in range(n + 1)]
