"""Divides the light of a blend among its sources.

Each source is taken to look the same turned by half a circle around its peak, and to become fainter
outwards: of two pixels that lie opposite each other the fainter one is what it can have in both.
What the other sources have as stars is taken off before. Where a source's core is no more than a
star's, the star's picture is taken, which reaches further out with less noise. Each pixel's light
is then divided as these pictures share it, so that none counts twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.blends.psf_fit import Point, Slices

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_STAR_EXCESS = 0.1
"""A source whose symmetric core has no more than so much beyond a star's is taken for one."""

_CORE = 0.05
"""Part of its peak down to which a star's core reaches."""

_REACH = 80
"""Pixels from its peak up to which a source in a blend has light."""


@dataclass(frozen=True, slots=True)
class Share:
    """What belongs to a source.

    Attributes
    ----------
    place : (slice, slice)
        Rows and columns of the blend.
    image : array of float32
        The source's light there.
    """

    place: Slices
    image: Image


def divide(
    image: Image, inside: Flags, points: Sequence[Point], fluxes: Floats, places: Floats
) -> list[Share]:
    """Return what of the image belongs to each source.

    Parameters
    ----------
    image : array, shape (rows, columns)
        Around a blend; 0 where it belongs to other blends.
    inside : array of bool
        The blend's footprint.
    points : sequence of Point
        What each source looks like if it is a star.
    fluxes : array
        Of the stars; NaN where there is none.
    places : array, shape (n, 2)
        Column and row of each source.
    """
    if len(points) == 1:
        rows, columns = image.shape
        return [Share((slice(0, rows), slice(0, columns)), image)]
    rest = np.where(inside, image, np.float32(0))
    for point, flux in zip(points, fluxes, strict=True):
        if flux > 0:
            rest[point.place] -= flux * np.maximum(point.values, 0)
    pictures = [
        _picture(rest, inside, point, float(flux), place)
        for point, flux, place in zip(points, fluxes, places, strict=True)
    ]
    total = np.zeros(image.shape, np.float32)
    for picture in pictures:
        total[picture.place] += picture.image
    # Where no source reaches, the light is nobody's.
    brightness = np.where(total > 0, image / np.where(total > 0, total, 1), np.float32(0))
    return [Share(one.place, brightness[one.place] * one.image) for one in pictures]


def _picture(rest: Image, inside: Flags, point: Point, flux: float, place: Floats) -> Share:
    """Return a source's picture: a star's where that is enough, else the symmetric one.

    The rest is what all sources together leave of the image as stars.
    """
    column, row = round(float(place[0])), round(float(place[1]))
    around = (
        slice(max(0, row - _REACH), max(0, row + _REACH + 1)),
        slice(max(0, column - _REACH), max(0, column + _REACH + 1)),
    )
    star = _star(point, flux, around, rest[around].shape)
    origin = np.array([around[1].start, around[0].start])
    symmetric = _monotonic(_symmetric(rest[around] + star, place - origin), place - origin)
    core = star > _CORE * star.max(initial=0)
    if core.any() and symmetric[core].sum() < (1 + _STAR_EXCESS) * star[core].sum():
        return Share(around, star)
    return Share(around, np.where(inside[around], symmetric, star))


def _star(point: Point, flux: float, around: Slices, shape: tuple[int, ...]) -> Image:
    star = np.zeros(shape, np.float32)
    if flux > 0:
        rows, columns = point.place
        down, across = rows.start - around[0].start, columns.start - around[1].start
        height, width = point.values.shape
        star[down : down + height, across : across + width] = flux * np.maximum(point.values, 0)
    return star


def _symmetric(image: Image, place: Floats) -> Image:
    """Return the fainter of each pixel and the one opposite, seen from the nearest half pixel."""
    rows, columns = image.shape
    down = round(2 * float(place[1])) - np.arange(rows)
    across = round(2 * float(place[0])) - np.arange(columns)
    good_down, good_across = (down >= 0) & (down < rows), (across >= 0) & (across < columns)
    opposite = np.zeros_like(image)
    opposite[np.ix_(good_down, good_across)] = image[np.ix_(down[good_down], across[good_across])]
    return np.asarray(np.maximum(np.minimum(image, opposite), 0))


def _monotonic(image: Image, place: Floats) -> Image:
    """Return the image with no pixel brighter than the one before it on the way from the peak."""
    rows, columns = image.shape
    limited = image.copy()
    dy, dx = np.mgrid[:rows, :columns]
    dy, dx = dy - round(float(place[1])), dx - round(float(place[0]))
    ring = np.maximum(np.abs(dx), np.abs(dy)).ravel()
    order = np.argsort(ring, kind="stable")
    edges = np.searchsorted(ring[order], np.arange(ring.max(initial=0) + 2))
    flat = limited.ravel()
    for number in range(2, len(edges) - 1):
        here = order[edges[number] : edges[number + 1]]
        part = (number - 1) / number
        before_y = np.rint(dy.ravel()[here] * part).astype(int) + round(float(place[1]))
        before_x = np.rint(dx.ravel()[here] * part).astype(int) + round(float(place[0]))
        before = np.clip(before_y, 0, rows - 1) * columns + np.clip(before_x, 0, columns - 1)
        flat[here] = np.minimum(flat[here], flat[before])
    return limited
