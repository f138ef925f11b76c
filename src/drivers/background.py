"""Measures and subtracts the sky.

Twice: sources found on the first model are masked for the second, so that a galaxy which fills
much of a small image, or a crowd, raises neither the sky's level nor its noise more than it must.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sep

from drivers.exposure import NOT_SKY, Exposure, Flags, Image, bit
from drivers.statistics import clipped_level

_TOO_FEW = 50
"""Usable pixels below which there is no saying what the sky is."""

_SOURCE_THRESHOLD = 2.5
"""Standard deviations above the first model from which on a pixel belongs to a source."""

_GROW = 3
"""Pixels by which the sources are grown."""

_ENOUGH_SKY = 0.15
"""Part of the usable pixels that must be left by the sources for the second model."""


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky of one exposure.

    Attributes
    ----------
    level : float or None
        Median of the sky's model [unit]; None if the frame has too few usable pixels.
    noise : float or None
        Standard deviation of a pixel of the empty sky [unit].
    """

    level: float | None
    noise: float | None


def subtract_sky(exposure: Exposure, *, mesh: int, filter_size: int) -> Sky:
    """Subtract a smooth model of the sky from the exposure's image, in place.

    Parameters
    ----------
    exposure : Exposure
        Its image is changed.
    mesh : int
        Size of the squares in which the sky is measured [px]; cut to the size of the image.
    filter_size : int
        Squares over which the model is median-filtered.
    """
    unusable = exposure.has(NOT_SKY)
    if np.count_nonzero(~unusable) < _TOO_FEW:
        exposure.notes.append("too few usable pixels to measure the sky")
        return Sky(None, None)
    sky = _model(exposure.image, unusable, mesh, filter_size)
    covered = unusable | _sources(exposure.image - sky, unusable)
    if np.count_nonzero(~covered) >= max(_TOO_FEW, _ENOUGH_SKY * np.count_nonzero(~unusable)):
        sky = _model(exposure.image, covered, mesh, filter_size)
    else:
        covered = unusable
    exposure.image -= sky
    exposure.image[exposure.has(bit("NO_DATA"))] = 0
    _, noise = clipped_level(exposure.image[~covered])
    return Sky(float(np.median(sky)), noise)


def _model(image: Image, masked: Flags, mesh: int, filter_size: int) -> Image:
    rows, columns = image.shape
    size: dict[str, Any] = {"bw": min(mesh, columns), "bh": min(mesh, rows)}
    model = sep.Background(image, mask=masked, fw=filter_size, fh=filter_size, **size)
    if model.globalback != 0:
        return np.asarray(model.back(dtype=np.float32))
    # sep takes a square less than half of which is usable for none, and with no square left
    # returns zeros.
    return np.full(image.shape, clipped_level(image[~masked])[0], dtype=np.float32)


def _sources(image: Image, unusable: Flags) -> Flags:
    """Return where a first look finds sources, grown, shape (rows, columns)."""
    level, noise = clipped_level(image[~unusable])
    bright = (_smoothed(image - np.float32(level)) > _SOURCE_THRESHOLD * noise) & ~unusable
    grown = bright.copy()
    for _ in range(_GROW):
        grown[1:] |= bright[:-1]
        grown[:-1] |= bright[1:]
        grown[:, 1:] |= grown[:, :-1].copy()
        grown[:, :-1] |= grown[:, 1:].copy()
        bright = grown.copy()
    return grown


def _smoothed(image: Image) -> Image:
    """Return the running mean over 3 x 3 pixels, times 3: as noisy as the image."""
    padded = np.pad(image, 1, mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((across[:-2] + across[1:-1] + across[2:]) / np.float32(3))
