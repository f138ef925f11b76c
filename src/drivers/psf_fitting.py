"""Makes the point spread function of a CCD from its stars, without knowing its form.

A round Moffat profile is the beginning. What it leaves of the stars is shifted back onto its
pixels, averaged without outliers, and added, until nothing is left. Far from the centre, where
single pixels are lost in the noise and faint neighbours outshine the star, a Moffat profile which
fits the inner parts is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Flags
from drivers.psf_model import SIZE, polynomial, shifted, shifted_back
from drivers.results import Psf
from drivers.stamps import Stamps
from drivers.wings import Wings, distances, fit_wings

Floats = NDArray[np.float64]

_ITERATIONS = 4
_CLIP = 5.0
"""Standard deviations beyond which a pixel of a star does not count."""

_STARS_FOR = {1: 6, 2: 20}
"""Stars that a polynomial of the first and second order takes."""

_PIXEL_ERROR = 0.03
"""Part of a pixel's value by which stars may differ, besides the noise."""

_STAR_ERROR = 0.004
"""The same of a star's flux: bounds the weight of bright ones."""

_SKY_ERROR = 0.05
"""What may be left of the sky about a star, over the noise of a pixel: it matters to faint ones."""

_APERTURE = 12.0
"""Radius [px] in which stars and model must have the same light."""

_SCALE_SPREAD = 0.01
"""How far the model's own scale may be off, before that is asked for."""

_WHOLE = 0.95
"""Part of the pixels in the aperture that must be usable."""

_STEP = 0.05
"""Shift [px] over which slopes are taken."""

_CORE = 1.4
"""Radius [widths at half maximum] within which pixels are taken one by one."""


@dataclass(frozen=True, slots=True)
class PsfFit:
    """A point spread function, and how it was made.

    Attributes
    ----------
    psf : Psf
        The function; its sum is `enclosed`.
    wings : Wings
        The profile of its outer parts.
    enclosed : float
        The part of a star's flux in the square.
    kept : array of bool, shape (stars,)
        Which stars it was made from.
    residual : float
        Median over the stars of the rms of what it leaves in their cores, over their peaks.
    """

    psf: Psf
    wings: Wings
    enclosed: float
    kept: Flags
    residual: float


def fit_psf(stamps: Stamps, guess: Wings, shape: tuple[int, int], order: int) -> PsfFit:
    """Make the function from the stamps of stars, sky and neighbours subtracted.

    Parameters
    ----------
    stamps : Stamps
        At least one star; of `SIZE`.
    guess : Wings
        To begin with.
    shape : (int, int)
        Rows and columns of the CCD [px].
    order : int
        Highest order of the polynomial; it is lowered for few stars.
    """
    order = max((n for n in _STARS_FOR if n <= order and len(stamps) >= _STARS_FOR[n]), default=0)
    basis = polynomial(stamps.x, stamps.y, shape, order)
    radius = distances(SIZE)
    model = np.zeros((basis.shape[1], SIZE, SIZE))
    model[0] = guess.at(radius)
    wings, enclosed = guess, float(model[0].sum())
    for _ in range(_ITERATIONS):
        images = shifted(np.tensordot(basis, model, axes=1), stamps.x, stamps.y)
        scales = _scales(stamps, images)
        left = scales.normalised(stamps) - images
        pixels, stars, residual = _inliers(left, images, stamps, scales.flux)
        left = shifted_back(np.where(pixels, left, 0.0), stamps.x, stamps.y)
        core = _taper(radius, _CORE * wings.fwhm)
        weight = scales.weight * stars
        model += core * _average(left, pixels, basis, weight)
        model = _centred(model, wings.fwhm)
        wings, light = fit_wings(model[0], _noise(stamps, scales.flux, weight), wings, core > 0.5)
        profile = light * wings.at(radius)
        model[0] = core * model[0] + (1 - core) * profile
        enclosed = 1 / (1 + (light - float(profile.sum())) / float(model[0].sum()))
        model = _normalised(model, enclosed)
    psf = Psf((model / _aperture_scale(stamps, scales, images, stars)).astype(np.float32), shape)
    return PsfFit(psf, wings, enclosed, stars, residual)


