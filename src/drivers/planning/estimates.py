"""What tasks are expected to take before any was recorded: from image sizes and input counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.planning.stages import DETECT, FORCED, MEASURE, Stage

BASE: Final = 300e6
"""Bytes of a process with what the stages import, before it has read anything."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one task takes.

    Attributes
    ----------
    seconds : float
        Of one core.
    memory : float
        Bytes.
    """

    seconds: float
    memory: float


def single_frame(pixels: float) -> Estimate:
    """Of a CCD with so many pixels."""
    return Estimate(1.5e-6 * pixels, BASE + 150 * pixels)


def of_visit(ccds: float) -> Estimate:
    """Of what is solved for a visit of so many CCDs."""
    return Estimate(0.05 + 0.01 * ccds, BASE + 1e6 * ccds)


def mosaic(ccds: float) -> Estimate:
    """Of a tract's solution of so many CCDs."""
    return Estimate(0.2 + 0.02 * ccds, BASE + 2e6 * ccds)


def coadd(pixels: float, visits: float) -> Estimate:
    """Of a patch with so many pixels: it holds the warps of all its visits."""
    return Estimate((visits + 2) * 1e-6 * pixels, BASE + (24 * visits + 60) * pixels)


def on_patch(stage: Stage, pixels: float) -> Estimate:
    """Of what is done on a coadd."""
    rates = {DETECT: 5e-7, MEASURE: 5e-6, FORCED: 2e-6}
    return Estimate(rates.get(stage, 0.0) * pixels + 0.1, BASE + 150 * pixels)


def forced_visit(ccds: float, pixels: float) -> Estimate:
    """Of a visit whose CCDs are measured where the coadds say."""
    return Estimate(0.1 * ccds, BASE + 60 * pixels)
