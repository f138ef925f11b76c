"""Cuts a coadd into blends: all that is needed to measure the sources of one footprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Image, Mask
from drivers.footprints.merging import parent_ids
from drivers.footprints.runs import areas, bounds, label_image
from drivers.found import Footprints
from drivers.results import PatchArea, Table

Flags = NDArray[np.bool_]

MARGIN = 20
"""Pixels around a footprint which belong to its blend: what stamps and apertures reach."""


@dataclass(frozen=True, slots=True)
class Planes:
    """The pixels of a coadd, sky subtracted."""

    image: Image
    mask: Mask
    variance: Image
    count: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Blend:
    """A footprint with its sources and surroundings. A few of them make up a task's item.

    Attributes
    ----------
    x0, y0 : int
        Pixel of the patch which is the first one here.
    planes : Planes
        Copies; the image is 0 in the footprints of others.
    inside, others : array of bool
        The footprint, and those of others.
    ids, parents, bands : array of int
        Of each source; the parent is 0 where a source has the footprint for itself.
    x, y : array of float
        Where each is [px of the patch].
    skipped : bool
        The footprint is too large: this is one source for all of it.
    n_peaks, area : int
        Peaks and pixels of the footprint.
    """

    x0: int
    y0: int
    planes: Planes
    inside: Flags
    others: Flags
    ids: NDArray[np.int64]
    parents: NDArray[np.int64]
    bands: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    skipped: bool
    n_peaks: int
    area: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Which sources there are, by footprint.

    Attributes
    ----------
    footprints : Footprints
        Of all bands.
    peaks : structured array of `PEAK`
        By footprint.
    positions : Mapping of int to (float, float)
        By id: where a source is to be measured [px], if not where its peak is.
    """

    footprints: Footprints
    peaks: Table
    positions: Mapping[int, tuple[float, float]]


def skipped_footprints(footprints: Footprints, peaks: Table, max_area: int) -> list[int]:
    """Return the indices of the footprints with several peaks that are too large to deblend."""
    count = np.bincount(peaks["footprint"], minlength=len(footprints))
    return np.flatnonzero((areas(footprints) > max_area) & (count > 1)).tolist()


def cut_blends(planes: Planes, sources: Sources, area: PatchArea, max_area: int) -> Iterator[Blend]:
    """Give the blends of a coadd, by footprint."""
    footprints, peaks = sources.footprints, sources.peaks
    if not len(footprints):
        return
    shape = (planes.image.shape[0], planes.image.shape[1])
    labels = label_image(footprints, shape)
    edges = np.searchsorted(peaks["footprint"], np.arange(len(footprints) + 1))
    sizes = areas(footprints)
    skipped = set(skipped_footprints(footprints, peaks, max_area))
    for index in range(len(footprints)):
        own = peaks[edges[index] : edges[index + 1]]
        if not len(own):
            continue
        parent = int(parent_ids(area, np.array([index]))[0])
        if index in skipped:
            own = own[np.argmax(own["snr"])][None].copy()
            own["id"] = parent
        n_peaks = int(edges[index + 1] - edges[index])
        yield _cut(
            planes,
            labels,
            (index, bounds(footprints, index), int(sizes[index]), n_peaks),
            _placed(own, sources.positions),
            parent if n_peaks > 1 and index not in skipped else 0,
        )


def _placed(peaks: Table, positions: Mapping[int, tuple[float, float]]) -> Table:
    """Return the peaks which are to be measured, where they are to be."""
    if not positions:
        return peaks
    known = peaks[[int(one) in positions for one in peaks["id"]]]
    for peak in known:
        peak["x"], peak["y"] = positions[int(peak["id"])]
    return known


def _cut(
    planes: Planes,
    labels: NDArray[np.int32],
    footprint: tuple[int, tuple[int, int, int, int], int, int],
    peaks: Table,
    parent: int,
) -> Blend:
    index, (x0, y0, x1, y1), area, n_peaks = footprint
    x0, y0 = max(0, x0 - MARGIN), max(0, y0 - MARGIN)
    part = (slice(y0, y1 + MARGIN), slice(x0, x1 + MARGIN))
    number = labels[part]
    inside, others = number == index + 1, (number != index + 1) & (number > 0)
    image = planes.image[part].copy()
    image[others] = 0
    return Blend(
        x0,
        y0,
        Planes(
            image,
            planes.mask[part].copy(),
            planes.variance[part].copy(),
            planes.count[part].copy(),
        ),
        inside,
        others,
        peaks["id"].astype(np.int64),
        np.full(len(peaks), parent, np.int64),
        peaks["bands"].astype(np.int64),
        peaks["x"].astype(np.float64),
        peaks["y"].astype(np.float64),
        skipped=parent == 0 and n_peaks > 1,
        n_peaks=n_peaks,
        area=area,
    )
