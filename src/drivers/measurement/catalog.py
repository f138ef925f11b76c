"""The columns of a CCD's catalogue of sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Sources = NDArray[Any]
"""A structured array: one row per source, the columns of `source_columns`."""

FLAGS = ("edge", "saturated", "cosmic_ray", "interpolated", "deblended")
"""Columns which warn: at the image's edge or at pixels without data; saturated pixels, a cosmic ray
or filled pixels in the source; a part of a blend."""


def source_columns(n_apertures: int) -> np.dtype[Any]:
    """Return the columns of a catalogue with this many apertures."""
    return np.dtype(
        [
            ("id", "i4"), ("x", "f8"), ("y", "f8"), ("position_err", "f4"), ("ra", "f8"),
            ("dec", "f8"), ("psf_flux", "f8"), ("psf_flux_err", "f4"),
            ("flux", "f4", (n_apertures,)), ("flux_err", "f4", (n_apertures,)),
            ("kron_flux", "f4"), ("kron_flux_err", "f4"), ("kron_radius", "f4"),
            ("peak", "f4"), ("a", "f4"), ("b", "f4"), ("theta", "f4"), ("fwhm", "f4"),
            ("star", "?"), ("psf_star", "?"), *((name, "?") for name in FLAGS),
            ("n_pixels", "i4"), ("mask", "i4"), ("flags", "i4"),
            ("reference", "i8"), ("reference_mag", "f4"),
        ]
    )  # fmt: skip


def source_units(flux: str) -> dict[str, str]:
    """Return the units of the columns that have one; fluxes are in the image's unit."""
    return {
        "x": "pixel", "y": "pixel", "position_err": "pixel", "ra": "deg", "dec": "deg",
        "psf_flux": flux, "psf_flux_err": flux, "flux": flux, "flux_err": flux,
        "kron_flux": flux, "kron_flux_err": flux, "kron_radius": "pixel", "peak": flux,
        "a": "pixel", "b": "pixel", "theta": "rad", "fwhm": "pixel", "reference_mag": "mag",
    }  # fmt: skip
