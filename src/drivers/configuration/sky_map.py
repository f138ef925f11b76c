"""The configuration of the sky map."""

from __future__ import annotations

from pydantic import Field

from drivers.configuration.section import Section


class SkyMapConfig(Section):
    """How the sky is divided into tracts, and these into patches."""

    num_rings: int = Field(120, ge=2, le=2000)
    """Rings of tracts between the two at the poles."""
    ra_start: float = Field(0.0, ge=0, lt=360)
    """Right ascension at which each ring begins [deg]."""
    tract_overlap: float = Field(1 / 60, ge=0, le=5)
    """How far a tract reaches beyond its ring [deg]."""
    pixel_scale: float = Field(0.2, gt=0, le=60)
    """Side of a pixel in the middle of a tract [arcsec]."""
    patch_inner: int = Field(4000, ge=16, le=100_000)
    """Side of the part of a patch which is its own [px]."""
    patch_border: int = Field(100, ge=0, le=10_000)
    """How far a patch reaches into its neighbours [px]."""
