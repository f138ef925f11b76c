"""Measures the sources of a blend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.blends.catalog import measurement_type
from drivers.blends.cutting import Blend
from drivers.blends.deblending import divide
from drivers.blends.psf_fit import Field, Point, draw, fit_fluxes
from drivers.blends.psf_positions import fit_positions
from drivers.blends.shapes import Moments, adaptive_moments
from drivers.coaddition.psf import CoaddPsf, aperture_fractions, moment_width
from drivers.exposure import bit
from drivers.results import PsfInput, Table
from drivers.sky_position import make_wcs, sky_positions

Floats = NDArray[np.float64]
Ellipse = tuple[float, float, float, float]
"""Half axes [px], angle [rad], Kron radius [of the ellipse]."""

_CORE = 2
"""Pixels around a source's position which are its core."""

_GAUSSIAN_FWHM = 2.3548
_LEAST_KRON, _MOST_KRON = 1.4, 5.0
"""Kron radii which can be: those of a star are about 1.3 to 1.6 widths with a Gaussian's wings."""

_STAMP_AROUND = 6.0
"""Half axes within which the Kron radius is measured."""


@dataclass(frozen=True, slots=True)
class How:
    """How sources are measured.

    Attributes
    ----------
    apertures : tuple of float
        Radii [px].
    kron_factor : float
        Kron radii within which the Kron flux is.
    ellipses : Mapping of int to Ellipse, or None
        By id: what the Kron flux is measured in. None where positions and ellipses are measured.
    """

    apertures: tuple[float, ...]
    kron_factor: float
    ellipses: Mapping[int, Ellipse] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A source's light, the variance there, and the column and row where it is."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    place: Floats


class Measurer:
    """Measures blends.

    Parameters
    ----------
    inputs : sequence of PsfInput
        Of the coadd.
    patch_wcs : dict
        Cards of the patch's pixels.
    how : How
        What is measured.
    """

    def __init__(self, inputs: Sequence[PsfInput], patch_wcs: dict[str, Any], how: How) -> None:
        self.how = how
        self._psf = CoaddPsf(inputs, patch_wcs)
        self._wcs = make_wcs(patch_wcs)
        # The stamps are kept here too, so that an id is never another's.
        self._stars: dict[int, tuple[Floats, Moments | None]] = {}

    def __call__(self, blend: Blend) -> Table:
        """Return the rows of the blend's sources."""
        rows = np.zeros(len(blend.ids), measurement_type(len(self.how.apertures)))
        if not len(rows):
            return rows
        rows["id"], rows["parent"], rows["bands"] = blend.ids, blend.parents, blend.bands
        rows["n_peaks"], rows["area"] = blend.n_peaks, blend.area
        rows["flag_blended"], rows["flag_skipped"] = blend.n_peaks > 1, blend.skipped
        stamps = self._psf.stamps(blend.x, blend.y)
        places, points = self._fit(rows, blend, stamps)
        rows["x"], rows["y"] = places[:, 0] + blend.x0, places[:, 1] + blend.y0
        rows["ra"], rows["dec"] = sky_positions(self._wcs, rows["x"], rows["y"])
        shares = divide(blend.planes.image, blend.inside, points, rows["psf_flux"], places)
        for row, place, share, stamp in zip(rows, places, shares, stamps, strict=True):
            _mark(row, blend, place)
            part = share.place
            source = Source(
                share.image,
                np.ascontiguousarray(blend.planes.variance[part]),
                place - (part[1].start, part[0].start),
            )
            self._measure(row, source, stamp)
        return rows

    def _fit(
        self, rows: Table, blend: Blend, stamps: Sequence[Floats | None]
    ) -> tuple[Floats, list[Point]]:
        """Fit positions, if they aren't given, and fluxes of the sources as stars."""
        places = np.stack([blend.x - blend.x0, blend.y - blend.y0], axis=1)
        shape = (blend.inside.shape[0], blend.inside.shape[1])
        nothing = np.zeros((1, 1))
        filled = [nothing if stamp is None else stamp for stamp in stamps]
        usable = ((blend.planes.mask & bit("NO_DATA", "SAT")) == 0) & ~blend.others
        pixels = Field(blend.planes.image, blend.planes.variance, usable)
        errors = np.full(places.shape, np.nan)
        if self.how.ellipses is None and not blend.skipped:
            places, errors = fit_positions(pixels, filled, places)
        rows["x_err"], rows["y_err"] = errors.T
        points = [draw(stamp, place, shape) for stamp, place in zip(filled, places, strict=True)]
        rows["psf_flux"], rows["psf_flux_err"] = fit_fluxes(pixels, points)
        rows["flag_psf"] = ~np.isfinite(rows["psf_flux"])
        return places, points

    def _measure(self, row: Any, source: Source, stamp: Floats | None) -> None:
        star = None if stamp is None else self._star(stamp)
        radii = np.array(self.how.apertures)
        x, y = (np.full(len(radii), one) for one in source.place)
        flux, error, _ = sep.sum_circle(source.image, x, y, radii, var=source.variance, subpix=5)
        row["aperture_flux"], row["aperture_flux_err"] = flux, error
        if stamp is not None:
            dx, dy = source.place - np.rint(source.place)
            row["aperture_fraction"] = aperture_fractions(stamp, radii.tolist(), dx, dy)
        else:
            row["aperture_fraction"] = np.nan
        start = np.sqrt(star.trace / 2) if star else 2.0
        row["psf_fwhm"] = _GAUSSIAN_FWHM * start if star else np.nan
        _put(row, "psf_", star)
        moments = adaptive_moments(source.image, source.place, start)
        _put(row, "", moments)
        row["flag_shape"] = moments is None
        row["extendedness"] = _extendedness(row, moments, star)
        shape = moments or star or Moments(start**2, start**2, 0.0)
        self._kron(row, source, shape)

    def _star(self, stamp: Floats) -> Moments | None:
        """Return the moments of a star; the same stamp serves many sources."""
        if id(stamp) not in self._stars:
            middle = np.array(stamp.shape)[::-1] // 2
            self._stars[id(stamp)] = stamp, adaptive_moments(stamp, middle, moment_width(stamp))
        return self._stars[id(stamp)][1]

    def _kron(self, row: Any, source: Source, moments: Moments) -> None:
        if self.how.ellipses is None:
            ellipse = (*moments.ellipse(), 0.0)
            radius = _kron_radius(source, ellipse)
        else:
            ellipse = self.how.ellipses[int(row["id"])]
            radius = ellipse[3]
        a, b, theta, _ = ellipse
        row["a"], row["b"], row["theta"], row["kron_radius"] = a, b, theta, radius
        row["flag_kron"] = not np.isfinite(radius)
        row["kron_flux"] = row["kron_flux_err"] = np.nan
        if np.isfinite(radius):
            limit = self.how.kron_factor * radius
            flux, error, _ = sep.sum_ellipse(
                source.image,
                *_arrays(source.place, a, b, theta, limit),
                var=source.variance,
                subpix=5,
            )
            row["kron_flux"], row["kron_flux_err"] = flux[0], error[0]


