"""The steps from a frame as it was read to an image on which everything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.calibration import apply_response, subtract_fringes
from drivers.configuration.single_frame import SingleFrameConfig
from drivers.cosmic_rays import find_cosmic_rays
from drivers.exposure import NOT_SKY, UNUSABLE, Exposure, Image, bit
from drivers.interpolation import fill_gaps
from drivers.measurement.measuring import Measured, look, measure
from drivers.sky_mesh import Sky, subtract_sky


@dataclass(frozen=True, slots=True)
class Reduced:
    """A CCD whose image is done.

    Attributes
    ----------
    exposure : Exposure
        Without sky; bad pixels and cosmic rays marked and, where that is possible, filled.
    sky : Sky
        What was subtracted.
    measured : Measured
        Its sources.
    n_cosmic_rays : int
        Pixels hit by cosmic rays.
    """

    exposure: Exposure
    sky: Sky
    measured: Measured
    n_cosmic_rays: int


def reduce_ccd(
    exposure: Exposure,
    frames: Mapping[str, Image],
    exptime: float | None,
    config: SingleFrameConfig,
) -> Reduced:
    """Take the detector and the sky off the image, and measure its sources.

    Parameters
    ----------
    exposure : Exposure
        As it was read: gain applied, overscan subtracted. It is changed.
    frames : Mapping of str to array of float32
        Calibration frames by kind: bias, dark, flat, fringe, defects.
    exptime : float or None
        Exposure time [s].
    config : SingleFrameConfig
        The numbers of the processing.
    """
    _prepare(exposure, frames, exptime, config)
    sky = _subtract_sky(exposure, config, None)
    if "fringe" in frames:
        subtract_fringes(exposure, frames["fringe"], sky.covered)
    fwhm = look(exposure, sky.noise or 0.0, config).seeing.fwhm
    n_rays = _take_out_rays(exposure, fwhm or 0.0, config)
    sky = _subtract_sky(exposure, config, sky)
    measured = measure(exposure, sky.noise or 0.0, fwhm or _WIDTH, config)
    if measured.seeing.reason:
        exposure.notes.append(f"no seeing: {measured.seeing.reason}")
    return Reduced(exposure, sky, measured, n_rays)


_WIDTH = 3.0
"""Width of a star [px] where the seeing can't be measured."""


def _prepare(
    exposure: Exposure,
    frames: Mapping[str, Image],
    exptime: float | None,
    config: SingleFrameConfig,
) -> None:
    apply_response(exposure, dict(frames), exptime, config.signature.lowest_flat)
    exposure.clear_unmeasured()
    _fill(exposure, config.signature.longest_gap)


def _subtract_sky(exposure: Exposure, config: SingleFrameConfig, before: Sky | None) -> Sky:
    sky = config.sky
    return subtract_sky(
        exposure, cell=sky.cell, threshold=sky.source_threshold, grow=sky.grow, before=before
    )


def _fill(exposure: Exposure, longest: int) -> None:
    """Interpolate what measures nothing, where the gap is narrow."""
    bad = exposure.has(UNUSABLE) & ~exposure.has(bit("INTRP"))
    # No line is drawn to a saturated pixel: it is no measurement either.
    filled = fill_gaps(exposure.image, bad | exposure.has(bit("SAT")), longest) & bad
    exposure.mark(filled, "INTRP")


def _take_out_rays(exposure: Exposure, fwhm: float, config: SingleFrameConfig) -> int:
    """Find cosmic rays, mark and fill them; return how many pixels they are."""
    exposure.mask[...] &= ~bit("DETECTED")  # by a first look, at stars and rays alike
    rays = config.cosmic_rays
    if not rays.find:
        return 0
    found = find_cosmic_rays(
        exposure.image,
        exposure.variance,
        exposure.has(NOT_SKY),
        fwhm=max(fwhm, rays.smallest_fwhm),
        threshold=rays.threshold,
        sharpness=rays.sharpness,
    )
    exposure.mark(found, "CR")
    _fill(exposure, config.signature.longest_gap)
    return int(found.sum())
