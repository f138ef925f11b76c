"""What the observations of a tract say of positions and of magnitudes, as problems to be solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from drivers.configuration.mosaic import MosaicConfig
from drivers.global_solution.least_squares import Problem
from drivers.global_solution.observations import FrameGeometry, Observations
from drivers.visit_solution.legendre import legendre_terms, term_orders

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Indices = NDArray[np.intp]
Numbers = NDArray[Any]

_STARS_FOR = {1: 10, 2: 30, 3: 80, 4: 150, 5: 250}
"""Stars of an exposure that a polynomial of this order takes."""

_FIRST_CCD_LEVEL, _FRAME_LEVEL = 10, 20


@dataclass(frozen=True, slots=True)
class Layout:
    """Which frames there are, and which polynomials correct them.

    Attributes
    ----------
    frames : tuple of FrameGeometry
        Where the frames are on the tract's plane.
    visits, ccds : array of int, shape (frames,)
        Index of each frame's exposure, and of its CCD.
    middles : array of complex128, shape (exposures,)
        Middle of what is seen of each exposure [arcsec].
    reach : array of float64, shape (exposures,)
        Distance of its outermost corner [arcsec].
    """

    frames: tuple[FrameGeometry, ...]
    visits: Indices
    ccds: Indices
    middles: Complexes
    reach: Floats

    @classmethod
    def of(cls, frames: Sequence[FrameGeometry], visits: Indices, ccds: Indices) -> Layout:
        """Return the layout of frames with these exposures and CCDs."""
        places = np.array([one.middle for one in frames])
        sizes = np.array([one.reach for one in frames])
        exposures = [np.flatnonzero(visits == visit) for visit in range(int(visits.max()) + 1)]
        middles = np.array([places[own].mean() for own in exposures])
        aside = np.abs(places - middles[visits]) + sizes
        reach = np.array([aside[own].max() for own in exposures])
        return cls(tuple(frames), visits, ccds, middles, reach)


@dataclass(frozen=True, slots=True)
class Terms:
    """The parameters: polynomials of the exposures, of the CCDs, and a constant of each frame.

    A CCD's polynomial is the same in all exposures, and turns with the camera.

    Attributes
    ----------
    layout : Layout
        The frames.
    orders : array of int, shape (exposures,)
        Orders of the exposures' polynomials.
    ccd_order : int
        Order of the CCDs' polynomials.
    turned : bool
        Whether the corrections are vectors, which turn with the camera.
    per_frame : bool
        Whether frames have constants of their own.
    """

    layout: Layout
    orders: Indices
    ccd_order: int
    turned: bool
    per_frame: bool

    @property
    def levels(self) -> Indices:
        """Of each parameter; those of the same level are expected to have the same size."""
        exposures = [term_orders(int(order)) for order in self.orders]
        ccds = np.tile(_FIRST_CCD_LEVEL + term_orders(self.ccd_order), self._n_ccds)
        frames = np.full(len(self.layout.frames) * self.per_frame, _FRAME_LEVEL)
        return np.concatenate([*exposures, ccds, frames])

    @property
    def _n_ccds(self) -> int:
        return int(self.layout.ccds.max()) + 1

    @property
    def _starts(self) -> Indices:
        """Where each exposure's parameters begin, and those of the CCDs."""
        counts = (self.orders + 1) * (self.orders + 2) // 2
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)

    def of_frame(
        self, frame: int, place: Complexes, x: Floats, y: Floats
    ) -> tuple[Indices, Numbers]:
        """Return which parameters correct a frame, and how much they do at some places.

        Parameters
        ----------
        frame : int
            Its index.
        place : array of complex128, shape (n,)
            On the plane [arcsec].
        x, y : array of float64, shape (n,)
            The same on the CCD, from -1 to 1.
        """
        layout, starts = self.layout, self._starts
        visit, ccd = int(layout.visits[frame]), int(layout.ccds[frame])
        aside = (place - layout.middles[visit]) / layout.reach[visit]
        turn = layout.frames[frame].turn if self.turned else 1.0
        own = turn * legendre_terms(x, y, self.ccd_order)
        each = own.shape[1]
        values = [legendre_terms(aside.real, aside.imag, int(self.orders[visit])), own]
        columns = [
            np.arange(starts[visit], starts[visit + 1]),
            starts[-1] + each * ccd + np.arange(each),
        ]
        if self.per_frame:
            values.append(np.ones((len(place), 1)))
            columns.append(np.array([starts[-1] + each * self._n_ccds + frame]))
        return np.concatenate(columns), np.concatenate(values, axis=1)


