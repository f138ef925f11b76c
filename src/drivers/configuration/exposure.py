"""The configuration of the stage that solves the astrometry and photometry of whole visits."""

from __future__ import annotations

from pydantic import Field

from drivers.configuration.section import Section


class ExposureConfig(Section):
    """One solution for all CCDs of a visit."""

    order: int = Field(7, ge=1, le=9)
    """Highest order of the polynomial over the focal plane which corrects the headers' positions;
    fewer matches allow less."""
    floor: float = Field(5.0, gt=0, le=1000)
    """Error of any position [mas] besides what its noise says."""
    clip: float = Field(4.0, ge=2, le=20)
    """Standard deviations beyond which a star is not used."""
    magnitude_floor: float = Field(0.005, gt=0, le=1)
    """Error of any magnitude [mag] besides what its noise says."""
    zero_point_order: int = Field(2, ge=0, le=5)
    """Order of the zero point's polynomial over the focal plane: clouds, the area of pixels."""
    signal_to_noise: float = Field(20.0, ge=3, le=10_000)
    """Of the stars for the zero points."""
    seeing_order: int = Field(2, ge=0, le=4)
    """Order of the polynomial of the seeing over the focal plane."""
    focus_heights: dict[str, float] = Field(default={})
    """By number of a focus detector, how far it is above the others [mm]; with some above and some
    below, the distance from the focus is measured."""
