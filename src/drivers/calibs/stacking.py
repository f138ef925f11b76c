"""Averages exposures of one pattern, which is of another strength in each, without outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Image

_ROWS = 128
"""Rows which are in work at a time: the stack of whole images is not copied."""

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """One exposure.

    Attributes
    ----------
    image : array of float32, shape (rows, columns)
        NaN where it can't be used.
    scale : float
        Of the pattern in it.
    floor : float
        Variance of a pixel without light from the pattern [image units**2].
    """

    image: Image
    scale: float
    floor: float


@dataclass(frozen=True, slots=True)
class Stack:
    """The average.

    Attributes
    ----------
    pattern : array of float32, shape (rows, columns)
        Of scale 1; NaN where no exposure can be used.
    used : float
        Part of the usable pixels which were used.
    """

    pattern: Image
    used: float


def combine(layers: Sequence[Layer], *, clip: float, tolerance: float) -> Stack:
    """Return the pattern: the sum of the layers over the sum of their scales.

    Of light, that is the average with the least noise.

    Parameters
    ----------
    layers : sequence of Layer
        At least one; images of one shape.
    clip : float
        Standard deviations beyond which a pixel is not used. The noise is not that which is found,
        of which a few exposures say nothing, but the expected one: of the pattern's electrons, the
        layer's floor, and the tolerance.
    tolerance : float
        Part of the value by which layers may differ besides.
    """
    shape = layers[0].image.shape
    pattern = np.empty(shape, np.float32)
    scales = np.array([layer.scale for layer in layers])[:, None, None]
    floors = np.array([layer.floor for layer in layers])[:, None, None]
    used = usable = 0
    for first in range(0, shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        block = np.stack([layer.image[rows] for layer in layers]).astype(np.float64)
        found, kept = _pattern(block, scales, floors, (clip, tolerance))
        pattern[rows] = found
        used += int(kept.sum())
        usable += int(np.isfinite(block).sum())
    return Stack(pattern, used / max(usable, 1))


def _pattern(
    block: NDArray[np.float64],
    scales: NDArray[np.float64],
    floors: NDArray[np.float64],
    limits: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    clip, tolerance = limits
    pattern = _low_median(block / scales)
    kept = np.isfinite(block)
    for _ in range(_ROUNDS):
        expected = pattern * scales
        variance = np.maximum(expected, 0) + floors + (tolerance * expected) ** 2
        with np.errstate(invalid="ignore"):
            kept = np.abs(block - expected) <= clip * np.sqrt(variance)
        total = np.where(kept, block, 0.0).sum(axis=0)
        weight = np.where(kept, scales, 0.0).sum(axis=0)
        pattern = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), pattern)
    return pattern, kept


def _low_median(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower median over the first axis of what is finite; NaN where nothing is.

    Faults are bright: the lower one of two is right even where half of the exposures were hit. The
    rounds which follow take it to the middle.
    """
    ordered = np.sort(block, axis=0)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=0)
    middle = np.maximum(count - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[None], axis=0)[0])
