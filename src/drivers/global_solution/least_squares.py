"""Solves for what changes exposures, when the stars' own places are not known either.

An observation is ``value + design @ parameters = place of its star + noise``. The places of the
stars, far more than there are parameters, are eliminated: each is the weighted mean of the star's
observations and, for a star of the reference catalogue, of the catalogue's 0. What is left are the
normal equations of the parameters, to which each star adds its own part; so the ranks of a gang
each take a share of the stars, and add up.

Values may be complex: positions on a plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs
from scipy.sparse import csr_matrix, diags_array

from drivers.global_solution.adding_up import Gang

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]
Numbers = NDArray[Any]

_ROUNDS, _SOFT_ROUNDS = 12, 4
"""Rounds, at most, and those in which outliers count little before they count nothing."""

_MEDIANS = {True: 1.1774, False: 0.6745}
"""Of the length of a deviation, in standard deviations per axis: complex numbers have two."""

_BINS, _FARTHEST = 20_000, 40.0
_LEAST_FREE = 0.02
"""An observation which is nearly all that is known of its star can't be judged."""

_LEAST_SIZE = 1e-5
"""No parameter is expected to be less [arcsec, mag]."""

_DENSE = 256
"""Stars whose parts of the normal equations are added up at a time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be solved; of a gang, each member has a share of the stars.

    Attributes
    ----------
    star : array of int, shape (n,)
        Index of each observation's star.
    value : array, shape (n,)
        Real or complex: where the star was seen, minus where the catalogue has it (or, for one
        that it has not, minus any place).
    error : array of float64, shape (n,)
        Standard deviation per axis.
    design : sparse matrix, shape (n, parameters)
        How the parameters change the values.
    levels : array of int, shape (parameters,)
        Parameters of the same level have the same size, which is learnt from the data.
    prior : float
        How large parameters are expected to be at first.
    anchor : array of float64, shape (stars,)
        Standard deviation of the catalogue's place; infinite for a star which it does not have.
    """

    star: Indices
    value: Numbers
    error: Floats
    design: csr_matrix
    levels: Indices
    prior: float
    anchor: Floats

    def share(self, rank: int, size: int) -> Problem:
        """Return the part of a problem which one of several ranks has."""
        own = np.flatnonzero(np.arange(len(self.anchor)) % size == rank)
        place = np.full(len(self.anchor), -1, dtype=np.intp)
        place[own] = np.arange(len(own))
        which = np.flatnonzero(place[self.star] >= 0)
        return Problem(
            place[self.star[which]], self.value[which], self.error[which],
            self.design[which], self.levels, self.prior, self.anchor[own],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Solved:
    """The solution; arrays of observations and stars are of the share.

    Attributes
    ----------
    parameters : array
        The same on all ranks.
    left : array, shape (n,)
        Where observations are beside their star.
    star : array, shape (stars,)
        Where the observations of each star, without the catalogue, have it beside the catalogue.
    used, anchored : array of bool
        Observations, and stars of the catalogue, which are no outliers.
    scale, anchor_scale : float
        How many times larger than their errors the differences are.
    """

    parameters: Numbers
    left: Numbers
    star: Numbers
    used: Flags
    anchored: Flags
    scale: float
    anchor_scale: float


def solve(problem: Problem, gang: Gang, clip: float) -> Solved:
    """Return the solution without outliers; all ranks of a gang call this together.

    Parameters
    ----------
    problem : Problem
        The rank's share.
    gang : Gang
        Who else has one.
    clip : float
        Standard deviations beyond which an observation, or a star of the catalogue, is an outlier.
    """
    median = _MEDIANS[np.iscomplexobj(problem.value)]
    seen = _Weights(np.ones(len(problem.value)), 1.0, median)
    known = _Weights(np.isfinite(problem.anchor).astype(np.float64), 1.0, median)
    sizes = np.full(len(problem.levels), problem.prior)
    for turn in range(_ROUNDS):
        weight = seen.factor / (seen.scale * problem.error) ** 2
        anchor = known.factor / (known.scale * problem.anchor) ** 2
        normal, target = _normal_equations(problem, weight, anchor, gang)
        parameters, sizes = _solved(normal, target, sizes, problem.levels)
        left, star, off, off_anchor = _differences(problem, parameters, weight, anchor)
        now = seen.judged(off, gang, clip, turn), known.judged(off_anchor, gang, clip, turn)
        changed = gang.sum(float(seen.differences(now[0]) + known.differences(now[1])))
        if turn > _SOFT_ROUNDS and not changed:
            break
        seen, known = now
    used, anchored = seen.factor > 0, known.factor > 0
    return Solved(parameters, left, star, used, anchored, seen.scale, known.scale)


@dataclass(frozen=True, slots=True)
class _Weights:
    """How much observations (or the catalogue's places) count, and how their errors are scaled."""

    factor: Floats
    scale: float
    median: float

    def judged(self, off: Floats, gang: Gang, clip: float, turn: int) -> _Weights:
        """Return the weights for differences, in standard deviations; NaN where unknown."""
        there = np.isfinite(off)
        counts = there & (self.factor > 0)
        scale = max(1.0, _median(off[counts], gang) / self.median)
        soft = 1 / (1 + (off / (2 * scale)) ** 2)
        hard = (off <= clip * scale).astype(np.float64)
        factor = np.where(there, soft if turn < _SOFT_ROUNDS else hard, self.factor)
        return _Weights(factor, scale, self.median)

    def differences(self, other: _Weights) -> int:
        """Return how many are used in the one and not in the other."""
        return int(((self.factor > 0) != (other.factor > 0)).sum())


def _median(values: Floats, gang: Gang) -> float:
    """Return the median over all ranks, from a histogram; 0 if there are no values."""
    inside = np.minimum(values * (_BINS / _FARTHEST), _BINS - 1).astype(np.intp)
    counts = gang.total(np.bincount(inside, minlength=_BINS).astype(np.float64))
    total = np.cumsum(counts)
    if not total[-1]:
        return 0.0
    return float((np.searchsorted(total, total[-1] / 2) + 0.5) * _FARTHEST / _BINS)


def _normal_equations(
    problem: Problem, weight: Floats, anchor: Floats, gang: Gang
) -> tuple[Numbers, Numbers]:
    """Return the normal equations of all ranks, the stars eliminated."""
    design, stars = problem.design, len(problem.anchor)
    weighted = (diags_array(weight) @ design).tocsr()
    gather = _gathering(problem.star, stars)
    total = gather @ weight + anchor
    share = np.divide(1.0, total, out=np.zeros(stars), where=total > 0)
    by_star = (gather @ weighted).tocsr()
    normal = (weighted.conj().T @ design).toarray()
    for first in range(0, stars, _DENSE):
        rows = by_star[first : first + _DENSE].toarray()
        normal -= (rows.conj() * share[first : first + _DENSE, None]).T @ rows
    sums = gather @ (weight * problem.value)
    target = by_star.conj().T @ (share * sums) - weighted.conj().T @ problem.value
    return gang.total(normal), gang.total(target)


def _solved(
    normal: Numbers, target: Numbers, sizes: Floats, levels: Indices
) -> tuple[Numbers, Floats]:
    """Return the parameters, and how large they are, by level, as far as that can be told."""
    normal[np.diag_indices_from(normal)] += sizes**-2.0
    factor, _ = cho_factor(normal, lower=True, overwrite_a=True)
    parameters = cho_solve((factor, True), target)
    invert = get_lapack_funcs("potri", (factor,))
    variance = np.diagonal(invert(factor, lower=True)[0]).real
    axes = 2 if np.iscomplexobj(normal) else 1
    square = np.abs(parameters) ** 2 / axes + variance
    learnt = np.bincount(levels, square) / np.maximum(np.bincount(levels), 1)
    return parameters, np.sqrt(np.maximum(learnt, _LEAST_SIZE**2))[levels]


def _gathering(star: Indices, stars: int) -> csr_matrix:
    """Return the matrix which adds up observations by star."""
    count = len(star)
    return csr_matrix((np.ones(count), (star, np.arange(count))), shape=(stars, count))


def _differences(
    problem: Problem, parameters: Numbers, weight: Floats, anchor: Floats
) -> tuple[Numbers, Numbers, Floats, Floats]:
    """Return differences of observations and stars, and both in standard deviations.

    An observation pulls its star towards itself: its difference is as much smaller, and is taken
    for larger here. NaN where nothing else says where the star is.
    """
    value = problem.value + problem.design @ parameters
    gather = _gathering(problem.star, len(problem.anchor))
    seen, sums = gather @ weight, gather @ (weight * value)
    with np.errstate(divide="ignore", invalid="ignore"):
        star, place = sums / seen, sums / (seen + anchor)
        left = value - place[problem.star]
        free = 1 - weight / (seen + anchor)[problem.star]
        off = np.where(free > _LEAST_FREE, np.abs(left) / problem.error / np.sqrt(free), np.nan)
        known = np.isfinite(problem.anchor) & (seen > 0)
        off_anchor = np.abs(star) / np.hypot(problem.anchor, seen**-0.5)
    return left, star, off, np.where(known, off_anchor, np.nan)
