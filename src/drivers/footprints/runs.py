"""Footprints as runs along rows, from labelled images and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.found import Footprints

Labels = NDArray[np.int32]

EIGHT = np.ones((3, 3), bool)
"""Pixels which touch at a corner are connected."""


def find_footprints(inside: NDArray[np.bool_]) -> Footprints:
    """Return the connected parts of a mask, in the order of their first pixels."""
    labels, count = ndimage.label(inside, EIGHT)
    padded = np.zeros((labels.shape[0], labels.shape[1] + 2), np.int32)
    padded[:, 1:-1] = labels
    change = np.diff(padded, axis=1) != 0
    rows, columns = np.nonzero(change)  # of each run its beginning and its end, in turns
    first, last = columns[::2], columns[1::2]
    number = labels[rows[::2], first]
    order = np.argsort(number, kind="stable")
    spans = np.stack([rows[::2], first, last], axis=1)[order].astype(np.int16)
    starts = np.searchsorted(number[order], np.arange(1, count + 2)).astype(np.int32)
    return Footprints(spans, starts)


def label_image(footprints: Footprints, shape: tuple[int, int]) -> Labels:
    """Return the image of the footprints: 0 outside, i + 1 in the footprint with index i."""
    labels = np.zeros(shape, np.int32)
    number = np.repeat(np.arange(len(footprints)), np.diff(footprints.starts)) + 1
    for (row, first, last), value in zip(footprints.spans.tolist(), number.tolist(), strict=True):
        labels[row, first:last] = value
    return labels


def areas(footprints: Footprints) -> NDArray[np.int64]:
    """Return the numbers of pixels."""
    if not len(footprints):
        return np.zeros(0, np.int64)
    lengths = (footprints.spans[:, 2] - footprints.spans[:, 1]).astype(np.int64)
    return np.add.reduceat(lengths, footprints.starts[:-1])


def bounds(footprints: Footprints, index: int) -> tuple[int, int, int, int]:
    """Return x from, y from, x to, y to (not included) of a footprint."""
    spans = footprints.spans[footprints.starts[index] : footprints.starts[index + 1]]
    low, high = spans[:, 0].min(), spans[:, 0].max()
    return int(spans[:, 1].min()), int(low), int(spans[:, 2].max()), int(high) + 1