@dataclass(frozen=True, slots=True)
class _Scales:
    """What the stars are on one scale: fluxes, what is left of the sky, and what they weigh."""

    flux: Floats
    sky: Floats
    weight: Floats

    def normalised(self, stamps: Stamps) -> Floats:
        """Return the stars as if their flux was 1 and their sky 0."""
        return (stamps.values - self.sky[:, None, None]) / self.flux[:, None, None]


def _scales(stamps: Stamps, images: Floats) -> _Scales:
    """Fit flux and sky of each star; the sky was subtracted, so what is left of it is small."""
    usable = stamps.usable
    images = np.where(usable, images, 0.0)
    noise = np.sqrt(np.median(stamps.variance, axis=(1, 2))) + 1e-30
    left = _SKY_ERROR * noise
    square = np.maximum((images**2).sum(axis=(1, 2)), 1e-30)
    total = images.sum(axis=(1, 2))
    count = usable.sum(axis=(1, 2)) + (noise / left) ** 2
    light, sky = (images * stamps.values).sum(axis=(1, 2)), stamps.values.sum(axis=(1, 2))
    determinant = square * count - total**2
    flux = np.maximum((light * count - total * sky) / determinant, 1e-30)
    sky = (square * sky - total * light) / determinant
    error = np.sqrt((images**2 * stamps.variance).sum(axis=(1, 2))) / square
    error = np.hypot(error, left * total / square) / flux
    return _Scales(flux, sky, 1 / (error**2 + _STAR_ERROR**2))


def _aperture_scale(stamps: Stamps, scales: _Scales, images: Floats, stars: Flags) -> float:
    """Return how much more light the stars have than the model, in a wide aperture.

    It is the bright stars that know: a weighted median, so that a faint neighbour doesn't matter,
    which counts for little where all stars are faint.
    """
    wide = stamps.usable & (distances(SIZE) <= _APERTURE)
    whole = wide.sum(axis=(1, 2)) >= _WHOLE * (distances(SIZE) <= _APERTURE).sum()
    chosen = np.flatnonzero(whole & stars)
    if not len(chosen):
        return 1.0
    light = np.where(wide, stamps.values - scales.sky[:, None, None], 0.0).sum(axis=(1, 2))[chosen]
    model = scales.flux[chosen] * np.where(wide, images, 0.0).sum(axis=(1, 2))[chosen]
    noise = np.sqrt(np.median(stamps.variance[chosen], axis=(1, 2)))
    count = wide.sum(axis=(1, 2))[chosen]
    error = noise * np.hypot(np.sqrt(count), _SKY_ERROR * count) / scales.flux[chosen]
    weight = 1 / (error**2 + _STAR_ERROR**2)
    ratio = light / model
    order = np.argsort(ratio, kind="stable")
    share = np.cumsum(weight[order])
    middle = float(ratio[order][np.searchsorted(share, share[-1] / 2)])
    trust = _SCALE_SPREAD**2 / (_SCALE_SPREAD**2 + 1 / float(weight.sum()))
    return 1 + trust * (middle - 1)


