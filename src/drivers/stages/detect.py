"""Stage `detect`: the sources of a coadd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.coaddition.psf import CoaddPsf, moment_width
from drivers.configuration.coadd import DetectConfig
from drivers.fits_product import read_image
from drivers.footprints.detection import Limits, find_sources, grow, sky_mesh, smooth, subtract_mesh
from drivers.footprints.runs import areas, label_image
from drivers.found import Detections
from drivers.results import Coadd, PatchArea, PsfInput
from mpipool import record

STAGE = "detect"
VERSION = "1"

_GAUSSIAN_FWHM = 2.3548
_WINGS = 4.0
"""Widths of a star by which footprints are grown before the sky is measured without them."""

_UNKNOWN_WIDTH = 1.7
"""Of a star [px, standard deviation], where no input says."""


@dataclass(frozen=True, slots=True)
class DetectJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea, filter : str
        Its data ID.
    root : str
        The repository.
    coadd : Coadd
        Where to look.
    config : DetectConfig
        Numbers.
    """

    area: PatchArea
    filter: str
    root: str
    coadd: Coadd
    config: DetectConfig


def detect(job: DetectJob) -> Detections:
    """Find footprints and peaks on a coadd, and what is left of its sky; record how many.

    Raises
    ------
    FrameError
        If the coadd can't be used.
    """
    image, mask, variance = read_image(Path(job.root) / job.coadd.row["image"])
    width = star_width(job.coadd.inputs, job.area)
    limits = Limits(
        job.config.threshold,
        job.config.min_pixels,
        job.config.prominence,
        job.config.prominence_fraction,
    )
    # Where the sky is too bright all of it would be a source: a first look takes all pixels.
    cell = job.config.sky_cell
    guess = subtract_mesh(image, mask, sky_mesh(image, mask, np.zeros_like(mask, bool), cell), cell)
    first, _ = find_sources(smooth(guess, mask, variance, width), limits)
    sources = grow(label_image(first, job.area.shape) > 0, _WINGS * width)
    mesh = sky_mesh(image, mask, sources, cell)
    level = subtract_mesh(image, mask, mesh, cell)
    footprints, peaks = find_sources(smooth(level, mask, variance, width), limits)
    row = {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "filter": job.filter,
        "n_footprints": len(footprints),
        "n_peaks": len(peaks),
        "largest": int(areas(footprints).max(initial=0)),
        "sky": None if mesh is None else float(np.median(mesh)),
    }
    record(**row)
    return Detections(row, footprints, peaks, mesh, cell, float(_GAUSSIAN_FWHM * width))


def star_width(inputs: Sequence[PsfInput], area: PatchArea) -> float:
    """Return the typical width of stars on a coadd [px, standard deviation]."""
    rows, columns = area.shape
    x, y = np.meshgrid(np.linspace(0, columns - 1, 5), np.linspace(0, rows - 1, 5))
    stamps = CoaddPsf(inputs, area.patch_wcs).stamps(x.ravel(), y.ravel())
    widths = [moment_width(stamp) for stamp in stamps if stamp is not None]
    return float(np.median(widths)) if widths else _UNKNOWN_WIDTH
