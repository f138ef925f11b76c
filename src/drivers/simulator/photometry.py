"""Filters of the simulated camera and of its reference catalogue, and what their fluxes mean.

A star of magnitude ``ref_b`` and colour ``ref_g - ref_r`` = c in the system of the reference has in
the camera's filter b the magnitude ``ref_b + a * (c - 0.6) + b * (c - 0.6)**2``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from drivers.simulator.survey import BANDS, Survey, Table

ZERO_POINT = MappingProxyType({"g": 27.2, "r": 27.2, "i": 27.0, "z": 26.2, "y": 25.4})
"""AB magnitude that gives one electron per second where the detectors are as on average."""

SKY = MappingProxyType({"g": 500.0, "r": 900.0, "i": 1300.0, "z": 1500.0, "y": 1700.0})
"""Electrons per pixel and exposure of a usual sky."""

FRINGE = MappingProxyType({"g": 0.0, "r": 0.0, "i": 0.004, "z": 0.01, "y": 0.02})
"""Amplitude of the fringes, as a part of the sky."""

COLOUR = MappingProxyType({"g": 1.0, "r": 0.0, "i": -0.45, "z": -0.7, "y": -0.85})
"""How much fainter in a band than in r stars are for each magnitude of g - r."""

COLOUR_TERMS = MappingProxyType(
    {
        "g": (0.080, 0.006), "r": (-0.030, 0.003), "i": (0.050, -0.004),
        "z": (-0.040, 0.004), "y": (0.060, 0.005),
    }
)  # fmt: skip
"""`a` and `b` of each band, above."""

PIVOT = 0.6
"""Colour of a star which has the same magnitude in both systems."""


def camera_magnitude(band: str, reference: Table) -> Any:
    """Return what stars with magnitudes ``ref_g``, ``ref_r``, … have in the camera's filter."""
    a, b = COLOUR_TERMS[band]
    colour = np.asarray(reference["ref_g"] - reference["ref_r"], dtype=np.float64) - PIVOT
    return reference[f"ref_{band}"] + a * colour + b * colour**2


def configuration() -> str:
    """Return what an observatory would tell of its filters: the drivers' configuration, as TOML."""
    lines = [
        "# The camera's magnitude minus the reference's, as a polynomial in ref_g - ref_r.",
        "[singleFrame.photometry.colour_terms]",
    ]
    for band, (a, b) in COLOUR_TERMS.items():
        terms = (b * PIVOT**2 - a * PIVOT, a - 2 * b * PIVOT, b)
        lines.append(f"{band} = [{', '.join(f'{term:.6f}' for term in terms)}]")
    return "\n".join(lines) + "\n"


def detector_step(survey: Survey, band: str, ccd: int) -> float:
    """Return how much less sensitive a detector is than usual [mag]."""
    random = survey.random("sensitivity", ccd, BANDS.index(band))
    return float(random.normal(0, 0.025)) * survey.has("flat")
