"""The configuration of the stages that make coadds and catalogues of patches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from drivers.configuration.section import Section

Radius = Annotated[float, Field(gt=0, le=200)]


class WarpConfig(Section):
    """Resampling a visit to the pixels of a patch."""

    least_coverage: float = Field(0.0, ge=0, lt=1)
    """Part of the patch that a visit must cover to be used."""


class CoaddConfig(Section):
    """Adding up the visits of a patch."""

    clip_sigma: float = Field(5.0, ge=2, le=100)
    """Standard deviations by which a pixel must differ from the other visits to be rejected."""
    clip_fraction: float = Field(0.3, ge=0, le=10)
    """And the part of the others' value by which it must, since seeing changes stars' cores."""


class DetectConfig(Section):
    """Finding sources on coadds."""

    threshold: float = Field(5.0, ge=1, le=1000)
    """Standard deviations of the image, smoothed with a star's width, that make a source."""
    min_pixels: int = Field(1, ge=1, le=10_000)
    """Connected pixels above the threshold that make a source."""
    prominence: float = Field(5.0, ge=0, le=1000)
    """Standard deviations by which a peak must rise above its surroundings to be a source."""
    prominence_fraction: float = Field(0.03, ge=0, le=1)
    """And the part of its own height by which it must."""
    sky_cell: int = Field(256, ge=32, le=4096)
    """Side of the squares in which what is left of the sky is measured [px]."""


class MergeDetectionsConfig(Section):
    """Merging what was found in several bands."""

    bands: tuple[str, ...] = ("i", "r", "z", "y", "g")
    """Filters by priority: the first that shows a peak says where it is. Others follow by name."""
    match_radius: float = Field(0.7, gt=0, le=10)
    """Peaks of two bands that are nearer than this are one [of the full width at half maximum]."""


class DeblendConfig(Section):
    """Dividing blends among their sources."""

    max_area: int = Field(50_000, ge=10)
    """Footprints of several sources with more pixels are measured as one source, and flagged."""


class MeasureConfig(Section):
    """Measuring sources on a coadd."""

    apertures: tuple[Radius, ...] = (3.0, 5.0, 8.0, 12.0)
    """Radii of the circular apertures [px]."""
    kron_factor: float = Field(2.5, gt=0, le=10)
    """Kron radii within which the Kron flux is."""
    deblend: DeblendConfig = DeblendConfig()
    """Dividing blends."""
    scatter_cost: float = Field(2000.0, ge=0)
    """Sources in a patch (a blend of n counts n**1.5) from which on its blends are scattered over
    several ranks."""


class MergeMeasurementsConfig(Section):
    """Choosing for each source the band which says where it is and what its shape is."""

    least_snr: float = Field(5.0, ge=0, le=1000)
    """Signal-to-noise ratio of the PSF flux that a band needs to be taken by its priority; where no
    band has it the one with the highest ratio is taken."""


class ForcedConfig(Section):
    """Measuring on a coadd at the places and in the ellipses of the reference band."""

    apertures: tuple[Radius, ...] = (3.0, 5.0, 8.0, 12.0)
    """Radii of the circular apertures [px]."""
    kron_factor: float = Field(2.5, gt=0, le=10)
    """Kron radii within which the Kron flux is."""
    scatter_cost: float = Field(4000.0, ge=0)
    """As in `measure`."""


class ForcedCcdConfig(Section):
    """Measuring on single frames at the places of the reference band."""

    aperture: float = Field(6.0, gt=0, le=200)
    """Radius of the circular aperture [px]."""
    scatter_ccds: int = Field(4, ge=1)
    """CCDs in a visit from which on they are scattered over several ranks."""
