"""The point spread function of a CCD: an image of a star, which varies with the position.

An image is moved by a fraction of a pixel with Lanczos's interpolation. `psf_fitting` makes the
model with the same one, so that what it gets wrong cancels to first order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.results import Psf

Floats = NDArray[np.float64]

SIZE = 25
"""Side of the stamps [px]."""

_LOBES = 5
_TAPS = np.arange(-_LOBES, _LOBES + 1)
_BETWEEN = np.arange(SIZE)[:, None] - np.arange(SIZE)
_IN_BAND = np.abs(_BETWEEN) <= _LOBES
_BAND = np.where(_IN_BAND, _BETWEEN + _LOBES, 0)
"""Which tap each element of an interpolation's matrix is."""

_STEP = 0.05
"""Shift [px] over which slopes are taken."""


def evaluate(psf: Psf, x: Floats, y: Floats) -> NDArray[np.float64]:
    """Return images of stars of flux 1 at positions, shape (n, size, size).

    The pixel in the middle of each is the one nearest to the position. The sum over the pixels is
    the part of a star's flux which they hold.

    Parameters
    ----------
    psf : Psf
        Of the CCD.
    x, y : array, shape (n,)
        Positions [px].
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    return shifted(at_positions(psf, x, y), x, y)


def evaluate_with_slopes(psf: Psf, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the images, and how they change with x and with y [1/px]."""
    model = at_positions(psf, x, y)
    along_x = shifted(model, x, y, dx=_STEP) - shifted(model, x, y, dx=-_STEP)
    along_y = shifted(model, x, y, dy=_STEP) - shifted(model, x, y, dy=-_STEP)
    return shifted(model, x, y), along_x / (2 * _STEP), along_y / (2 * _STEP)


def at_positions(psf: Psf, x: Floats, y: Floats) -> Floats:
    """Return the function at positions, centred on the middle of a pixel, shape (n, size, size)."""
    terms = len(psf.coefficients)
    basis = polynomial(x, y, psf.shape, {1: 0, 3: 1, 6: 2}[terms])
    return np.tensordot(basis, psf.coefficients.astype(np.float64), axes=1)


def polynomial(x: Floats, y: Floats, shape: tuple[int, int], order: int) -> Floats:
    """Return the terms of the polynomial at positions, shape (n, terms)."""
    u = 2 * np.asarray(x) / max(shape[1] - 1, 1) - 1
    v = 2 * np.asarray(y) / max(shape[0] - 1, 1) - 1
    terms = [np.ones_like(u), u, v, u * u, u * v, v * v]
    return np.stack(terms[: (order + 1) * (order + 2) // 2], axis=-1)


def shifted(images: Floats, x: Floats, y: Floats, dx: float = 0.0, dy: float = 0.0) -> Floats:
    """Move images from the middle of a pixel to the place of x and y in theirs."""
    down = _kernel(y - np.rint(y) + dy)
    across = _kernel(x - np.rint(x) + dx)
    return down @ images @ across.transpose(0, 2, 1)


def shifted_back(images: Floats, x: Floats, y: Floats) -> Floats:
    """Move images from the place of x and y in their pixels to the middle of one."""
    down = _kernel(np.rint(y) - y)
    across = _kernel(np.rint(x) - x)
    return down @ images @ across.transpose(0, 2, 1)


def _kernel(shift: Floats) -> Floats:
    """Return the Lanczos interpolation by each shift as matrices, shape (n, size, size)."""
    distance = _TAPS - shift[:, None]
    weight = np.sinc(distance) * np.sinc(distance / _LOBES) * (np.abs(distance) < _LOBES)
    return np.asarray((weight / weight.sum(axis=1, keepdims=True))[:, _BAND] * _IN_BAND)


def ellipticity(psf: Psf, fwhm: float) -> float:
    """Return the ellipticity of the function in the CCD's middle: (a*a - b*b) / (a*a + b*b).

    The axes are of its second moments in a Gaussian window, whose own effect is taken off.
    """
    offsets = np.arange(SIZE) - float(SIZE // 2)
    window = np.exp(-4 * np.log(2) * (offsets**2 + offsets[:, None] ** 2) / fwhm**2)
    light = psf.coefficients[0] * window
    x, y = np.broadcast_to(offsets, light.shape), np.broadcast_to(offsets[:, None], light.shape)
    moments = np.array([[x * x, x * y], [x * y, y * y]])
    measured = (moments * light).sum(axis=(2, 3)) / light.sum()
    inverse = np.linalg.inv(measured) - np.eye(2) * 8 * np.log(2) / fwhm**2
    small, large = np.linalg.eigvalsh(inverse)
    return float((large - small) / (large + small)) if small > 0 else float("nan")
