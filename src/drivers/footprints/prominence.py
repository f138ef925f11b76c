"""Peaks of an image, and how far one must go down from each to get to a higher one.

Every pixel is given to the peak to which steps to the highest neighbour lead. Where the areas of
two peaks meet there is a saddle, and at the saddles, from the highest down, areas are joined: a
peak's key saddle is the one at which its area is joined to that of a higher peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

_AHEAD = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Steps to half of a pixel's neighbours: with these each pair is seen once."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of the connected areas of an image.

    Attributes
    ----------
    rows, columns : array of int
        Where each is, the highest first.
    saddles : array of float
        Height of its key saddle; minus infinity for the highest of an area.
    """

    rows: Indices
    columns: Indices
    saddles: Floats


def find_peaks(image: Floats, inside: Flags) -> Peaks:
    """Return all peaks within a mask, and their key saddles.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Finite values.
    inside : array of bool
        Steps and saddles are within it; pixels that touch at a corner are connected.
    """
    height = np.where(inside, image, np.float32(-np.inf))
    summit = _summits(height)
    flat = height.ravel()
    places = np.flatnonzero((summit == np.arange(flat.size)) & inside.ravel())
    places = places[np.argsort(-flat[places], kind="stable")]
    rank = np.full(flat.size, -1)
    rank[places] = np.arange(len(places))
    area = rank[summit].reshape(image.shape)
    area[~inside] = -1
    rows, columns = np.divmod(places, image.shape[1])
    return Peaks(rows, columns, _key_saddles(*_saddles(height, area), len(places)))


def _summits(height: Floats) -> Indices:
    """Return for each pixel the flat index of the peak to which the steepest steps lead."""
    rows, columns = height.shape
    here = np.arange(rows * columns).reshape(rows, columns)
    padded = np.pad(height, 1, constant_values=-np.inf)
    best, target = height.copy(), here.copy()
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            value = padded[1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
            # Of equal ones the first: a flat top has one peak.
            step = down * columns + across
            higher = (value > best) | ((value == best) & (here + step < target) & (value > -np.inf))
            best = np.where(higher, value, best)
            target = np.where(higher, here + step, target)
    flat = target.ravel()
    while True:
        further = flat[flat]
        if np.array_equal(further, flat):
            return flat
        flat = further


def _saddles(height: Floats, area: Indices) -> tuple[Floats, Indices, Indices]:
    """Return the highest saddle between any two areas that meet: height, and the two areas."""
    rows, columns = height.shape
    heights, pairs = [], []
    for down, across in _AHEAD:
        left, right = max(0, -across), columns - max(0, across)
        one = np.s_[: rows - down, left:right]
        other = np.s_[down:, left + across : right + across]
        low, high = np.minimum(area[one], area[other]), np.maximum(area[one], area[other])
        meet = (low >= 0) & (low != high)
        heights.append(np.minimum(height[one], height[other])[meet])
        pairs.append(np.stack([low[meet], high[meet]]))
    saddle, pair = np.concatenate(heights), np.concatenate(pairs, axis=1)
    order = np.argsort(-saddle, kind="stable")
    return saddle[order], pair[0][order], pair[1][order]


def _key_saddles(saddles: Floats, ones: Indices, others: Indices, count: int) -> Floats:
    """Join areas, from the highest saddle down; peaks are numbered from the highest down."""
    key = np.full(count, -np.inf, np.float32)
    leader = list(range(count))

    def top(peak: int) -> int:
        while leader[peak] != peak:
            leader[peak] = leader[leader[peak]]
            peak = leader[peak]
        return peak

    for saddle, one, other in zip(saddles.tolist(), ones.tolist(), others.tolist(), strict=True):
        higher, lower = sorted((top(one), top(other)))
        if higher != lower:
            leader[lower] = higher
            key[lower] = saddle
    return key
