"""The wings of a star: a round Moffat profile for what is too far out and too faint to be measured.

A profile is proportional to ``(1 + (r / alpha)**2)**-beta``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]

_USUAL_BETA, _BETA_SPREAD = 3.0, 1.0
"""Exponent of a star's profile where it can't be measured, and how much it differs."""

_BETA_RANGE = (1.6, 12.0)
_CORE = 0.4
"""Radius [widths at half maximum] within which a star may look as it likes."""

_MODEL_ERROR = 0.02
"""Part by which a real star differs from a Moffat profile."""


@dataclass(frozen=True, slots=True)
class Wings:
    """A round Moffat profile.

    Attributes
    ----------
    fwhm : float
        Width at half of the maximum [px].
    beta : float
        Exponent.
    """

    fwhm: float
    beta: float = _USUAL_BETA

    @property
    def alpha(self) -> float:
        """Scale of the radius [px]."""
        return float(self.fwhm / (2 * np.sqrt(2 ** (1 / self.beta) - 1)))

    def at(self, radius: Floats) -> Floats:
        """Return the profile of a star of flux 1 at distances [px]."""
        peak = (self.beta - 1) / (np.pi * self.alpha**2)
        return np.asarray(peak * (1 + (radius / self.alpha) ** 2) ** -self.beta)


def distances(size: int) -> Floats:
    """Return how far each pixel is from the middle of a square [px], shape (size, size)."""
    offsets = np.arange(size) - size // 2
    return np.hypot(offsets[:, None], offsets)


def fit_wings(
    star: Floats, noise: float, guess: Wings, inner: NDArray[np.bool_]
) -> tuple[Wings, float]:
    """Fit the profile to the image of a star, outside of its very core.

    Parameters
    ----------
    star : array, shape (size, size)
        Centred on the middle pixel.
    noise : float
        Standard deviation of a pixel.
    guess : Wings
        To begin with.
    inner : array of bool, shape (size, size)
        Pixels near enough for the star to be seen in them.

    Returns
    -------
    wings : Wings
        The profile.
    light : float
        The star's whole flux by this profile.
    """
    radius = distances(len(star))
    fitted = inner & (radius > _CORE * guess.fwhm)
    r, values = radius[fitted], star[fitted]
    total = float(star.sum())
    error = np.hypot(noise, _MODEL_ERROR * guess.at(r) * total) + 1e-12

    def misfit(parameters: Floats) -> Floats:
        scale, log_width, beta = parameters
        model = total * scale * Wings(float(np.exp(log_width)), float(beta)).at(r)
        prior = (beta - _USUAL_BETA) / _BETA_SPREAD
        return np.append((model - values) / error, prior)

    width = np.log(guess.fwhm)
    low, high = (0.2, width - 1, _BETA_RANGE[0]), (5.0, width + 1, _BETA_RANGE[1])
    found = least_squares(misfit, (1.0, width, guess.beta), bounds=(low, high)).x
    return Wings(float(np.exp(found[1])), float(found[2])), float(found[0]) * total
