"""Rings of tracts: their numbers, middles and inner regions.

The rings have the same height, in declination. They are counted from the south, and the tracts in
a ring eastwards. Tract 0 is at the south pole, the last at the north pole. This is the division of
LSST's ring sky map: equal numbers are equal tracts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rings:
    """The division of the sky into tracts.

    Attributes
    ----------
    count : int
        Rings, without the caps at the poles.
    ra_start : float
        Right ascension of the middle of each ring's first tract [deg].
    """

    count: int
    ra_start: float = 0.0

    @property
    def height(self) -> float:
        """Height of a ring [deg]; each cap is half a ring."""
        return 180 / (self.count + 1)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """How many tracts each ring has."""
        height = math.pi / (self.count + 1)
        lower = [height * (ring + 0.5) - 0.5 * math.pi for ring in range(self.count)]
        # The edge nearer to the equator is the longer one.
        widest = [min(abs(dec), abs(dec + height)) for dec in lower]
        return tuple(int(2 * math.pi * math.cos(dec) / height) + 1 for dec in widest)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Number of each ring's first tract; then that of the northern cap."""
        return tuple(accumulate(self.numbers, initial=1))

    @property
    def n_tracts(self) -> int:
        """How many tracts there are."""
        return self.firsts[-1] + 1

    def centre(self, tract: int) -> tuple[float, float]:
        """Return right ascension and declination of a tract's middle [deg]."""
        if tract == 0:
            return 0.0, -90.0
        if tract == self.n_tracts - 1:
            return 0.0, 90.0
        ring, index = self._place(tract)
        ra = (self.ra_start + 360 * index / self.numbers[ring]) % 360
        return ra, self.height * (ring + 1) - 90

    def inner(self, tract: int) -> tuple[float, float, float, float]:
        """Return the region which is the tract's own: RA from, to (eastwards), dec from, to [deg].

        These regions tile the sky.
        """
        if tract == 0:
            return 0.0, 360.0, -90.0, self.height / 2 - 90
        if tract == self.n_tracts - 1:
            return 0.0, 360.0, 90 - self.height / 2, 90.0
        ring, _ = self._place(tract)
        ra, dec = self.centre(tract)
        half = 180 / self.numbers[ring]
        south, north = dec - self.height / 2, dec + self.height / 2
        return (ra - half) % 360, (ra + half) % 360, south, north

    def _place(self, tract: int) -> tuple[int, int]:
        ring = int(np.searchsorted(self.firsts, tract, side="right")) - 1
        return ring, tract - self.firsts[ring]

    def tract_of(self, ra: Any, dec: Any) -> NDArray[np.int64]:
        """Return the tract in whose inner region positions [deg] are."""
        ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
        ring = np.floor((dec + 90) / self.height - 0.5).astype(np.int64)
        numbers = np.array(self.numbers)[np.clip(ring, 0, self.count - 1)]
        index = np.floor(((ra - self.ra_start) % 360) / (360 / numbers) + 0.5).astype(np.int64)
        firsts = np.array(self.firsts)
        inside = firsts[np.clip(ring, 0, self.count - 1)] + index % numbers
        return np.where(ring < 0, 0, np.where(ring >= self.count, firsts[-1], inside))
