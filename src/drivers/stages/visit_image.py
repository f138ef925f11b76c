"""Draws a visit: all its CCDs, binned, in one small image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits

from drivers.exposure import Image, Mask, bit
from drivers.fits_layout import open_fits
from drivers.focal_plane_image import Plane, Tile, assemble, binned, plane_of, png, shades, tile_of
from drivers.frame_error import FrameError
from drivers.meshes import expand_mesh
from drivers.product import written
from drivers.stages.sky_correction import read_sky_correction
from mpipool import Pool, record

STAGE = "visualizeVisit"

SkyChoice = Literal["subtracted", "corrected", "original"]
"""What is drawn: the calibrated images as they are, with the visit's sky correction subtracted, or
with the sky which they had."""

_UNUSABLE = bit("NO_DATA", "BAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitImageJob:
    """What the task of a visit gets.

    Attributes
    ----------
    visit : int
        The visit.
    ccds : tuple of Mapping
        The rows of its CCDs: ccd, image, wcs, corners, pixel_scale.
    root, image, picture : str
        The repository, and below it the FITS and the PNG file to write.
    sky : str
        See `SkyChoice`.
    correction : str
        The file of the visit's sky correction.
    size : int
        Side of the squares that become one pixel [px].
    """

    visit: int
    ccds: tuple[Mapping[str, Any], ...]
    root: str
    image: str
    picture: str
    sky: SkyChoice
    correction: str
    size: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A CCD's part of the image; or why there is none."""

    tile: Tile | None
    failure: str = ""


def draw_visit(job: VisitImageJob) -> dict[str, Any]:
    """Draw a visit, its CCDs on whatever ranks are free, and write it.

    Returns
    -------
    dict
        ``image`` and ``picture`` (below the repository), ``n_ccds`` and ``notes``: a CCD that can't
        be used is named, and the others are drawn.

    Raises
    ------
    FrameError
        If none can be used.
    ProductError
        If a file can't be written.
    """
    scales = [row["pixel_scale"] for row in job.ccds if row["pixel_scale"]]
    if not scales:
        raise FrameError(f"visit {job.visit}: nobody knows the scale of its CCDs")
    plane = plane_of([row["corners"] for row in job.ccds], float(np.median(scales)) * job.size)
    meshes: Mapping[int, Any] = {}
    cell = 0
    if job.sky == "corrected":
        correction = read_sky_correction(Path(job.root) / job.correction)
        meshes, cell = correction.meshes, correction.cell
    items = [_CcdImage(row, meshes.get(row["ccd"]), cell) for row in job.ccds]
    drawn: list[_Drawn] = Pool().scatterGather(draw_ccd, items, job, plane)
    tiles = [one.tile for one in drawn if one.tile]
    notes = [one.failure for one in drawn if one.failure]
    if not tiles:
        raise FrameError(f"visit {job.visit}: {'; '.join(notes)}")
    _write(job, assemble(tiles, plane), plane)
    row = {
        "visit": job.visit, "image": job.image, "picture": job.picture, "n_ccds": len(tiles),
        "notes": notes,
    }  # fmt: skip
    record(**row)
    return row


@dataclass(frozen=True, slots=True)
class _CcdImage:
    """A CCD to be drawn, and its part of the sky correction."""

    row: Mapping[str, Any]
    mesh: Any
    cell: int


def draw_ccd(item: _CcdImage, job: VisitImageJob, plane: Plane) -> _Drawn:
    """Read a CCD, do to its sky what is asked for, and make it small."""
    path = Path(job.root) / item.row["image"]
    try:
        image, mask = _read(path, with_sky=job.sky == "original")
        shape = image.shape[0], image.shape[1]
        if job.sky == "corrected":
            if item.mesh is None:
                raise FrameError(f"ccd {item.row['ccd']} is not in the sky correction")
            image = image - expand_mesh(item.mesh, item.cell, shape)
        small = binned(image, (mask & _UNUSABLE) != 0, job.size)
        return _Drawn(tile_of(small, job.size, item.row["wcs"], plane))
    except FrameError as error:
        return _Drawn(None, str(error))


def _read(path: Path, *, with_sky: bool) -> tuple[Image, Mask]:
    """Return image and mask of a calibrated image, with its sky put back if that is asked for."""
    try:
        with open_fits(path) as units:
            image, mask = np.array(units["IMAGE"].data, np.float32), np.array(units["MASK"].data)
            if with_sky:
                sky = units["SKY"]
                shape = image.shape[0], image.shape[1]
                image += expand_mesh(sky.data, int(sky.header["CELL"]), shape)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FrameError(f"{path} can't be read: {error}") from error
    return image, mask


def _write(job: VisitImageJob, image: Any, plane: Plane) -> None:
    primary = fits.PrimaryHDU(image)
    primary.header.update(plane.wcs)
    primary.header["VISIT"] = (job.visit, "exposure")
    primary.header["BINNING"] = (job.size, "[pixel] side of the squares")
    primary.header["SKY"] = (job.sky, "what was done to the sky")
    with written(Path(job.root) / job.image) as part:
        primary.writeto(str(part), overwrite=True, checksum=True)
    with written(Path(job.root) / job.picture) as part:
        part.write_bytes(png(shades(image)))
