"""What is simulated: the size of the survey, its seed, and which effects are in it."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
Table = NDArray[Any]

PIXEL_SCALE = 0.2
"""Arcseconds per pixel in the middle of the field."""

BANDS = ("g", "r", "i", "z", "y")
"""Filters of the camera."""

EFFECTS = (
    "asteroids", "bias", "blends", "cosmics", "dark", "defects", "distortion", "flat", "fringe",
    "galaxies", "noise", "pixel_area", "pointing", "proper_motion", "psf_variation", "satellites",
    "saturation", "sky_gradient", "transparency",
)  # fmt: skip
"""What can be left out (``--without``). A survey with all of them is the most like a real one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What to simulate.

    Attributes
    ----------
    visits, ccds : int
        Exposures, and detectors in each.
    bands : tuple of str
        Filters; the visits take them in turns.
    height, width : int
        Size of a detector [px]; the width is even.
    stars, galaxies : int
        Mean number on a detector.
    seed : int
        Of all random numbers.
    pointings : int
        Fields, side by side along right ascension, which the visits take in turns.
    dither : float
        How far visits point from the middle of their field, as a part of its radius.
    ra, dec : float
        The middle of the survey [deg].
    calibs : int
        Bias, dark and (of each filter) flat exposures.
    per_visit : bool
        One file for each visit, its CCDs as extensions; else one for each CCD.
    without : frozenset of str
        Those of `EFFECTS` that are left out.
    """

    visits: int = 4
    ccds: int = 6
    bands: tuple[str, ...] = ("g", "r", "i")
    height: int = 1024
    width: int = 512
    stars: int = 200
    galaxies: int = 150
    seed: int = 1
    pointings: int = 1
    dither: float = 0.15
    ra: float = 150.0
    dec: float = 2.2
    calibs: int = 3
    per_visit: bool = False
    without: frozenset[str] = frozenset()

    def has(self, effect: str) -> bool:
        """Whether an effect is simulated."""
        if effect not in EFFECTS:
            raise ValueError(f"there is no effect {effect!r}; there are {', '.join(EFFECTS)}")
        return effect not in self.without

    def random(self, purpose: str, *numbers: int) -> np.random.Generator:
        """Return the random numbers for a purpose: always the same, whoever asks and when."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode()), *numbers])

    def as_dict(self) -> dict[str, Any]:
        """Return the survey as JSON values."""
        values = asdict(self)
        return values | {"bands": list(self.bands), "without": sorted(self.without)}
