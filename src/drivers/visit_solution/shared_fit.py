"""Fits what all CCDs of a visit share, and what each has of its own, without outliers.

The model of a value is a sum of shared terms, the same for all groups (CCDs), and of own terms of
its group. Own terms are expected to be small; how small is learnt from the data: with few values a
group keeps to what is shared, with many it goes its own way. Shared terms of higher orders are held
the same way, so that nothing is fitted which the data do not show.

Values may be complex: positions on a plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[Any]
"""Real or complex."""

_ROUNDS = 20
_SOFT_ROUNDS = 8
"""Rounds in which outliers count little before those beyond the clip count nothing."""

_MEDIANS = {True: 1.1774, False: 0.6745}
"""Of the length of a deviation, in standard deviations per axis: complex numbers have two."""


@dataclass(frozen=True, slots=True)
class Values:
    """What is fitted.

    Attributes
    ----------
    value : array, shape (n,)
        Real or complex.
    error : array of float64, shape (n,)
        Standard deviation per axis.
    group : array of int, shape (n,)
        Which group each belongs to.
    shared : array of float64, shape (n, terms)
        The shared terms at each.
    own : array, shape (n, own terms)
        The own terms at each.
    """

    value: Numbers
    error: Floats
    group: NDArray[np.intp]
    shared: Numbers
    own: Numbers


@dataclass(frozen=True, slots=True)
class Expected:
    """How large terms are expected to be at first, in the unit of the values.

    Attributes
    ----------
    levels : array of int, shape (terms,)
        Terms of the same level have the same size; those of level 0 may have any.
    shared : float
        Size of the shared terms of other levels.
    own : array of float64, shape (own terms,)
        Size of the own terms.
    least : float
        No size is taken to be less.
    """

    levels: NDArray[np.intp]
    shared: float
    own: Floats
    least: float


@dataclass(frozen=True, slots=True)
class SharedFit:
    """The fit.

    Attributes
    ----------
    shared : array, shape (terms,)
        Coefficients of the shared terms.
    own : array, shape (groups, own terms)
        Those of each group.
    used : array of bool, shape (n,)
        Values which are no outliers.
    left : array, shape (n,)
        Values minus model.
    scale : float
        How many times larger than their errors the differences are.
    """

    shared: Numbers
    own: Numbers
    used: Flags
    left: Numbers
    scale: float

    def at(self, shared: Numbers, own: Numbers, group: int) -> Numbers:
        """Return the model of one group at some places."""
        return np.asarray(shared @ self.shared + own @ self.own[group])


@dataclass(frozen=True, slots=True)
class _Solved:
    shared: Numbers
    shared_var: Floats
    own: Numbers
    own_var: Floats


def fit_shared(values: Values, groups: int, expected: Expected, clip: float) -> SharedFit:
    """Fit the model.

    Parameters
    ----------
    values : Values
        One at least.
    groups : int
        How many groups there are; some may have no values.
    expected : Expected
        Sizes of terms.
    clip : float
        Standard deviations beyond which a value is an outlier.
    """
    median = _MEDIANS[np.iscomplexobj(values.value)]
    sizes = np.where(expected.levels > 0, expected.shared, np.inf), expected.own.copy()
    weight, used, scale = np.ones(len(values.value)), np.ones(len(values.value), np.bool_), 1.0
    for turn in range(_ROUNDS):
        solved = _solve(values, weight / (scale * values.error) ** 2, groups, sizes)
        model = values.shared @ solved.shared
        model += (values.own * solved.own[values.group]).sum(axis=1)
        left = values.value - model
        off = np.abs(left) / values.error
        scale = max(1.0, float(np.median(off[used])) / median)
        inside = off <= clip * scale
        if turn < _SOFT_ROUNDS:
            weight = 1 / (1 + (off / (2 * scale)) ** 2)
        else:
            if (inside == used).all() and turn > _SOFT_ROUNDS:
                break
            used = inside
            weight = used.astype(np.float64)
        sizes = _learnt(solved, expected, values)
    return SharedFit(solved.shared, solved.own, used, left, scale)


def _solve(values: Values, weight: Floats, groups: int, sizes: tuple[Floats, Floats]) -> _Solved:
    """Return the weighted solution: each group's own terms are eliminated."""
    terms, own_terms = values.shared.shape[1], values.own.shape[1]
    kind = np.result_type(values.value, values.shared, values.own)
    normal = np.diag(sizes[0] ** -2.0).astype(kind)
    target = np.zeros(terms, kind)
    parts = []
    for group in range(groups):
        which = np.flatnonzero(values.group == group)
        w = weight[which, None]
        shared, own, value = values.shared[which], values.own[which], values.value[which]
        normal += (shared.conj() * w).T @ shared
        target += (shared.conj() * w).T @ value
        # The own terms' normal equations, and how they hang together with the shared ones.
        block = (own.conj() * w).T @ own + np.diag(sizes[1] ** -2.0)
        mixed = (own.conj() * w).T @ shared
        inverse = np.linalg.inv(block) if own_terms else block
        right = (own.conj() * w).T @ value
        normal -= mixed.conj().T @ inverse @ mixed
        target -= mixed.conj().T @ inverse @ right
        parts.append((inverse, mixed, right))
    covariance = np.linalg.pinv(normal, hermitian=True)
    found = covariance @ target
    own = np.array([inverse @ (right - mixed @ found) for inverse, mixed, right in parts])
    own_var = np.array([np.diagonal(inverse).real for inverse, _, _ in parts])
    return _Solved(found, np.diagonal(covariance).real, own.reshape(groups, -1), own_var)


def _learnt(solved: _Solved, expected: Expected, values: Values) -> tuple[Floats, Floats]:
    """Return how large the terms are, from what was found and how uncertain it is."""
    axes = 2 if np.iscomplexobj(values.value) else 1
    square = np.abs(solved.shared) ** 2 / axes + solved.shared_var
    shared = np.full(len(square), np.inf)
    for level in np.unique(expected.levels[expected.levels > 0]):
        there = expected.levels == level
        shared[there] = max(expected.least, float(np.sqrt(square[there].mean())))
    some = np.isin(np.arange(len(solved.own)), values.group)
    own = expected.own
    if some.sum() > 1 and len(own):
        size = np.sqrt((np.abs(solved.own[some]) ** 2 / axes + solved.own_var[some]).mean(axis=0))
        own = np.maximum(size, expected.least)
    return shared, own
