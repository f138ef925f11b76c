"""What has to be added to the position that a header gives: a similarity, and a polynomial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.similarity import Points, Similarity, as_complex, fit_similarity

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MATCHES_FOR = {1: 6, 2: 15, 3: 30, 4: 120}
"""Matches that a polynomial of this order takes: with fewer its corners go astray."""

_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Correction:
    """Leads from where the header sees a point to where it is, both on one plane.

    Attributes
    ----------
    similarity : Similarity
        Comes first.
    coefficients : array of complex, shape (terms,)
        Of the polynomial in what it gives, divided by `size`; empty if there is none.
    order : int
        Of the polynomial; 0 if there is none.
    size : float
        Unit of the polynomial's variables.
    """

    similarity: Similarity
    coefficients: NDArray[np.complex128]
    order: int
    size: float

    def apply(self, points: Points) -> Points:
        """Return where the points are, shape (n, 2)."""
        moved = self.similarity.apply(points)
        if not self.order:
            return moved
        added = terms(moved / self.size, self.order) @ self.coefficients
        return moved + np.stack([added.real, added.imag], axis=-1)


def terms(points: Points, order: int) -> Floats:
    """Return the terms of a polynomial: 1, u, v, u*u, u*v, v*v …; shape (n, terms)."""
    u, v = points[:, 0], points[:, 1]
    return np.stack(
        [u ** (total - k) * v**k for total in range(order + 1) for k in range(total + 1)], axis=-1
    )


def order_for(matches: int, highest: int) -> int:
    """Return the order of the polynomial that so many matches allow."""
    return max(
        (n for n, least in _MATCHES_FOR.items() if n <= highest and matches >= least), default=0
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Stars where the header sees them, and where they are.

    Attributes
    ----------
    seen, true : array of float64, shape (n, 2)
        On the plane.
    error : array of float64, shape (n,)
        Standard deviation per axis, in the same unit.
    """

    seen: Points
    true: Points
    error: Floats


def fit_correction(
    pairs: Pairs, mirrored: bool, order: int, *, size: float, clip: float
) -> tuple[Correction, Flags]:
    """Fit the correction without outliers; return it and which pairs were used.

    Parameters
    ----------
    pairs : Pairs
        Two at least.
    mirrored : bool
        Whether the header's image is mirrored.
    order : int
        Of the polynomial; 0 for the similarity alone.
    size : float
        Half of the side of the CCD, in the plane's unit.
    clip : float
        Standard deviations beyond which a pair is an outlier.
    """
    kept = np.ones(len(pairs.error), dtype=np.bool_)
    for _ in range(_ROUNDS):
        found = _fit(pairs, kept, mirrored, order, size)
        off = _length(found.apply(pairs.seen) - pairs.true) / pairs.error
        # The median length of a vector of two normal deviates is 1.177.
        scale = max(1.0, float(np.median(off[kept])) / 1.177)
        inside = off <= clip * scale
        if (inside == kept).all() or inside.sum() < 3:
            break
        kept = inside
    return found, kept


def _fit(pairs: Pairs, kept: Flags, mirrored: bool, order: int, size: float) -> Correction:
    weight = 1 / pairs.error[kept]
    seen, true = pairs.seen[kept], pairs.true[kept]
    similarity = fit_similarity(seen, true, weight, mirrored)
    if not order:
        return Correction(similarity, np.zeros(0, np.complex128), 0, size)
    moved = similarity.apply(seen)
    polynomial = terms(moved / size, order) * weight[:, None]
    found = np.linalg.lstsq(polynomial, as_complex(true - moved) * weight, rcond=None)[0]
    return Correction(similarity, np.asarray(found, dtype=np.complex128), order, size)


def _length(vectors: Points) -> Floats:
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]))
