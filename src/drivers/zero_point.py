"""Finds the zero point of a CCD: the magnitude of one image unit, from stars of known magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROUNDS = 10
_CLIP = 3.0
_FEWEST = 3
_MAGNITUDES = 2.5 / np.log(10)


@dataclass(frozen=True, slots=True)
class ZeroPoint:
    """The zero point of a CCD.

    Attributes
    ----------
    value, error : float
        AB magnitude of one image unit, and its standard deviation.
    scatter : float
        Standard deviation of a star [mag].
    used : array of bool, shape (stars,)
        The stars it is from.
    """

    value: float
    error: float
    scatter: float
    used: Flags


def in_filter(mag: Floats, colour: Floats, colour_terms: Sequence[float]) -> Floats:
    """Return magnitudes in the exposure's filter; NaN where a colour is needed and not known.

    Parameters
    ----------
    mag, colour : array, shape (n,)
        In the system of the reference.
    colour_terms : sequence of float
        The magnitude in the filter is ``mag + sum(colour_terms[k] * colour**k)``.
    """
    result = np.asarray(mag, dtype=np.float64).copy()
    for power, term in enumerate(colour_terms):
        if term:
            result += term if power == 0 else term * np.asarray(colour, np.float64) ** power
    return result


def measure_zero_point(
    flux: Floats, flux_err: Floats, mag: Floats, mag_err: Floats, *, floor: float
) -> ZeroPoint | None:
    """Return the zero point; None if fewer than three stars can be used.

    Parameters
    ----------
    flux, flux_err : array, shape (n,)
        Measured [image units]; NaN, or not above 0, where a star is not to be used.
    mag, mag_err : array, shape (n,)
        In the exposure's filter [mag]; NaN where unknown.
    floor : float
        Scatter of a star besides what the errors say [mag].
    """
    known = np.isfinite(flux) & (flux > 0) & np.isfinite(mag) & np.isfinite(flux_err)
    if known.sum() < _FEWEST:
        return None
    values = mag[known] + 2.5 * np.log10(flux[known])
    errors = np.hypot(_MAGNITUDES * flux_err[known] / flux[known], floor)
    errors = np.hypot(errors, np.nan_to_num(mag_err[known], nan=0.0))
    kept, centre = np.ones(len(values), dtype=np.bool_), float(np.median(values))
    scale = 1.0
    for _ in range(_ROUNDS):
        off = np.abs(values - centre) / errors
        scale = max(1.0, 1.4826 * float(np.median(off[kept])))
        inside = off <= _CLIP * scale
        if inside.sum() < _FEWEST or (inside == kept).all():
            break
        kept = inside
        centre = float(np.average(values[kept], weights=errors[kept] ** -2.0))
    # Clipping at the same distance on both sides; the mean of what is left is nearly the best.
    value = float(np.average(values[kept], weights=errors[kept] ** -2.0))
    error = scale / float(np.sqrt((errors[kept] ** -2.0).sum()))
    used = np.zeros(len(flux), dtype=np.bool_)
    used[np.flatnonzero(known)[kept]] = True
    return ZeroPoint(value, error, float(np.std(values[kept])), used)
