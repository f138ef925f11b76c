"""Finds which stars of two lists are the same, in spite of a shift, a rotation or a mirror.

Triangles of bright stars have the same sides in both lists, whatever moved them. Every pair of like
triangles votes for three pairs of stars; true pairs get many votes, accidental ones few. What the
pairs with most votes say of the transformation is then tried on all stars, and the one which
brings most together is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import bdtrc

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Points = NDArray[np.float64]
"""Positions on a plane, shape (n, 2)."""

_ATTEMPTS = ((24, 80), (45, 130))
"""Stars of each list, at most, whose triangles are compared; more if fewer lead to nothing."""

_SHORTEST = 0.08
"""Shortest side of a triangle over the longest there is: short ones are alike by chance."""

_FEWEST = 4
_CHANCE = 1e-6
"""How improbable it must be that so many stars come together by chance."""

_TRIED = 20
"""Pairs of stars with most votes; the transformation through any two of them is tried."""

_COUNTED = 80
"""Stars which a transformation that is tried has to bring together."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """A shift, a rotation, a change of scale and perhaps a mirror: ``z -> factor * z + shift``.

    Points are complex numbers; mirrored, their conjugates are taken first.
    """

    factor: complex
    shift: complex
    mirrored: bool

    def apply(self, points: Points) -> Points:
        """Return where the points go."""
        z = points[:, 0] + 1j * points[:, 1]
        moved = self.factor * (z.conj() if self.mirrored else z) + self.shift
        return np.stack([moved.real, moved.imag], axis=-1)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What may differ between the lists.

    Attributes
    ----------
    radius : float
        Distance within which transformed stars are the same.
    scale : float
        Relative difference of their scales.
    farthest : float
        Distance by which the middle of the first list may be off.
    mirror : bool
        Whether one may be a mirror image.
    """

    radius: float
    scale: float
    farthest: float
    mirror: bool


def find_similarity(points: Points, others: Points, tolerances: Tolerances) -> Similarity | None:
    """Return the transformation which brings the points onto the others; None if there is none.

    Parameters
    ----------
    points, others : array, shape (n, 2) and (m, 2)
        The brightest first, in one unit.
    tolerances : Tolerances
        What may differ.
    """
    share = _area(others) / max(_area(points), 1e-30)
    for bright, most in _ATTEMPTS:
        first = points[:bright]
        second = others[: int(np.clip(bright * share, bright, most))]
        if min(len(first), len(second)) < 3:
            return None
        votes = _votes(first, second, tolerances.scale)
        found = _best(first, second, votes, points, others, tolerances)
        if found is not None:
            return found
        if bright >= len(points):
            return None
    return None


def _area(points: Points) -> float:
    return float(np.prod(np.ptp(points, axis=0))) if len(points) > 1 else 0.0


def _votes(points: Points, others: Points, tolerance: float) -> NDArray[np.intp]:
    """Return how many like triangles speak for each pair of stars, shape (points, others)."""
    longest = np.hypot(*np.ptp(points, axis=0))
    corners, sides = _triangles(points, _SHORTEST * longest, longest * (1 + tolerance))
    corners2, sides2 = _triangles(others, _SHORTEST * longest, longest * (1 + tolerance))
    votes = np.zeros((len(points), len(others)), dtype=np.intp)
    if not (len(sides) and len(sides2)):
        return votes
    # Sides as logarithms: a difference is a relative one. Half as far apart as two scales may be,
    # all three together are moved by the scale.
    like = cKDTree(np.log(sides)).query_ball_tree(cKDTree(np.log(sides2)), tolerance * np.sqrt(3))
    count = np.fromiter(map(len, like), dtype=np.intp, count=len(like))
    if count.sum():
        one = np.repeat(np.arange(len(like)), count)
        two = np.concatenate([found for found in like if found]).astype(np.intp)
        even = np.ptp(np.log(sides[one] / sides2[two]), axis=1) < tolerance / 2
        np.add.at(votes, (corners[one[even]], corners2[two[even]]), 1)
    return votes


def _triangles(points: Points, shortest: float, longest: float) -> tuple[Indices, Floats]:
    """Return corners and sides of triangles, shortest side first; corners are opposite to them."""
    corners = np.array(list(combinations(range(len(points)), 3)), dtype=np.intp)
    a, b, c = (points[corners[:, k]] for k in range(3))
    sides = np.stack([_length(b - c), _length(c - a), _length(a - b)], axis=-1)
    order = np.argsort(sides, axis=1)
    sides = np.take_along_axis(sides, order, axis=1)
    corners = np.take_along_axis(corners, order, axis=1)
    # Of nearly equal sides nobody knows which is which.
    apart = np.diff(np.log(np.maximum(sides, 1e-30)), axis=1).min(axis=1) > 0.02
    good = (sides[:, 0] > shortest) & (sides[:, 2] < longest) & apart
    return corners[good], sides[good]


def _length(vectors: Points) -> Floats:
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]))


def _best(
    first: Points,
    second: Points,
    votes: NDArray[np.intp],
    points: Points,
    others: Points,
    tolerances: Tolerances,
) -> Similarity | None:
    """Return the transformation by which most stars come together, if that is no chance."""
    top = np.argsort(-votes, axis=None, kind="stable")[:_TRIED]
    i, k = np.unravel_index(top[votes.ravel()[top] > 0], votes.shape)
    if not len(i):
        return None
    tree, sample = cKDTree(others), points[:_COUNTED]
    best, most = None, 0
    for mirrored in (False, True) if tolerances.mirror else (False,):
        for one, two in combinations(range(len(i)), 2):
            found = _through(first[i[[one, two]]], second[k[[one, two]]], mirrored)
            if found is None or not _allowed(found, tolerances):
                continue
            together = len(pairs_within(tree, found.apply(sample), tolerances.radius)[0])
            if together > most:
                best, most = found, together
    return best if _is_no_chance(most, len(sample), others, tolerances) else None


def _through(points: Points, others: Points, mirrored: bool) -> Similarity | None:
    """Return the transformation which brings two points exactly onto two others."""
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (points, others))
    if mirrored:
        z = z.conj()
    if z[0] == z[1]:
        return None
    factor = complex((w[1] - w[0]) / (z[1] - z[0]))
    return Similarity(factor, complex(w[0] - factor * z[0]), mirrored)


def _allowed(found: Similarity, tolerances: Tolerances) -> bool:
    scale_is_right = abs(abs(found.factor) - 1) <= tolerances.scale
    return scale_is_right and abs(found.shift) <= tolerances.farthest


def pairs_within(tree: cKDTree, points: Points, radius: float) -> tuple[Indices, Indices]:
    """Return which points and which of the tree's are nearest to one another, within a radius."""
    distance, nearest = tree.query(points, distance_upper_bound=radius)
    which = np.flatnonzero(np.isfinite(distance))
    which = which[np.argsort(distance[which], kind="stable")]
    _, once = np.unique(nearest[which], return_index=True)
    return which[once], nearest[which[once]]


def _is_no_chance(count: int, tried: int, others: Points, tolerances: Tolerances) -> bool:
    density = len(others) / max(_area(others), 1e-30)
    chance = min(1.0, density * np.pi * tolerances.radius**2)
    return count >= _FEWEST and float(bdtrc(count - 1, tried, chance)) < _CHANCE
