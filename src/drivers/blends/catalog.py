"""The columns of the catalogues of patches."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "flag_edge": "some pixels near the source have no data",
        "flag_saturated": "saturated in its core",
        "flag_interpolated": "its core has pixels which no input measured well",
        "flag_clipped": "something was rejected in its core",
        "flag_inexact_psf": "its core has pixels with different inputs, or without its PSF's",
        "flag_psf": "no PSF flux",
        "flag_kron": "no Kron flux",
        "flag_shape": "no moments",
        "flag_blended": "its footprint has several sources",
        "flag_skipped": "its footprint is too large to be deblended: measured as one source",
    }
)
"""Column to what it says where it is true."""


def measurement_type(apertures: int) -> np.dtype[Any]:
    """Return the type of a row, with so many apertures."""
    return np.dtype(
        [
            ("id", "i8"), ("parent", "i8"), ("n_peaks", "i4"), ("area", "i4"), ("bands", "i4"),
            ("x", "f8"), ("y", "f8"), ("x_err", "f4"), ("y_err", "f4"), ("ra", "f8"), ("dec", "f8"),
            ("psf_flux", "f8"), ("psf_flux_err", "f8"), ("psf_fwhm", "f4"),
            ("aperture_flux", "f8", (apertures,)), ("aperture_flux_err", "f8", (apertures,)),
            ("aperture_fraction", "f4", (apertures,)),
            ("kron_flux", "f8"), ("kron_flux_err", "f8"), ("kron_radius", "f4"),
            ("a", "f4"), ("b", "f4"), ("theta", "f4"),
            ("xx", "f4"), ("yy", "f4"), ("xy", "f4"),
            ("psf_xx", "f4"), ("psf_yy", "f4"), ("psf_xy", "f4"), ("extendedness", "f4"),
            *((name, "?") for name in FLAGS),
        ]
    )  # fmt: skip


UNITS: Mapping[str, str] = MappingProxyType(
    {
        "area": "pixel", "x": "pixel", "y": "pixel", "x_err": "pixel", "y_err": "pixel",
        "ra": "deg", "dec": "deg", "psf_flux": "nJy", "psf_flux_err": "nJy", "psf_fwhm": "pixel",
        "aperture_flux": "nJy", "aperture_flux_err": "nJy", "kron_flux": "nJy",
        "kron_flux_err": "nJy", "a": "pixel", "b": "pixel", "theta": "rad", "xx": "pixel2",
        "yy": "pixel2", "xy": "pixel2", "psf_xx": "pixel2", "psf_yy": "pixel2",
        "psf_xy": "pixel2",
    }
)  # fmt: skip
"""Units of the columns which have one. A kron_radius is in units of the ellipse a, b, theta; the
aperture_fraction is the part of a star's flux within the aperture."""


def flag_keywords() -> dict[str, tuple[str, str]]:
    """Return header cards which say what the flags mean."""
    return {f"FLAG{n}": (name, said) for n, (name, said) in enumerate(FLAGS.items(), start=1)}