def choose_terms(
    seen: Observations, layout: Layout, orders: tuple[int, int], *, turned: bool, most: int
) -> Terms:
    """Return the parameters which so many stars allow.

    Parameters
    ----------
    seen : Observations
        The stars.
    layout : Layout
        The frames.
    orders : (int, int)
        Highest orders of the polynomials of exposures and of CCDs.
    turned : bool
        Whether the corrections are vectors.
    most : int
        Frames from which on they have no constants of their own.
    """
    stars = np.bincount(seen.visit, minlength=len(layout.middles))
    allowed = [
        max((n for n, least in _STARS_FOR.items() if n <= orders[0] and count >= least), default=0)
        for count in stars
    ]
    per_frame = len(layout.frames) <= most
    return Terms(layout, np.array(allowed, dtype=np.intp), orders[1], turned, per_frame)


def position_problem(seen: Observations, terms: Terms, config: MosaicConfig) -> Problem:
    """Return the problem of positions [arcsec]."""
    origin, anchored = _origins(seen, seen.place, seen.reference)
    return Problem(
        star=seen.star,
        value=seen.place - origin,
        error=np.hypot(seen.error, config.floor / 1000),
        design=_design(seen, terms),
        levels=terms.levels,
        prior=config.expected / 1000,
        anchor=np.where(anchored, config.reference_floor / 1000, np.inf),
    )


def magnitude_problem(seen: Observations, terms: Terms, config: MosaicConfig) -> Problem:
    """Return the problem of magnitudes [mag]."""
    origin, anchored = _origins(seen, seen.magnitude, seen.reference_mag)
    error = np.full(len(anchored), np.inf)
    np.minimum.at(error, seen.star, np.hypot(seen.reference_mag_err, config.magnitude_floor))
    return Problem(
        star=seen.star,
        value=seen.magnitude - origin,
        error=np.hypot(seen.magnitude_error, config.magnitude_floor),
        design=_design(seen, terms),
        levels=terms.levels,
        prior=config.expected / 1000,
        anchor=np.where(anchored, error, np.inf),
    )


def _origins(seen: Observations, value: Numbers, reference: Numbers) -> tuple[Numbers, Any]:
    """Return from where each observation counts, and which stars the catalogue has.

    That is the catalogue's value (of the observation's own epoch, where that is known); of a star
    which it does not have, the mean of what was observed.
    """
    known = np.isfinite(reference)
    n_known = np.bincount(seen.star[known], minlength=seen.n_stars)
    n_seen = np.bincount(seen.star, minlength=seen.n_stars)
    anchored = n_known > 0
    catalogue = _sums(seen.star[known], reference[known], seen.n_stars) / np.maximum(n_known, 1)
    mean = _sums(seen.star, value, seen.n_stars) / np.maximum(n_seen, 1)
    origin = np.where(anchored, catalogue, mean)[seen.star]
    return np.where(known, reference, origin), anchored


def _sums(star: Indices, value: Numbers, stars: int) -> Numbers:
    if np.iscomplexobj(value):
        real, imaginary = (_sums(star, part, stars) for part in (value.real, value.imag))
        return real + 1j * imaginary
    return np.bincount(star, weights=value, minlength=stars)


def _design(seen: Observations, terms: Terms) -> csr_matrix:
    """Return how the parameters change the observations."""
    starts = np.searchsorted(seen.frame, np.arange(len(terms.layout.frames) + 1))
    columns, values, counts = [], [], []
    for frame, (first, last) in enumerate(pairwise(starts)):
        own = slice(first, last)
        which, block = terms.of_frame(frame, seen.place[own], seen.x[own], seen.y[own])
        columns.append(np.tile(which, last - first))
        values.append(block.ravel())
        counts.append(np.full(last - first, len(which)))
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    shape = len(seen.star), len(terms.levels)
    return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape)
