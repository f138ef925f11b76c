"""Measures fluxes in apertures: circles, and ellipses as large as the source (Kron's)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sep

from drivers.exposure import Exposure, Flags
from drivers.measurement.catalog import Sources

_KRON_REACH = 6.0
"""Axes of the ellipse in which Kron's radius is measured."""

_KRON_FACTOR, _KRON_LEAST = 2.5, 3.5
"""Kron radii that the ellipse has, and the least of its semi-axis [px]."""

_LEAST_AXIS = 0.5


def measure_apertures(
    exposure: Exposure, sources: Sources, blank: Flags, radii: Sequence[float]
) -> None:
    """Set the sources' `flux`, `flux_err` and the bits of `flags`; `x` and `y` are the centres."""
    if not len(sources):
        return
    for index, radius in enumerate(radii):
        flux, error, flags = sep.sum_circle(
            exposure.image,
            sources["x"],
            sources["y"],
            radius,
            var=exposure.variance,
            mask=blank,
        )
        sources["flux"][:, index] = flux
        sources["flux_err"][:, index] = error
        sources["flags"] |= flags.astype(np.int32)


def measure_kron(exposure: Exposure, sources: Sources, blank: Flags) -> None:
    """Set the sources' `kron_flux`, `kron_flux_err` and `kron_radius` [px, along the axis `a`]."""
    if not len(sources):
        return
    a, b, theta = (np.nan_to_num(sources[name].astype(np.float64)) for name in ("a", "b", "theta"))
    a = np.maximum(a, _LEAST_AXIS)
    b = np.clip(b, _LEAST_AXIS, a)
    theta = np.clip(theta, -np.pi / 2, np.pi / 2)
    place = exposure.image, sources["x"], sources["y"]
    radius, _ = sep.kron_radius(*place, a, b, theta, _KRON_REACH, mask=blank)
    # No source is larger than where its radius was looked for.
    radius = np.clip(np.nan_to_num(radius), 1.0, _KRON_REACH / _KRON_FACTOR)
    scale = np.maximum(_KRON_FACTOR * radius, _KRON_LEAST / np.sqrt(a * b))
    flux, error, _ = sep.sum_ellipse(
        *place, a, b, theta, scale, var=exposure.variance, mask=blank, subpix=1
    )
    sources["kron_flux"], sources["kron_flux_err"] = flux, error
    sources["kron_radius"] = scale * a
