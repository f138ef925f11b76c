"""A tract: a plane of pixels that touches the sky, divided into patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivers.configuration.sky_map import SkyMapConfig
from drivers.results import PatchArea
from drivers.sky_polygon import Polygon, polygon, radec, unit_vectors

Floats = NDArray[np.float64]


class Box(NamedTuple):
    """Pixels from `x0`, `y0` up to `x1`, `y1`, which are not included."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def corners(self) -> Floats:
        """Return the outer corners of the corner pixels, as x, y; anticlockwise."""
        x0, y0, x1, y1 = (edge - 0.5 for edge in self)
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


@dataclass(frozen=True)
class Grid:
    """The pixels of a tract; they are the same for all tracts of a sky map.

    Attributes
    ----------
    scale : float
        Side of a pixel in the middle [rad].
    middle : int
        x and y of the pixel at the tract's middle.
    count : int
        Patches along each side.
    inner, border : int
        Side of a patch's own part, and how far it reaches beyond it [px].
    """

    scale: float
    middle: int
    count: int
    inner: int
    border: int

    @classmethod
    def of(cls, config: SkyMapConfig) -> Grid:
        """Return the smallest grid of whole patches which holds a tract and its overlap."""
        scale = math.radians(config.pixel_scale / 3600)
        reach = math.radians(90 / (config.num_rings + 1) + config.tract_overlap)
        half = math.ceil(math.tan(reach) / scale - 0.5)
        count = -(-(2 * half + 1) // config.patch_inner)
        spare = config.patch_inner * count - (2 * half + 1)
        middle = half + spare // 2
        return cls(scale, middle, count, config.patch_inner, config.patch_border)

    @property
    def side(self) -> int:
        """Pixels along each side."""
        return self.count * self.inner

    @property
    def reach(self) -> float:
        """Angle from the middle to the farthest corner [rad]."""
        longest = max(self.middle + 0.5, self.side - self.middle - 0.5)
        return math.atan(math.sqrt(2) * longest * self.scale)


@dataclass(frozen=True)
class Patch:
    """A part of a tract which is coadded as one image.

    Attributes
    ----------
    tract : Tract
        Where it is.
    index : (int, int)
        Its column and row.
    inner, outer : Box
        Its own pixels, and those which it has: in the tract's pixels.
    """

    tract: Tract
    index: tuple[int, int]
    inner: Box
    outer: Box

    @cached_property
    def polygon(self) -> Polygon:
        """The outer box on the sky."""
        return polygon(self.tract.sky(*self.outer.corners().T))

    def area(self) -> PatchArea:
        """Return what the tasks have to know of it."""
        tract = self.tract
        box = self.outer
        return PatchArea(
            tract.id, self.index, tract.wcs, box.x0, box.y0, box.shape, self.inner, tract.inner_sky
        )

    def __str__(self) -> str:
        return f"tract={self.tract.id} patch={self.index[0]},{self.index[1]}"


@dataclass(frozen=True)
class Tract:
    """A part of the sky with its own plane of pixels.

    Attributes
    ----------
    id : int
        Its number.
    centre : (float, float)
        Right ascension and declination [deg] of the point where the plane touches the sky.
    inner_sky : (float, float, float, float)
        RA from, RA to (eastwards), declination from, to [deg]: the region which is its own.
    grid : Grid
        Its pixels.
    """

    id: int
    centre: tuple[float, float]
    inner_sky: tuple[float, float, float, float]
    grid: Grid

    @property
    def box(self) -> Box:
        """All its pixels."""
        return Box(0, 0, self.grid.side, self.grid.side)

    @cached_property
    def wcs(self) -> dict[str, Any]:
        """The cards of its pixels."""
        scale = math.degrees(self.grid.scale)
        return {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
            "CRVAL1": self.centre[0], "CRVAL2": self.centre[1],
            "CRPIX1": self.grid.middle + 1.0, "CRPIX2": self.grid.middle + 1.0,
            "CD1_1": -scale, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale,
            "RADESYS": "ICRS",
        }  # fmt: skip

    @cached_property
    def _axes(self) -> Floats:
        """Unit vectors to the west, to the north and to the middle: rows of a rotation."""
        ra, dec = np.radians(self.centre)
        if self.centre[1] == 90:
            ra += math.pi  # so does FITS, whose LONPOLE is 0 there
        west = (math.sin(ra), -math.cos(ra), 0.0)
        south = math.sin(dec)
        north = (-south * math.cos(ra), -south * math.sin(ra), math.cos(dec))
        middle = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
        return np.array([west, north, middle])

    def sky(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        """Return right ascension and declination [deg] of pixels."""
        flat = (np.stack(np.broadcast_arrays(x, y), axis=-1) - self.grid.middle) * self.grid.scale
        ones = np.ones((*flat.shape[:-1], 1))
        return radec(np.concatenate([flat, ones], axis=-1) @ self._axes)

    def pixels(self, ra: Any, dec: Any) -> tuple[Floats, Floats]:
        """Return x and y of positions [deg]; NaN for the half of the sky behind."""
        turned = unit_vectors(ra, dec) @ self._axes.T
        depth = np.where(turned[..., 2] > 0, turned[..., 2], np.nan) * self.grid.scale
        middle = self.grid.middle
        return turned[..., 0] / depth + middle, turned[..., 1] / depth + middle

    @cached_property
    def polygon(self) -> Polygon:
        """All its pixels on the sky."""
        return polygon(self.sky(*self.box.corners().T))

    @property
    def vertices(self) -> list[tuple[float, float]]:
        """Its corners on the sky [deg]."""
        ra, dec = self.sky(*self.box.corners().T)
        return list(zip(ra.tolist(), dec.tolist(), strict=True))

    def patch(self, index: tuple[int, int]) -> Patch:
        """Return the patch in this column and row.

        Raises
        ------
        IndexError
            If there is none.
        """
        grid = self.grid
        if not all(0 <= place < grid.count for place in index):
            last = grid.count - 1
            raise IndexError(f"tract {self.id} has patches 0,0 to {last},{last}, and no {index}")
        x0, y0 = (place * grid.inner for place in index)
        inner = Box(x0, y0, x0 + grid.inner, y0 + grid.inner)
        low = (max(edge - grid.border, 0) for edge in inner[:2])
        high = (min(edge + grid.border, grid.side) for edge in inner[2:])
        return Patch(self, index, inner, Box(*low, *high))

    def patches(self) -> Iterator[Patch]:
        """Yield all patches, row by row."""
        for y in range(self.grid.count):
            for x in range(self.grid.count):
                yield self.patch((x, y))

    def patch_of(self, ra: Any, dec: Any) -> NDArray[np.int64]:
        """Return column and row of the patch whose inner box positions [deg] are in.

        The last axis of the result has both; -1, -1 outside of the tract.
        """
        x, y = self.pixels(ra, dec)
        inside = (np.minimum(x, y) >= -0.5) & (np.maximum(x, y) < self.grid.side - 0.5)
        both = np.where(inside[..., None], np.stack([x, y], axis=-1) + 0.5, -self.grid.inner)
        return np.asarray(np.floor(both / self.grid.inner).astype(np.int64))
