"""The configuration of making calibration frames."""

from __future__ import annotations

from pydantic import Field

from drivers.configuration.section import Section


class CalibsConfig(Section):
    """From exposures to bias, dark, flat, fringe and sky frames."""

    least_frames: int = Field(3, ge=1, le=1000)
    """Exposures below which no calibration frame of a CCD is made."""
    clip: float = Field(4.0, ge=2, le=100)
    """Standard deviations of the expected noise beyond which a pixel is not used: cosmic rays."""
    tolerance: float = Field(0.003, ge=0, le=1)
    """Part of a pixel's value by which exposures may differ besides the noise."""
    level_clip: float = Field(5.0, ge=2, le=100)
    """Standard deviations beyond which a CCD's level in a flat exposure is not used."""
