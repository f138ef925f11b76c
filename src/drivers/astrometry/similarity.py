"""A shift, a rotation, a change of scale and perhaps a mirror, and how they are fitted to pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Points = NDArray[np.float64]
"""Positions on a plane, shape (n, 2)."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """A shift, a rotation, a change of scale and perhaps a mirror: ``z -> factor * z + shift``.

    Points are complex numbers; mirrored, their conjugates are taken first.
    """

    factor: complex
    shift: complex
    mirrored: bool

    def apply(self, points: Points) -> Points:
        """Return where the points go."""
        z = as_complex(points, self.mirrored)
        moved = self.factor * z + self.shift
        return np.stack([moved.real, moved.imag], axis=-1)


def as_complex(points: Points, mirrored: bool = False) -> Complex:
    """Return points as complex numbers, or their conjugates."""
    return np.asarray(points[:, 0] + (-1j if mirrored else 1j) * points[:, 1])


def fit_similarity(seen: Points, true: Points, weight: Floats, mirrored: bool) -> Similarity:
    """Return what brings points onto others, two at least, with least squares.

    Parameters
    ----------
    seen, true : array, shape (n, 2)
        Points, and where they belong.
    weight : array, shape (n,)
        One over the standard deviation.
    mirrored : bool
        Whether it is a mirror image.
    """
    z = as_complex(seen, mirrored)
    design = np.stack([z, np.ones_like(z)], axis=-1) * weight[:, None]
    factor, shift = np.linalg.lstsq(design, as_complex(true) * weight, rcond=None)[0]
    return Similarity(complex(factor), complex(shift), mirrored)