def _arrays(place: Floats, a: float, b: float, theta: float, limit: float) -> list[Floats]:
    """Return an ellipse as sep takes it: arrays, and an angle that rounding took beyond none."""
    angle = float(np.clip(theta, -np.pi / 2, np.pi / 2))
    return [np.array([float(one)]) for one in (*place, a, b, angle, limit)]


def _kron_radius(source: Source, ellipse: Ellipse) -> float:
    radius, flag = sep.kron_radius(
        source.image, *_arrays(source.place, *ellipse[:3], _STAMP_AROUND)
    )
    if not np.isfinite(radius[0]) or radius[0] <= 0 or flag[0] & sep.APER_NONPOSITIVE:
        return float("nan")
    return float(np.clip(radius[0], _LEAST_KRON, _MOST_KRON))


def _put(row: Any, prefix: str, moments: Moments | None) -> None:
    for name in ("xx", "yy", "xy"):
        row[prefix + name] = np.nan if moments is None else getattr(moments, name)


def _extendedness(row: Any, moments: Moments | None, star: Moments | None) -> float:
    """Return 1 for what is larger than a star, beyond the noise, else 0; NaN if unknown."""
    if moments is None or star is None or not row["psf_flux_err"] > 0:
        return float("nan")
    noise = 2 * row["psf_flux_err"] / max(row["psf_flux"], row["psf_flux_err"])
    return float(moments.trace / star.trace - 1 > max(0.1, 3 * noise))


def _mark(row: Any, blend: Blend, place: Floats) -> None:
    """Set the flags which the pixels around a source call for."""
    column, row_number = round(float(place[0])), round(float(place[1]))
    core = (
        slice(max(0, row_number - _CORE), row_number + _CORE + 1),
        slice(max(0, column - _CORE), column + _CORE + 1),
    )
    mask, count = blend.planes.mask[core], blend.planes.count[core]
    found = int(np.bitwise_or.reduce(mask, axis=None)) if mask.size else bit("NO_DATA")
    row["flag_edge"] = found & bit("NO_DATA", "EDGE")
    row["flag_saturated"] = found & bit("SAT")
    row["flag_interpolated"] = found & bit("INTRP", "BAD", "CR")
    row["flag_clipped"] = found & bit("CLIPPED")
    row["flag_inexact_psf"] = not count.size or count.min() != count.max()


def measure_blends(
    blends: Iterable[Blend], inputs: Sequence[PsfInput], patch_wcs: dict[str, Any], how: How
) -> Table:
    """Return the rows of the sources of several blends: what a task of a scatter does."""
    measurer = Measurer(inputs, patch_wcs, how)
    none = np.zeros(0, measurement_type(len(how.apertures)))
    return np.concatenate([none, *(measurer(blend) for blend in blends)])