def _inliers(
    left: Floats, images: Floats, stamps: Stamps, flux: Floats
) -> tuple[Flags, Flags, float]:
    """Return which pixels count, which stars do, and how much is left of a typical one."""
    peak = images.max(axis=(1, 2))
    error = np.sqrt(stamps.variance) / flux[:, None, None]
    error = np.hypot(error, _PIXEL_ERROR * np.abs(images) + 0.001 * peak[:, None, None])
    blank = np.where(stamps.usable, left, np.nan)
    middle = _median(blank) if len(left) > 2 else np.zeros_like(left[0])
    off = np.where(stamps.usable, (left - middle) / error, 0.0)
    core = images > 0.2 * peak[:, None, None]
    rms = np.sqrt((np.where(core, off, 0.0) ** 2).sum(axis=(1, 2)) / core.sum(axis=(1, 2)))
    stars = rms <= 3 * max(1.0, float(np.median(rms)))
    whole = (stamps.usable & core).sum(axis=(1, 2)) >= 0.8 * core.sum(axis=(1, 2))
    stars = stars & whole if (stars & whole).any() else np.ones_like(stars)
    in_core = np.where(core & stamps.usable, left, 0.0) ** 2
    residual = np.sqrt(in_core.sum(axis=(1, 2)) / core.sum(axis=(1, 2))) / peak
    return stamps.usable & (np.abs(off) < _CLIP), stars, float(np.median(residual[stars]))


def _median(values: Floats) -> Floats:
    """Return the median over the stars of each pixel, 0 where no star has it."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)
    pick = [np.take_along_axis(ordered, index[None], axis=0)[0] for index in (low, high)]
    return np.where(count > 0, (pick[0] + pick[1]) / 2, 0.0)


def _average(left: Floats, pixels: Flags, basis: Floats, weight: Floats) -> Floats:
    """Return the polynomial's terms that describe what is left, shape (terms, size, size)."""
    weights = pixels * weight[:, None, None]
    weights = weights.reshape(len(weights), -1)
    terms = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    matrix = (weights.T @ products).reshape(-1, terms, terms)
    target = (weights * left.reshape(len(left), -1)).T @ basis
    ridge = 1e-3 * np.trace(matrix, axis1=1, axis2=2).max() / terms + 1e-30
    solved = np.linalg.solve(matrix + ridge * np.eye(terms), target[:, :, None])[:, :, 0]
    return np.asarray(solved.T.reshape(terms, *left.shape[1:]))


def _taper(radius: Floats, core: float) -> Floats:
    """Return 1 in the core, 0 beyond 1.5 of its radius, and a smooth way between."""
    part = np.clip((radius / core - 1) / 0.5, 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * part)))


def _centred(model: Floats, fwhm: float) -> Floats:
    """Move the model so that its windowed centroid is in the middle of its pixel, everywhere.

    Where stars are and where the model has its middle can't be told apart; so it is defined.
    """
    offsets = np.arange(SIZE) - float(SIZE // 2)
    window = np.exp(-0.5 * (distances(SIZE) * 2.3548 / fwhm) ** 2)
    total = float((model[0] * window).sum())
    # A factor of 2: the window hides half of a shift of a star which is as wide.
    x = 2 * (model * window * offsets).sum(axis=(1, 2)) / total
    y = 2 * (model * window * offsets[:, None]).sum(axis=(1, 2)) / total
    first = np.clip([[x[0]], [y[0]]], -0.4, 0.4)
    mean = shifted_back(model[:1], *first)
    zero, step = np.zeros(1), _STEP
    slope_x = (shifted(mean, zero, zero, dx=step) - shifted(mean, zero, zero, dx=-step)) / 2 / step
    slope_y = (shifted(mean, zero, zero, dy=step) - shifted(mean, zero, zero, dy=-step)) / 2 / step
    rest = model[1:] - x[1:, None, None] * slope_x - y[1:, None, None] * slope_y
    return np.concatenate([mean, rest])


def _normalised(model: Floats, enclosed: float) -> Floats:
    """Give the function the same sum everywhere: a star's flux is its flux, wherever it is."""
    model = model / model[0].sum()
    sums = model[1:].sum(axis=(1, 2))
    model[1:] -= model[0] * sums[:, None, None]
    return np.asarray(model * enclosed)


def _noise(stamps: Stamps, flux: Floats, weight: Floats) -> float:
    """Return the standard deviation of a pixel of the mean star."""
    spread = np.median(stamps.variance, axis=(1, 2)) / flux**2
    return float(np.sqrt((weight**2 * spread).sum()) / max(weight.sum(), 1e-30))
