"""Fluxes of point sources which overlap: one linear fit of all of them together.

All pixels count the same. Weights by variance would make bright stars' fluxes depend on small
errors of the model, and noisy ones be biased by their own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from drivers.coaddition.psf import shifted

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Slices = tuple[slice, slice]

_SINGULAR = 1e-6
_DENSE = 200
"""Sources in a group up to which the whole inverse is computed."""


@dataclass(frozen=True, slots=True)
class Field:
    """The pixels to which sources are fitted.

    Attributes
    ----------
    image, variance : array, shape (rows, columns)
        Sky subtracted.
    usable : array of bool
        Pixels which are fitted.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    usable: Flags


@dataclass(frozen=True, slots=True)
class Point:
    """A point source's picture: a flux of 1 on the pixels of a field.

    Attributes
    ----------
    place : (slice, slice)
        Rows and columns of the field; empty if it is beside the field.
    values : array
        What is there of the picture.
    """

    place: Slices
    values: Floats


def draw(stamp: Floats, place: Floats, shape: tuple[int, int]) -> Point:
    """Return a star's picture at a place (column, row), from one in the middle of a pixel."""
    x, y = float(place[0]), float(place[1])
    column, row = round(x), round(y)
    return placed(shifted(stamp, x - column, y - row), column, row, shape)


def placed(values: Floats, column: int, row: int, shape: tuple[int, int]) -> Point:
    """Return a picture whose middle pixel is a given one of the field."""
    half = values.shape[0] // 2
    low, left = row - half, column - half
    rows = slice(max(low, 0), max(0, min(low + values.shape[0], shape[0])))
    columns = slice(max(left, 0), max(0, min(left + values.shape[1], shape[1])))
    part = (
        slice(rows.start - low, max(rows.stop, rows.start) - low),
        slice(columns.start - left, max(columns.stop, columns.start) - left),
    )
    return Point((rows, columns), values[part])


def fit_fluxes(field: Field, points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Return the fluxes of all sources and their errors [units of the image].

    NaN where fewer than a tenth of a source's light is on usable pixels.
    """
    fluxes, errors = np.full(len(points), np.nan), np.full(len(points), np.nan)
    seen = [one for one, point in enumerate(points) if _seen(field, point)]
    if not seen:
        return fluxes, errors
    products = _products(field, [points[one] for one in seen])
    graph = coo_array(
        (products.light, (products.one, products.other)), shape=(len(seen), len(seen))
    )
    _, label = connected_components(graph, directed=False)
    for group in _members(label):
        chosen = np.array(seen)[group]
        fluxes[chosen], errors[chosen] = _solve(products.among(group, len(seen)))
    return fluxes, errors


def _seen(field: Field, point: Point) -> bool:
    usable = field.usable[point.place]
    return bool((point.values * usable).sum() > 0.1)


def _members(label: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """Return the indices which have the same label, label by label."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


@dataclass(frozen=True, slots=True)
class _Products:
    """Sums over pixels of products of the pictures of two sources, `one` <= `other`.

    Attributes
    ----------
    one, other : array of int
        Which sources.
    light, noise : array of float
        Of the pictures alone, and times the variance.
    right : array of float, shape (sources,)
        Of each source's picture and the image.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    light: Floats
    noise: Floats
    right: Floats

    def among(self, group: NDArray[np.int64], count: int) -> _Products:
        """Return those of a connected group, counted from 0 in it."""
        if len(group) == count:
            return self
        number = np.full(count, -1)
        number[group] = np.arange(len(group))
        kept = number[self.one] >= 0
        return _Products(
            number[self.one[kept]],
            number[self.other[kept]],
            self.light[kept],
            self.noise[kept],
            self.right[group],
        )

    def matrices(self) -> tuple[Any, Any]:
        """Return the symmetric matrices of light and noise, sparse."""
        count = len(self.right)
        both = []
        for values in (self.light, self.noise):
            half = coo_array((values, (self.one, self.other)), shape=(count, count)).tocsc()
            both.append(half + half.T - diags_array(half.diagonal()))
        return both[0], both[1]


def _products(field: Field, points: Sequence[Point]) -> _Products:
    entries: list[tuple[int, int, float, float]] = []
    right = np.zeros(len(points))
    pairs: list[list[int]] = [[one] for one in range(len(points))]
    for one, other in _overlapping(points).tolist():
        pairs[one].append(other)
    for one, point in enumerate(points):
        values = point.values * field.usable[point.place]
        right[one] = (values * field.image[point.place]).sum()
        for other in pairs[one]:
            product = _product(values, point.place, points[other])
            if product is not None:
                part, place = product
                noise = float((part * field.variance[place]).sum())
                entries.append((one, other, float(part.sum()), noise))
    columns = np.array(entries)
    first, second = columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64)
    return _Products(first, second, columns[:, 2], columns[:, 3], right)


def _overlapping(points: Sequence[Point]) -> NDArray[np.int64]:
    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    corners = np.array([(one.place[0].start, one.place[1].start) for one in points], float)
    side = max(max(one.values.shape) for one in points)
    pairs = KDTree(corners).query_pairs(side - 0.5, p=np.inf, output_type="ndarray")
    return np.asarray(np.sort(pairs, axis=1))


def _solve(products: _Products) -> tuple[Floats, Floats]:
    """Solve the normal equations of a group of overlapping sources."""
    light, noise = products.matrices()
    if len(products.right) <= _DENSE:
        return _solve_dense(light.toarray(), noise.toarray(), products.right)
    ridge = diags_array(_SINGULAR * light.diagonal())
    fluxes = splu((light + ridge).tocsc()).solve(products.right)
    errors = np.empty(len(fluxes))
    for one in range(len(fluxes)):
        # The inverse near the diagonal is that of the matrix of the source and those around it.
        near = light.indices[light.indptr[one] : light.indptr[one + 1]]
        part = np.ix_(near, near)
        _, around = _solve_dense(light[part].toarray(), noise[part].toarray(), np.zeros(len(near)))
        errors[one] = around[np.flatnonzero(near == one)[0]]
    return fluxes, errors


def _solve_dense(light: Floats, noise: Floats, right: Floats) -> tuple[Floats, Floats]:
    size = np.sqrt(np.diag(light))
    # Sources which can't be told apart share their light.
    inverse = np.linalg.pinv(light / np.outer(size, size), rcond=_SINGULAR, hermitian=True)
    inverse /= np.outer(size, size)
    return inverse @ right, np.sqrt(np.maximum(np.diag(inverse @ noise @ inverse), 0))


def _product(values: Floats, place: Slices, other: Point) -> tuple[Floats, Slices] | None:
    """Return the product of two pictures where they overlap, and where that is."""
    rows = _common(place[0], other.place[0])
    columns = _common(place[1], other.place[1])
    if rows is None or columns is None:
        return None
    one = values[_within(rows, place[0]), _within(columns, place[1])]
    two = other.values[_within(rows, other.place[0]), _within(columns, other.place[1])]
    return one * two, (rows, columns)


def _common(one: slice, other: slice) -> slice | None:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if stop > start else None


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
