"""Fits round Moffat profiles to many stars at once, for their width at half of the maximum.

A profile is ``amplitude * (1 + (r / alpha)**2)**-beta + offset``. The exponent is one for all
stars of an exposure, the best of a few: it describes the wings, and taking it from the stars
themselves is what keeps the width unbiased whether the PSF is nearly Gaussian or has wide wings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import NOT_SKY, Exposure

Floats = NDArray[np.float64]

_BETAS = (2.2, 2.8, 3.6, 5.0, 10.0)
"""Exponents tried; the last is nearly a Gaussian."""

_STEPS = np.geomspace(0.35, 2.0, 17)
"""Widths tried, relative to a first guess; the best is refined by a parabola."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """Squares of pixels around positions.

    Attributes
    ----------
    values : array of float64, shape (stars, pixels)
        Pixel values.
    radii : array of float64, shape (stars, pixels)
        Their distances from the star's centre [px].
    weights : array of float64, shape (stars, pixels)
        1 where the pixel counts, 0 where it is masked, outside, or in a corner of the square.
    covered : array of float64, shape (stars,)
        Which part of the pixels that should count does.
    """

    values: Floats
    radii: Floats
    weights: Floats
    covered: Floats


def cut_stamps(exposure: Exposure, x: Floats, y: Floats, half: int) -> Stamps:
    """Cut a square of ``2 * half + 1`` pixels around each position."""
    rows, columns = exposure.image.shape
    offsets = np.arange(-half, half + 1)
    shape = (len(x), offsets.size, offsets.size)
    xi = np.broadcast_to(np.rint(x).astype(int)[:, None, None] + offsets[None, None, :], shape)
    yi = np.broadcast_to(np.rint(y).astype(int)[:, None, None] + offsets[None, :, None], shape)
    inside = (xi >= 0) & (xi < columns) & (yi >= 0) & (yi < rows)
    at = np.clip(yi, 0, rows - 1), np.clip(xi, 0, columns - 1)
    radii = np.hypot(xi - x[:, None, None], yi - y[:, None, None])
    round_part = radii <= half + 0.5
    usable = round_part & inside & ((exposure.mask[at] & NOT_SKY) == 0)
    flat = (len(x), -1)
    return Stamps(
        exposure.image[at].astype(np.float64).reshape(flat),
        radii.reshape(flat),
        usable.astype(np.float64).reshape(flat),
        usable.sum(axis=(1, 2)) / round_part.sum(axis=(1, 2)),
    )


def fit_widths(stamps: Stamps, guess: float) -> tuple[Floats, Floats]:
    """Fit the profiles.

    Parameters
    ----------
    stamps : Stamps
        The stars' pixels.
    guess : float
        A width at half maximum [px] within a factor of two of the truth.

    Returns
    -------
    widths : array of float64, shape (stars,)
        Full width at half maximum [px]; NaN where the best of the widths tried is the first or
        last, or where the amplitude isn't positive.
    misfits : array of float64, shape (stars,)
        Rms of what the profile leaves, over its amplitude.
    """
    fits = [_fit(stamps, guess * _STEPS, beta) for beta in _BETAS]
    totals = [np.median(misfits) for _, misfits in fits]
    return fits[int(np.argmin(totals))]


def _fit(stamps: Stamps, widths: Floats, beta: float) -> tuple[Floats, Floats]:
    tried = [_fit_linear(stamps, width, beta) for width in widths]
    costs = np.array([cost for cost, _ in tried])
    amplitudes = np.array([amplitude for _, amplitude in tried])
    best = np.argmin(costs, axis=0)
    star = np.arange(costs.shape[1])
    middle = np.clip(best, 1, len(widths) - 2)
    left, here, right = (costs[middle + step, star] for step in (-1, 0, 1))
    curvature = np.maximum(left - 2 * here + right, 1e-300)
    shift = np.clip(0.5 * (left - right) / curvature, -1.0, 1.0)
    fitted = np.exp(np.log(widths)[middle] + shift * np.log(widths[1] / widths[0]))
    amplitude = amplitudes[best, star]
    misfit = np.sqrt(costs[best, star]) / np.maximum(amplitude, 1e-30)
    good = (best == middle) & (amplitude > 0)
    return np.where(good, fitted, np.nan), misfit


def _fit_linear(stamps: Stamps, width: float, beta: float) -> tuple[Floats, Floats]:
    """Return mean squared residual and amplitude of each star for a profile of this width."""
    alpha = width / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
    profile = (1.0 + (stamps.radii / alpha) ** 2) ** -beta
    count = np.maximum(stamps.weights.sum(axis=1), 1.0)

    def mean(values: Floats) -> Floats:
        return np.asarray((stamps.weights * values).sum(axis=1) / count)

    mean_profile, mean_value = mean(profile), mean(stamps.values)
    spread = np.maximum(mean(profile**2) - mean_profile**2, 1e-300)
    together = mean(profile * stamps.values) - mean_profile * mean_value
    amplitude = together / spread
    cost = mean(stamps.values**2) - mean_value**2 - amplitude * together
    return np.maximum(cost, 0.0), amplitude
