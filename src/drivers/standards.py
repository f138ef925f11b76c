"""What the stars of the reference catalogue say of a CCD: where it is, and what its fluxes mean."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.solving import Astrometry, Limits, solve
from drivers.astrometry.solving import Measured as Positions
from drivers.configuration.single_frame import AstrometryConfig, PhotometryConfig
from drivers.exposure import Exposure
from drivers.measurement.catalog import Sources
from drivers.results import Table
from drivers.sky_position import make_wcs
from drivers.zero_point import ZeroPoint, in_filter, measure_zero_point

Floats = NDArray[np.float64]

_J2000, _DAYS = 51544.5, 365.25
_MAS = 3_600_000
_SHAKY = 1.0
"""Error of a position [px] for a saturated star or one without any."""


@dataclass(slots=True)
class Standards:
    """What was found.

    Attributes
    ----------
    astrometry : Astrometry or None
        None if the header's world coordinates stand.
    zero_point : ZeroPoint or None
        None if it can't be measured.
    mag, mag_err : array of float64, shape (sources,)
        Reference magnitude [AB] in the exposure's filter of the matched sources, else NaN.
    notes : list of str
        Why there is no astrometry or zero point.
    """

    astrometry: Astrometry | None
    zero_point: ZeroPoint | None
    mag: Floats
    mag_err: Floats
    notes: list[str] = field(default_factory=list)


def at_epoch(reference: Table, mjd: float | None) -> tuple[Floats, Floats]:
    """Return right ascensions and declinations [deg] of reference stars at a date.

    Parameters
    ----------
    reference : structured array of `REFERENCE`
        The stars.
    mjd : float or None
        The date; None for the epoch of the catalogue.
    """
    ra, dec = reference["ra"].astype(np.float64), reference["dec"].astype(np.float64)
    if mjd is None:
        return ra, dec
    years = 2000 + (mjd - _J2000) / _DAYS - reference["epoch"]
    motion = [np.nan_to_num(reference[name] * years / _MAS) for name in ("pm_ra", "pm_dec")]
    return ra + motion[0] / np.maximum(np.cos(np.radians(dec)), 1e-9), dec + motion[1]


def locate(
    exposure: Exposure,
    sources: Sources,
    reference: Table,
    mjd: float | None,
    config: AstrometryConfig,
) -> Astrometry | str:
    """Return where the CCD is on the sky, or why that can't be found out."""
    if not len(reference):
        return "there is no star of the reference near"
    order = np.argsort(-np.nan_to_num(_brightness(sources)), kind="stable")
    stars = sources[order]
    shaky = stars["saturated"] | stars["edge"] | ~np.isfinite(stars["position_err"])
    errors = np.where(shaky, _SHAKY, stars["position_err"]).astype(np.float64)
    ra, dec = at_epoch(reference, mjd)
    bright = np.argsort(np.nan_to_num(reference["mag"], nan=np.inf), kind="stable")
    found = solve(
        make_wcs(exposure.wcs),
        exposure.image.shape,
        Positions(stars["x"], stars["y"], errors),
        ra[bright],
        dec[bright],
        Limits(
            farthest=config.farthest,
            match_radius=config.match_radius,
            scale_tolerance=config.scale_tolerance,
            mirror=config.parity == "any",
            order=config.order,
            floor=config.floor,
            clip=config.clip,
        ),
    )
    if isinstance(found, str):
        return found
    return Astrometry(
        found.cards, order[found.stars], bright[found.reference], found.scatter, found.order
    )


def _brightness(sources: Sources) -> Floats:
    """Return fluxes that tell bright from faint, even of what is saturated."""
    return np.asarray(sources["kron_flux"], dtype=np.float64)


def compare(
    sources: Sources,
    reference: Table,
    astrometry: Astrometry | None,
    filter_name: str,
    config: PhotometryConfig,
) -> Standards:
    """Return what the matched stars say of the zero point."""
    found = Standards(
        astrometry, None, np.full(len(sources), np.nan), np.full(len(sources), np.nan)
    )
    if astrometry is None:
        return found
    matched = reference[astrometry.reference]
    mag = in_filter(matched["mag"], matched["colour"], config.colour_terms.get(filter_name, ()))
    found.mag[astrometry.stars], found.mag_err[astrometry.stars] = mag, matched["mag_err"]
    if not np.isfinite(mag).any():
        found.notes.append(
            f"no zero point: the reference has no magnitudes or colours for filter {filter_name}"
        )
        return found
    colour = np.full(len(sources), np.nan)
    colour[astrometry.stars] = matched["colour"]
    low, high = config.colour_range
    usable = _photometric(sources, config.signal_to_noise)
    usable &= ~((colour < low) | (colour > high))
    found.zero_point = measure_zero_point(
        np.where(usable, sources["psf_flux"], np.nan),
        sources["psf_flux_err"],
        found.mag,
        found.mag_err,
        floor=config.scatter_floor,
    )
    if found.zero_point is None:
        found.notes.append("no zero point: too few matched stars are bright enough and whole")
    return found


def _photometric(sources: Sources, signal_to_noise: float) -> NDArray[np.bool_]:
    bad = sources["edge"] | sources["saturated"] | sources["cosmic_ray"]
    bright = sources["psf_flux"] >= signal_to_noise * sources["psf_flux_err"]
    return np.asarray(bright & ~bad)
