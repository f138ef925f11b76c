"""A small image of a whole focal plane: CCDs are binned, and put where they are on the sky."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Flags, Image
from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs, sky_corners, sky_positions

Bytes = NDArray[np.uint8]

_MOST = 20_000
"""Pixels of a side above which there is no such image."""


@dataclass(frozen=True, slots=True)
class Plane:
    """The pixels of the image.

    Attributes
    ----------
    wcs : dict
        Cards.
    shape : (int, int)
        Rows and columns.
    """

    wcs: dict[str, Any]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """A CCD's part of the image.

    Attributes
    ----------
    x0, y0 : int
        Its first column and row.
    values : array of float32, shape (rows, columns)
        NaN where the CCD has nothing.
    """

    x0: int
    y0: int
    values: Image


def plane_of(corners: Sequence[Sequence[Sequence[float]]], step: float) -> Plane:
    """Return an image, north up, east to the left, which all CCDs fit into.

    Parameters
    ----------
    corners : sequence
        Of each CCD the four corners as ``[ra, dec]`` [deg].
    step : float
        Side of a pixel [arcsec].

    Raises
    ------
    FrameError
        If it would be huge.
    """
    ra, dec = np.radians(np.array(corners, float).reshape(-1, 2)).T
    vectors = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    x, y, z = (float(one.mean()) for one in vectors)
    cards: dict[str, Any] = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CRVAL1": float(np.degrees(np.arctan2(y, x)) % 360),
        "CRVAL2": float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
        "CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -step / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
        "CD2_2": step / 3600,
    }  # fmt: skip
    columns, rows = make_wcs(cards).all_world2pix(np.degrees(ra), np.degrees(dec), 0)
    first = np.floor([columns.min(), rows.min()]) - 1
    size = np.ceil([columns.max(), rows.max()]) + 2 - first
    if not np.isfinite(size).all() or size.max() > _MOST:
        raise FrameError(f"the CCDs are too far apart for one image of {_MOST} pixels")
    cards["CRPIX1"] -= float(first[0])
    cards["CRPIX2"] -= float(first[1])
    return Plane(cards, (int(size[1]), int(size[0])))


def binned(image: Image, unusable: Flags, size: int) -> Image:
    """Return the means of squares of usable pixels; NaN where none is.

    Pixels at the upper and right edges which fill no square are left out.
    """
    rows, columns = image.shape[0] // size, image.shape[1] // size
    part = np.s_[: rows * size, : columns * size]
    blocks = np.where(unusable, 0, image)[part].reshape(rows, size, columns, size)
    count = (~unusable)[part].reshape(rows, size, columns, size).sum(axis=(1, 3))
    total = blocks.sum(axis=(1, 3), dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean, dtype=np.float32)


def tile_of(small: Image, size: int, wcs: Mapping[str, Any], plane: Plane) -> Tile:
    """Put a binned CCD where it is: each pixel of the image takes the square in which it is.

    Parameters
    ----------
    small : array of float32
        See `binned`.
    size : int
        Side of its squares [px].
    wcs : Mapping
        Cards of the CCD.
    plane : Plane
        The image.
    """
    own, world = make_wcs(wcs), make_wcs(plane.wcs)
    shape = small.shape[0] * size, small.shape[1] * size
    corners = np.array(sky_corners(own, shape))
    x, y = world.all_world2pix(corners[:, 0], corners[:, 1], 0)
    x0, y0 = (max(0, int(np.floor(one.min())) - 1) for one in (x, y))
    x1 = min(plane.shape[1], int(np.ceil(x.max())) + 2)
    y1 = min(plane.shape[0], int(np.ceil(y.max())) + 2)
    columns, rows = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
    ra, dec = sky_positions(world, columns.ravel(), rows.ravel())
    # Far outside of the CCD the distortion can't be inverted, and nothing is asked there.
    at = np.nan_to_num(np.array(own.all_world2pix(ra, dec, 0, quiet=True)), nan=-1e6)
    column, row = np.floor((at + 0.5) / size).astype(int)
    inside = (row >= 0) & (row < small.shape[0]) & (column >= 0) & (column < small.shape[1])
    values = np.full(inside.shape, np.nan, np.float32)
    values[inside] = small[row[inside], column[inside]]
    return Tile(x0, y0, values.reshape(columns.shape))


def assemble(tiles: Sequence[Tile], plane: Plane) -> Image:
    """Return the image; NaN between the CCDs."""
    image = np.full(plane.shape, np.nan, np.float32)
    for tile in tiles:
        rows, columns = tile.values.shape
        part = image[tile.y0 : tile.y0 + rows, tile.x0 : tile.x0 + columns]
        np.copyto(part, tile.values, where=np.isfinite(tile.values))
    return image


def shades(image: Image) -> Bytes:
    """Return the image as shades of grey from 1 to 255, the first row at the top; NaN is 0.

    They rise linearly around the sky and more slowly above, so that both are seen.
    """
    known = np.isfinite(image)
    grey = np.zeros(image.shape, np.uint8)
    if known.any():
        low, middle, high = np.percentile(image[known], (1, 50, 99.5))
        width = max(middle - low, (high - middle) / 20, 1e-12)
        top = max(float(np.arcsinh((high - low) / width)), 1e-12)  # 0 if all values are equal
        bent = np.arcsinh((image[known] - low) / width) / top
        grey[known] = 1 + np.rint(254 * np.clip(bent, 0, 1)).astype(np.uint8)
    return grey[::-1]


def png(grey: Bytes) -> bytes:
    """Return shades of grey as a PNG file."""
    rows, columns = grey.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    lines = np.zeros((rows, columns + 1), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = grey
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
