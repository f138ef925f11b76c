"""Finds and measures the sources of a CCD, and the point spread function which that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.configuration.single_frame import SingleFrameConfig
from drivers.exposure import NOT_SKY, UNUSABLE, Exposure, Flags, bit
from drivers.measurement.apertures import measure_apertures, measure_kron
from drivers.measurement.catalog import Sources, source_columns
from drivers.measurement.detection import find_sources
from drivers.measurement.psf_flux import Pixels, PsfFluxes, fit_fluxes
from drivers.measurement.psf_stars import choose_psf_stars
from drivers.psf_fitting import PsfFit, fit_psf
from drivers.psf_model import evaluate
from drivers.seeing import Seeing, measure_seeing
from drivers.wings import Wings

Floats = NDArray[np.float64]

_SIGMA_TO_FWHM = 2.3548
_MOVABLE = 5.0
"""Signal-to-noise ratio from which on the fit moves a source."""

_BLURRED = 3.0
"""Width [px] of the smoothing where the seeing is not known."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found on a CCD.

    Attributes
    ----------
    sources : Sources
        The catalogue, in the order of detection.
    seeing : Seeing
        Width of the stars.
    psf : PsfFit or None
        None where there are no stars.
    """

    sources: Sources
    seeing: Seeing
    psf: PsfFit | None


def look(exposure: Exposure, noise: float, config: SingleFrameConfig) -> Measured:
    """Find sources and the seeing, as a first look; nothing is known of the stars' width."""
    sources = _found(exposure, noise, _BLURRED, config)
    seeing = measure_seeing(exposure, sources, min_signal_to_noise=config.seeing_signal_to_noise)
    return Measured(sources, seeing, None)


def measure(exposure: Exposure, noise: float, fwhm: float, config: SingleFrameConfig) -> Measured:
    """Find the sources, measure them, and the seeing and the point spread function.

    Parameters
    ----------
    exposure : Exposure
        Sky-subtracted, cosmic rays marked; its mask gets the plane DETECTED.
    noise : float
        Standard deviation of a pixel of the sky [unit].
    fwhm : float
        Width of the stars [px], nearly.
    config : SingleFrameConfig
        The numbers of the processing.
    """
    sources = _found(exposure, noise, fwhm, config)
    seeing = measure_seeing(exposure, sources, min_signal_to_noise=config.seeing_signal_to_noise)
    psf = _measure_psf(exposure, sources, seeing, config)
    blank = _blank(exposure)
    measure_apertures(exposure, sources, blank, config.photometry.apertures)
    measure_kron(exposure, sources, blank)
    return Measured(sources, seeing, psf)


def _blank(exposure: Exposure) -> Flags:
    """Return which pixels have no value, measured or interpolated."""
    return exposure.has(UNUSABLE) & ~exposure.has(bit("INTRP"))


def _found(exposure: Exposure, noise: float, fwhm: float, config: SingleFrameConfig) -> Sources:
    radii = config.photometry.apertures
    if not noise > 0:
        return np.zeros(0, dtype=source_columns(len(radii)))
    blank = _blank(exposure)
    sources = find_sources(
        exposure, blank, config.detection, noise=noise, fwhm=fwhm, n_apertures=len(radii)
    )
    sources["psf_flux"] = sources["psf_flux_err"] = sources["position_err"] = np.nan
    sources["reference"], sources["reference_mag"] = -1, np.nan
    _centre(exposure, sources, fwhm)
    measure_apertures(exposure, sources, blank, radii)
    return sources


def _centre(exposure: Exposure, sources: Sources, fwhm: float) -> None:
    """Give the sources windowed centroids, where these are near the middle of their pixels."""
    if not len(sources):
        return
    x, y, flags = sep.winpos(
        exposure.image, sources["x"], sources["y"], fwhm / _SIGMA_TO_FWHM, mask=_blank(exposure)
    )
    moved = np.hypot(x - sources["x"], y - sources["y"])
    good = (flags & sep.APER_ALLMASKED == 0) & (moved < fwhm) & np.isfinite(moved)
    sources["x"][good], sources["y"][good] = x[good], y[good]


def _measure_psf(
    exposure: Exposure, sources: Sources, seeing: Seeing, config: SingleFrameConfig
) -> PsfFit | None:
    """Make the point spread function and fit it to all sources, twice.

    The second time the stars' neighbours are known, and taken off.
    """
    chosen = choose_psf_stars(
        sources, signal_to_noise=config.psf.signal_to_noise, most=config.psf.most_stars
    )
    if seeing.fwhm is None:
        return None
    if not len(chosen):
        exposure.notes.append("no point spread function: no star is bright enough and whole")
        return None
    pixels = Pixels(exposure.image, exposure.variance, ~exposure.has(NOT_SKY))
    movable = sources["flux"][:, 0] > _MOVABLE * sources["flux_err"][:, 0]
    stamps = pixels.around(sources["x"][chosen], sources["y"][chosen])
    order, shape = config.psf.order, exposure.image.shape
    fit = fit_psf(stamps, Wings(seeing.fwhm), shape, order)
    fluxes = fit_fluxes(pixels, fit.psf, sources["x"], sources["y"], movable)
    fit = _again(pixels, fluxes, fit, chosen, order)
    fluxes = fit_fluxes(pixels, fit.psf, fluxes.x, fluxes.y, movable)
    _take_over(sources, fluxes, movable, seeing.fwhm)
    sources["psf_star"][chosen[fit.kept]] = True
    return fit


def _again(
    pixels: Pixels, fluxes: PsfFluxes, fit: PsfFit, chosen: NDArray[np.intp], order: int
) -> PsfFit:
    """Make the function from the same stars without their neighbours."""
    x, y = fluxes.x[chosen], fluxes.y[chosen]
    rest = replace(pixels, image=pixels.image - fluxes.model).around(x, y)
    own = evaluate(fit.psf, x, y) * np.nan_to_num(fluxes.flux[chosen])[:, None, None]
    alone = replace(rest, values=np.where(rest.usable, rest.values + own, 0.0))
    return fit_psf(alone, fit.wings, fit.psf.shape, order)


def _take_over(sources: Sources, fluxes: PsfFluxes, movable: Flags, fwhm: float) -> None:
    """Put the fit's fluxes into the catalogue, and its positions where they are believable."""
    sources["psf_flux"], sources["psf_flux_err"] = fluxes.flux, fluxes.flux_err
    sources["position_err"] = fluxes.position_err
    moved = np.hypot(fluxes.x - sources["x"], fluxes.y - sources["y"])
    good = movable & (moved < fwhm / 2) & (fluxes.flux > 0)
    sources["x"][good], sources["y"][good] = fluxes.x[good], fluxes.y[good]
