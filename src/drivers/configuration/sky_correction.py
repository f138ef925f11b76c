"""The configuration of the sky over the whole focal plane."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drivers.configuration.section import Section


class SkyCorrectionConfig(Section):
    """One sky for all CCDs of a visit, instead of one for each of them."""

    restore: bool = True
    """Whether the sky which was subtracted CCD by CCD is put back before. Without it, all that
    follows is done to what was left."""
    focal_plane: bool = True
    """Whether a polynomial over the focal plane is subtracted."""
    order: int = Field(3, ge=0, le=10)
    """Order of this polynomial."""
    ccd_levels: Literal["auto", "always", "never"] = "auto"
    """Whether each CCD's sky has a level of its own besides: auto if it was not divided by a flat
    frame, without which the CCDs' skies can't be compared. It takes the light of what is as large
    as a CCD."""
    sky_frame: bool = True
    """Whether the sky frame is scaled to the visit and subtracted, where there is one."""
    residual: bool = True
    """Whether what is left after that is smoothed, and subtracted as well."""
    residual_scale: float = Field(6.0, gt=0, le=1000)
    """Standard deviation [arcmin] of the Gaussian with which it is smoothed; light of objects
    which are much smaller stays in the images."""
    clip: float = Field(3.0, ge=1.5, le=20)
    """Standard deviations beyond which a cell of the sky is taken for an object, or for damage."""
    grow: float = Field(0.5, ge=0, le=100)
    """Distance [arcmin] within which the neighbours of such a cell are not used either."""
