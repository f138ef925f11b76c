"""Stage `warp`: one visit, resampled to the pixels of one patch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.configuration.coadd import WarpConfig
from drivers.exposure import bit
from drivers.fits_product import read_image
from drivers.frame_error import FrameError
from drivers.meshes import expand_mesh
from drivers.results import PatchArea, PsfInput, Warp, WarpInput
from drivers.sky_position import make_wcs
from drivers.warping.pixel_map import Box, covered_box, map_pixels
from drivers.warping.warp import Canvas, Pixels, put
from mpipool import record

STAGE = "warp"
VERSION = "1"

ZERO_POINT = 31.4
"""AB magnitude of 1 nJy."""


@dataclass(frozen=True, slots=True)
class WarpJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea
        The patch.
    filter : str, visit : int
        The visit.
    inputs : tuple of WarpInput
        Its CCDs which may be on the patch.
    root : str
        The repository.
    config : WarpConfig
        Numbers.
    scratch : str
        Folder of the node for warps; empty: they are values.
    """

    area: PatchArea
    filter: str
    visit: int
    inputs: tuple[WarpInput, ...]
    root: str
    config: WarpConfig
    scratch: str = ""


def make_warp(job: WarpJob) -> Warp:
    """Read the CCDs, resample them, and record what the warp is made of.

    Returns
    -------
    Warp
        The part of the patch which is covered; without pixels if the visit is not on the patch.

    Raises
    ------
    FrameError
        If a CCD's image or its solution can't be used.
    """
    patch = make_wcs(job.area.patch_wcs)
    overlaps = list(_overlaps(job, patch))
    rows, columns = job.area.shape
    canvas = Canvas.empty(_whole([one.box for one in overlaps]))
    used = [one.entry for one in overlaps if _add(canvas, one, job.root, patch)]
    part = canvas.trimmed()
    filled = (part.mask & bit("NO_DATA")) == 0
    coverage = float(np.count_nonzero(filled)) / (rows * columns)
    if not used or coverage < job.config.least_coverage:
        part, filled, used = Canvas.empty(Box(0, 0, 0, 0)), np.zeros((0, 0), bool), []
    weight = 1 / float(np.median(part.variance[filled])) if used else 0.0
    record(
        tract=job.area.tract,
        patch=list(job.area.patch),
        filter=job.filter,
        visit=job.visit,
        n_ccds=len(used),
        coverage=coverage,
    )
    inputs = tuple(PsfInput(one.visit, one.ccd, one.solution, one.psf, weight) for one in used)
    return Warp(part.image, part.variance, part.mask, part.box.x0, part.box.y0, inputs)


@dataclass(frozen=True, slots=True)
class _Overlap:
    """A CCD, its world coordinates, and the part of the patch on which it may have pixels."""

    entry: WarpInput
    wcs: Any
    box: Box


def _overlaps(job: WarpJob, patch: Any) -> Iterator[_Overlap]:
    """Give the CCDs which are on the patch, without opening their files."""
    rows, columns = job.area.shape
    for one in job.inputs:
        if not math.isfinite(one.solution.zero_point):
            raise FrameError(f"{one.image} has no zero point")
        wcs = make_wcs(one.solution.wcs)
        box = covered_box(wcs, one.shape, patch, Box(0, 0, columns, rows))
        if box:
            yield _Overlap(one, wcs, box)


def _whole(boxes: list[Box]) -> Box:
    whole = boxes[0] if boxes else Box(0, 0, 0, 0)
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole


def _add(canvas: Canvas, overlap: _Overlap, root: str, patch: Any) -> bool:
    """Resample a CCD to the canvas; return whether it is on it."""
    entry = overlap.entry
    path = Path(root) / entry.image
    image, mask, variance = read_image(path)
    if image.shape != entry.shape:
        raise FrameError(f"{path} has {image.shape[1]} x {image.shape[0]} pixels, not as expected")
    if entry.sky is not None:
        image = image - expand_mesh(entry.sky, entry.cell, entry.shape)
        image[(mask & bit("NO_DATA")) != 0] = 0
    scale = 10 ** (0.4 * (ZERO_POINT - entry.solution.zero_point))
    try:
        pixel_map = map_pixels(overlap.wcs, patch, overlap.box)
    except FrameError as error:
        raise FrameError(f"{entry.image}: {error}") from error
    return put(canvas, Pixels(image, mask, variance), pixel_map, scale) > 0
