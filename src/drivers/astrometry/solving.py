"""Solves the astrometry of a CCD: matches its stars with the reference and corrects its header.

The header's coordinates, whatever their projection and distortion, are where it begins: stars and
reference are laid on the plane that touches the sky where the header sees the CCD's middle, and the
correction on this plane is fitted, of an order that the number of matches allows. So a header which
knows the distortion of its camera keeps it, even if only few stars are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.astrometry.correction import Correction, Pairs, fit_correction, order_for
from drivers.astrometry.matching import Tolerances, find_similarity, pairs_within
from drivers.astrometry.similarity import Points, Similarity
from drivers.astrometry.tan_sip import tan_sip_cards
from drivers.astrometry.tangent_plane import deproject, project
from drivers.sky_position import pixel_scale, sky_positions

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_FEWEST = 4
"""Matches without which a header is not corrected."""

_ROUNDS = 4
_WIDE = 3.0
"""Times the final radius within which the first matches are looked for."""

_BY_CHANCE = 0.3
"""Scatter per axis over the radius: it is 0.5 for stars that have nothing to do with each other."""

_LEAST_ORDER = 3
"""Of the polynomial which the cards have, so that a header's own distortion fits in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How the solution is looked for.

    Attributes
    ----------
    farthest, match_radius : float
        How far the header may be off, and a star from its reference in the end [arcsec].
    scale_tolerance : float
        How much the header's scale may be off, relatively.
    mirror : bool
        Whether a mirrored image is tried.
    order : int
        Highest order of the correction.
    floor : float
        Error of a position besides its noise [mas].
    clip : float
        Standard deviations beyond which a match is not used.
    """

    farthest: float
    match_radius: float
    scale_tolerance: float
    mirror: bool
    order: int
    floor: float
    clip: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The stars of a CCD, the brightest first: pixels and their errors per axis [px]."""

    x: Floats
    y: Floats
    error: Floats


@dataclass(frozen=True, slots=True)
class Astrometry:
    """Where a CCD is on the sky.

    Attributes
    ----------
    cards : dict
        World coordinates.
    stars, reference : array of int, shape (matches,)
        Which star is which of the reference.
    scatter : float
        Rms distance of the matches per axis [mas], weighted by their errors.
    order : int
        Of the correction; 0 if it is a similarity.
    """

    cards: dict[str, Any]
    stars: Indices
    reference: Indices
    scatter: float
    order: int


def solve(
    wcs: WCS, shape: tuple[int, int], measured: Measured, ra: Floats, dec: Floats, limits: Limits
) -> Astrometry | str:
    """Return the solution, or in words why there is none.

    Parameters
    ----------
    wcs : WCS
        The header's.
    shape : (int, int)
        Rows and columns of the CCD [px].
    measured : Measured
        Its stars, the brightest first.
    ra, dec : array, shape (m,)
        Reference stars at the epoch of the exposure [deg], the brightest first.
    limits : Limits
        How to look for it.
    """
    plane = _Plane.of(wcs, shape)
    seen, true = plane.seen(measured.x, measured.y), plane.on(ra, dec)
    near = np.flatnonzero(_length(true) <= plane.reach + limits.farthest / plane.scale)
    seen_well = np.isfinite(seen).all(axis=1)
    if min(seen_well.sum(), len(near)) < _FEWEST:
        return f"{seen_well.sum()} stars and {len(near)} of the reference are too few to match"
    tolerances = Tolerances(
        radius=_WIDE * limits.match_radius / plane.scale,
        scale=limits.scale_tolerance,
        farthest=limits.farthest / plane.scale,
        mirror=limits.mirror,
    )
    first = find_similarity(seen[seen_well], true[near], tolerances)
    if first is None:
        return f"{seen_well.sum()} stars fit no part of the reference ({len(near)} stars)"
    errors = np.hypot(measured.error, limits.floor / 1000 / plane.scale)
    errors = np.where(seen_well, errors, np.inf)
    correction, stars, others = _refined(seen, true[near], errors, first, plane, limits)
    if len(stars) < _FEWEST:
        return f"only {len(stars)} stars fit the reference closely"
    left = correction.apply(seen[stars]) - true[near[others]]
    weight = errors[stars] ** -2.0
    scatter = float(np.sqrt(np.average((left**2).mean(axis=1), weights=weight)))
    scatter *= plane.scale * 1000
    if scatter > _BY_CHANCE * limits.match_radius * 1000:
        return f"{len(stars)} stars are near ones of the reference, but no nearer than by chance"
    cards = tan_sip_cards(plane.corrected(correction), shape, max(_LEAST_ORDER, correction.order))
    return Astrometry(cards, stars, near[others], scatter, correction.order)


def _refined(
    seen: Points,
    true: Points,
    errors: Floats,
    first: Similarity,
    plane: _Plane,
    limits: Limits,
) -> tuple[Correction, Indices, Indices]:
    """Match and fit in turns, closer each time; return the correction and what was used."""
    tree = cKDTree(true)
    correction = Correction(first, np.zeros(0, np.complex128), 0, plane.reach)
    usable = np.flatnonzero(np.isfinite(errors))
    for turn in range(_ROUNDS):
        radius = limits.match_radius / plane.scale * (_WIDE if turn == 0 else 1.0)
        which, others = pairs_within(tree, correction.apply(seen[usable]), radius)
        stars = usable[which]
        if len(stars) < _FEWEST:
            break
        order = min(order_for(len(stars), limits.order), turn + 1)
        pairs = Pairs(seen[stars], true[others], errors[stars])
        correction, kept = fit_correction(
            pairs, first.mirrored, order, size=plane.reach, clip=limits.clip
        )
        stars, others = stars[kept], others[kept]
    return correction, stars, others


@dataclass(frozen=True, slots=True)
class _Plane:
    """The plane on which stars and reference are compared; its unit is a pixel."""

    wcs: WCS
    centre: tuple[float, float]
    scale: float
    reach: float

    @classmethod
    def of(cls, wcs: WCS, shape: tuple[int, int]) -> _Plane:
        ra, dec = sky_positions(wcs, [(shape[1] - 1) / 2], [(shape[0] - 1) / 2])
        reach = float(np.hypot(*shape)) / 2
        return cls(wcs, (float(ra[0]), float(dec[0])), pixel_scale(wcs, shape), reach)

    def on(self, ra: Floats, dec: Floats) -> Points:
        return np.stack(project(ra, dec, self.centre), axis=-1) * (3600 / self.scale)

    def seen(self, x: Floats, y: Floats) -> Points:
        return self.on(*sky_positions(self.wcs, x, y))

    def corrected(self, correction: Correction) -> Any:
        def to_sky(x: Floats, y: Floats) -> tuple[Floats, Floats]:
            places = correction.apply(self.seen(x, y)) * (self.scale / 3600)
            return deproject(places[:, 0], places[:, 1], self.centre)

        return to_sky


def _length(vectors: Points) -> Floats:
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]))
