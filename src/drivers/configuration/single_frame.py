"""The configuration of single-frame processing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drivers.configuration.section import Section

Radius = Annotated[float, Field(gt=0, le=200)]


class SignatureConfig(Section):
    """Taking the detector's signature off."""

    overscan_order: int = Field(1, ge=0, le=5)
    """Order of the polynomial along the columns that is fitted to each amplifier's overscan."""
    grow_saturated: int = Field(1, ge=0, le=20)
    """Pixels by which saturated areas of a raw frame are grown."""
    lowest_flat: float = Field(0.1, gt=0, lt=1)
    """Relative response below which a pixel of the flat is taken for bad."""
    longest_gap: int = Field(12, ge=0, le=1000)
    """Bad pixels in a row or column [px] which are still interpolated."""


class CosmicRayConfig(Section):
    """Finding cosmic rays: what is sharper than the point spread function."""

    find: bool = True
    """Whether to look for them."""
    threshold: float = Field(6.0, ge=3, le=100)
    """Standard deviations above the sky from which on a pixel can be one."""
    sharpness: float = Field(0.6, gt=0, le=1)
    """Neighbours below this part of what a star's would be make it one."""
    smallest_fwhm: float = Field(1.8, ge=1, le=20)
    """Seeing [px] that is assumed where it can't be measured."""


class SkyConfig(Section):
    """Measuring the sky."""

    cell: int = Field(128, ge=16, le=4096)
    """Side of the squares in which it is measured [px]."""
    source_threshold: float = Field(3.5, ge=1, le=100)
    """Standard deviations of the smoothed image above which a pixel is no sky."""
    grow: int = Field(6, ge=0, le=100)
    """Pixels by which sources are grown before the sky is measured without them."""


class DetectionConfig(Section):
    """Finding sources."""

    threshold: float = Field(5.0, ge=0.5, le=1000)
    """Standard deviations of the image, smoothed with a star's profile, that make a source."""
    min_pixels: int = Field(5, ge=1, le=10_000)
    """Connected pixels above the threshold that make a source."""
    deblend_levels: int = Field(32, ge=1, le=256)
    """Levels between threshold and peak at which a source is looked at for being several."""
    deblend_contrast: float = Field(0.003, ge=0, le=1)
    """Part of a blend's flux that makes a source of its own; 1 turns deblending off."""


class PsfConfig(Section):
    """Modelling the point spread function."""

    signal_to_noise: float = Field(40.0, ge=5, le=10_000)
    """Of the stars it is made from."""
    most_stars: int = Field(150, ge=3, le=10_000)
    """The brightest so many are used."""
    order: int = Field(2, ge=0, le=2)
    """Highest order of its polynomial over the CCD; fewer stars allow less."""


class PhotometryConfig(Section):
    """Measuring fluxes, and what they mean."""

    apertures: tuple[Radius, ...] = (3.0, 5.0, 8.0, 12.0)
    """Radii of the circular apertures [px]."""
    colour_terms: dict[str, tuple[float, ...]] = Field(default={})
    """By filter: magnitude in the filter = reference's magnitude + sum of term[k] * colour**k.

    The colour is the one that comes with the reference star. The first term is a constant [mag].
    """
    colour_range: tuple[float, float] = (-1.0, 4.0)
    """Colours [mag] for which the colour terms hold."""
    signal_to_noise: float = Field(20.0, ge=3, le=10_000)
    """Of the stars for the zero point."""
    scatter_floor: float = Field(0.01, ge=0, le=1)
    """Scatter of a star's magnitude [mag] besides what its errors say."""


class AstrometryConfig(Section):
    """Finding out where the CCD is on the sky."""

    farthest: float = Field(60.0, gt=0, le=3600)
    """How far the header's position may be off [arcsec]."""
    scale_tolerance: float = Field(0.02, gt=0, le=0.2)
    """How much the header's scale may be off, relatively."""
    parity: Literal["header", "any"] = "any"
    """Whether a mirrored image is tried where the header's own parity fits nothing."""
    match_radius: float = Field(1.0, gt=0, le=60)
    """Largest distance [arcsec] of a star from its reference star in the end."""
    order: int = Field(3, ge=1, le=4)
    """Highest order of the correction to the header; fewer matches allow less."""
    floor: float = Field(5.0, gt=0, le=1000)
    """Error of any position [mas] besides what its noise says."""
    clip: float = Field(4.0, ge=2, le=20)
    """Standard deviations beyond which a match is not used."""


class SingleFrameConfig(Section):
    """From a raw frame to a calibrated image."""

    signature: SignatureConfig = SignatureConfig()
    """Taking the detector's signature off."""
    cosmic_rays: CosmicRayConfig = CosmicRayConfig()
    """Finding cosmic rays."""
    sky: SkyConfig = SkyConfig()
    """Measuring the sky."""
    detection: DetectionConfig = DetectionConfig()
    """Finding sources."""
    seeing_signal_to_noise: float = Field(25.0, ge=3, le=10_000)
    """Signal-to-noise ratio from which on a source can be a star of the seeing's measurement."""
    psf: PsfConfig = PsfConfig()
    """Modelling the point spread function."""
    photometry: PhotometryConfig = PhotometryConfig()
    """Measuring fluxes."""
    astrometry: AstrometryConfig = AstrometryConfig()
    """Finding out where the CCD is on the sky."""
