"""The sky map: finds the tracts and patches of positions and of regions."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.configuration.sky_map import SkyMapConfig
from drivers.sky_polygon import Polygon, circle_around, unit_vectors
from drivers.skymap.rings import Rings
from drivers.skymap.tract import Grid, Patch, Tract


class SkyMap:
    """All tracts of the sky; each is made when it is asked for.

    Parameters
    ----------
    config : SkyMapConfig
        Numbers and sizes.
    """

    def __init__(self, config: SkyMapConfig | None = None) -> None:
        config = config or SkyMapConfig()
        self.rings = Rings(config.num_rings, config.ra_start)
        self.grid = Grid.of(config)
        self._tracts: dict[int, Tract] = {}

    def __len__(self) -> int:
        return self.rings.n_tracts

    def tract(self, number: int) -> Tract:
        """Return the tract of this number.

        Raises
        ------
        IndexError
            If there is none.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there are tracts 0 to {len(self) - 1}, and no {number}")
        if number not in self._tracts:
            rings = self.rings
            self._tracts[number] = Tract(
                number, rings.centre(number), rings.inner(number), self.grid
            )
        return self._tracts[number]

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """Unit vectors of the middles of all tracts."""
        ra, dec = np.array([self.rings.centre(tract) for tract in range(len(self))]).T
        return unit_vectors(ra, dec)

    def find_tracts(self, ra: float, dec: float) -> list[Tract]:
        """Return all tracts with a pixel at a position [deg], the one whose own it is first."""
        primary = int(self.rings.tract_of(ra, dec))
        near = self._near(unit_vectors(ra, dec), 0.0)
        found = [tract for tract in near if tract.patch_of(ra, dec)[0] >= 0]
        return sorted(found, key=lambda tract: (tract.id != primary, tract.id))

    def tracts_overlapping(self, region: Polygon) -> list[Tract]:
        """Return the tracts with pixels in a region."""
        near = self._near(*circle_around(region))
        return [tract for tract in near if tract.polygon.intersects(region)]

    def patches_overlapping(self, region: Polygon) -> list[Patch]:
        """Return the patches whose outer boxes have pixels in a region."""
        return [
            patch
            for tract in self.tracts_overlapping(region)
            for patch in tract.patches()
            if patch.polygon.intersects(region)
        ]

    def _near(self, centre: NDArray[np.float64], radius: float) -> list[Tract]:
        farthest = math.cos(min(radius + self.grid.reach, math.pi))
        near = np.flatnonzero(self.centres @ centre >= farthest - 1e-12)
        return [self.tract(int(number)) for number in near]

    def primary(self, ra: Any, dec: Any) -> NDArray[np.int64]:
        """Return where positions [deg] are primary: tract, column and row of the patch.

        Of all tracts and patches which hold a position exactly one is its own. The last axis of
        the result has the three numbers.
        """
        ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
        tracts = self.rings.tract_of(ra, dec)
        found = np.full((*ra.shape, 3), -1, np.int64)
        found[..., 0] = tracts
        for number in np.unique(tracts):
            here = tracts == number
            found[here, 1:] = self.tract(int(number)).patch_of(ra[here], dec[here])
        return found
