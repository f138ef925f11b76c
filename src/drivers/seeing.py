"""Measures the seeing from the pixels of stars: the width at half of the maximum.

Nothing tells the stars from the rest beforehand. But all stars of an exposure have one width,
cosmic rays are narrower, and galaxies and blends are wider, each in its own way: so the stars are
where the widths of bright, round sources crowd most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.exposure import NOT_SKY, Exposure
from drivers.measurement.catalog import Sources
from drivers.star_profile import cut_stamps, fit_widths

_SIGMA_TO_FWHM = 2.3548
_MAX_CANDIDATES = 120
_NARROWEST, _WIDEST = 1.5, 40.0
"""Widths at half maximum [px] between which a star is believed."""

_CROWD = 0.12
"""Half of the width of the window, in log width, in which the stars crowd."""

_ROUND = 0.6
"""Smallest ratio of the axes of a candidate."""

_COVERED = 0.9
"""Part of a candidate's pixels which must be usable."""

_FEWEST = 2
"""Sources which must have the same width: a single one may as well be a galaxy."""

_MISFIT = 0.1
"""Largest rms residual of a star's profile, over its amplitude."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """The seeing of one exposure.

    Attributes
    ----------
    fwhm : float or None
        Full width at half maximum [px].
    scatter : float or None
        Standard deviation of the stars' widths [px].
    n_stars : int
        Stars it was measured from.
    reason : str
        Why there is none; empty if there is one.
    """

    fwhm: float | None
    scatter: float | None
    n_stars: int
    reason: str


def measure_seeing(exposure: Exposure, sources: Sources, *, min_signal_to_noise: float) -> Seeing:
    """Measure the seeing, and set the sources' columns `fwhm` [px] and `star`.

    Parameters
    ----------
    exposure : Exposure
        Sky-subtracted.
    sources : Sources
        What was found on it.
    min_signal_to_noise : float
        Of the smallest aperture, for a source to be a candidate.
    """
    sources["fwhm"] = np.nan
    candidates = _candidates(sources, min_signal_to_noise)
    if not len(candidates):
        return Seeing(None, None, 0, "no source is bright, round, whole and unsaturated")
    widths = _widths(exposure, sources[candidates])
    sources["fwhm"][candidates] = widths
    fitted = np.isfinite(widths)
    if not fitted.any():
        return Seeing(None, None, 0, "no source has the profile of a star")
    crowd = most_crowded(np.log(widths[fitted]), _CROWD)
    if len(crowd) < _FEWEST:
        return Seeing(
            None, None, 0, f"no {_FEWEST} sources agree, so stars can't be told from galaxies"
        )
    stars = candidates[fitted][crowd]
    sources["star"][stars] = True
    chosen = sources["fwhm"][stars].astype(np.float64)
    return Seeing(float(np.median(chosen)), float(np.std(chosen)), len(chosen), "")


def _candidates(sources: Sources, min_signal_to_noise: float) -> NDArray[np.intp]:
    error = np.maximum(sources["flux_err"][:, 0], 1e-30)
    ratio = sources["flux"][:, 0] / error
    good = (
        (ratio >= min_signal_to_noise)
        & ((sources["mask"] & NOT_SKY) == 0)
        & ((sources["flags"] & sep.OBJ_TRUNC) == 0)
        & (sources["b"] >= _ROUND * sources["a"])
    )
    index = np.flatnonzero(good)
    return index[np.argsort(-ratio[index], kind="stable")][:_MAX_CANDIDATES]


def _widths(exposure: Exposure, candidates: Sources) -> NDArray[np.float64]:
    """Return the width at half maximum of each candidate [px], NaN if it is no star's."""
    moments = np.sqrt(candidates["a"] * candidates["b"]).astype(np.float64) * _SIGMA_TO_FWHM
    guess = float(np.clip(np.median(moments), 2.0, 20.0))
    x, y, flags = sep.winpos(
        exposure.image, candidates["x"], candidates["y"], guess / _SIGMA_TO_FWHM
    )
    moved = np.hypot(x - candidates["x"], y - candidates["y"])
    stamps = cut_stamps(exposure, x, y, max(3, round(1.6 * guess)))
    widths, misfits = fit_widths(stamps, guess)
    believed = (
        (flags & sep.APER_ALLMASKED == 0)
        & (moved < guess)
        & (stamps.covered >= _COVERED)
        & (misfits < _MISFIT)
        & (widths > _NARROWEST)
        & (widths < _WIDEST)
    )
    return np.where(believed, widths, np.nan)


def most_crowded(values: NDArray[np.float64], half_width: float) -> NDArray[np.intp]:
    """Return the indices of the values in the window that holds most of them.

    Parameters
    ----------
    values : array of float64, shape (n,)
        At least one.
    half_width : float
        Half of the window's width. Windows are centred on the values; of equally full ones the
        first, with the smallest values, is taken.
    """
    ordered = np.sort(values)
    low = np.searchsorted(ordered, ordered - half_width, side="left")
    high = np.searchsorted(ordered, ordered + half_width, side="right")
    centre = ordered[int(np.argmax(high - low))]
    return np.flatnonzero(np.abs(values - centre) <= half_width)
