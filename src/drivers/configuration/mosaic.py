"""The configuration of the stage that solves all exposures of a tract together."""

from __future__ import annotations

from pydantic import Field

from drivers.configuration.section import Section


class MosaicConfig(Section):
    """One solution for all exposures of a tract in a filter."""

    match_radius: float = Field(0.5, gt=0, le=10)
    """Distance [arcsec] within which stars of two exposures are the same."""
    order: int = Field(4, ge=0, le=5)
    """Order of the polynomial which corrects each exposure's positions; fewer stars allow less."""
    ccd_order: int = Field(2, ge=0, le=4)
    """Order of the polynomial over each CCD that all exposures have in common."""
    photometric_order: int = Field(2, ge=0, le=4)
    """Order of the polynomial of each exposure's zero point."""
    expected: float = Field(50.0, gt=0, le=10_000)
    """How large corrections are expected to be at first [mas, mmag]; the data tell better."""
    most_frames: int = Field(1500, ge=0, le=100_000)
    """Frames (exposures × CCDs) above which they have no constants of their own: the memory of the
    normal equations grows with the square."""
    floor: float = Field(4.0, gt=0, le=1000)
    """Error of any position [mas] besides what its noise says."""
    magnitude_floor: float = Field(0.004, gt=0, le=1)
    """Error of any magnitude [mag] besides what its noise says."""
    reference_floor: float = Field(5.0, gt=0, le=1000)
    """Error of a reference position [mas]."""
    signal_to_noise: float = Field(20.0, ge=3, le=10_000)
    """Of the stars that are used."""
    clip: float = Field(4.0, ge=2, le=20)
    """Standard deviations beyond which a star, or a reference star, is not used."""
    least_stars: int = Field(10, ge=3, le=100_000)
    """Stars seen in two exposures without which the exposures' own solutions stand."""
    ranks: int = Field(8, ge=1, le=1024)
    """Ranks of a gang, at most."""
