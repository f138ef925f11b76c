"""Stage `coadd`: the warps of a patch in one filter, added up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from drivers.coaddition.psf import CoaddPsf, moment_width
from drivers.coaddition.rejection import Threshold
from drivers.coaddition.stack import Stacked, StackInput, stack_warps
from drivers.configuration.coadd import CoaddConfig
from drivers.exposure import bit
from drivers.fits_product import image_unit, provenance, table_unit, write_product
from drivers.frame_error import FrameError
from drivers.psf_model import at_positions
from drivers.results import Coadd, PatchArea, PsfInput, Warp
from drivers.stages.scratch import ScratchWarp, fetch, let_go
from drivers.stages.warp import ZERO_POINT
from mpipool import record

STAGE = "coadd"
VERSION = "1"

_GAUSSIAN_FWHM = 2.3548
_UNKNOWN_WIDTH = 1.7
"""Of a star [px, standard deviation], where no input says."""


@dataclass(frozen=True, slots=True)
class CoaddJob:
    """What a task gets, besides the warps.

    Attributes
    ----------
    area : PatchArea, filter : str
        Its data ID.
    root, image : str
        The repository, and below it the file to write.
    config : CoaddConfig
        Numbers.
    """

    area: PatchArea
    filter: str
    root: str
    image: str
    config: CoaddConfig


def coadd(job: CoaddJob, *warps: Warp | ScratchWarp) -> Coadd:
    """Add warps up, write the coadd, and record what it is made of.

    Raises
    ------
    FrameError
        If none of the warps has data, or one must be made again and can't be.
    ProductError
        If the file can't be written.
    """
    fetched = [warp for warp in map(fetch, warps) if warp.image.size and warp.inputs]
    if not fetched:
        raise FrameError(f"{job.area} filter {job.filter}: no visit has usable pixels here")
    inputs = [_input(warp) for warp in fetched]
    threshold = Threshold(job.config.clip_sigma, job.config.clip_fraction)
    stacked = stack_warps(inputs, job.area.shape, threshold)
    psf_inputs = tuple(one for warp in fetched for one in warp.inputs)
    row = _row(job, stacked, psf_inputs)
    record(**row)
    write_product(Path(job.root) / job.image, _units(job, stacked, psf_inputs), _keywords(job, row))
    for warp in warps:
        let_go(warp)
    return Coadd(row, psf_inputs)


def _input(warp: Warp) -> StackInput:
    widths = [_width(one) for one in warp.inputs if one.psf is not None]
    return StackInput(
        warp, warp.inputs[0].weight, float(np.mean(widths)) if widths else _UNKNOWN_WIDTH
    )


def _width(entry: PsfInput) -> float:
    """Return the width of a CCD's stars in its middle [px]; the patch's pixels are as large."""
    assert entry.psf
    rows, columns = entry.psf.shape
    middle = np.array([columns / 2.0]), np.array([rows / 2.0])
    return moment_width(at_positions(entry.psf, *middle)[0])


def _row(job: CoaddJob, stacked: Stacked, inputs: Sequence[PsfInput]) -> dict[str, Any]:
    covered = stacked.count > 0
    rows, columns = job.area.shape
    middle = np.array([columns / 2.0]), np.array([rows / 2.0])
    stamp = CoaddPsf(inputs, job.area.patch_wcs).stamps(*middle)[0]
    fwhm = None if stamp is None else _GAUSSIAN_FWHM * moment_width(stamp)
    noise = float(np.sqrt(np.median(stacked.variance[covered]))) if covered.any() else None
    return {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "filter": job.filter,
        "image": job.image,
        "n_visits": len({one.visit for one in inputs}),
        "n_ccds": len(inputs),
        "covered": float(covered.mean()),
        "clipped": float(((stacked.mask & bit("CLIPPED")) != 0).mean()),
        "fwhm": fwhm,
        "noise": noise,
    }


def _keywords(job: CoaddJob, row: dict[str, Any]) -> dict[str, Any]:
    return {
        **provenance(STAGE, VERSION, job.config.digest()),
        "TRACT": (job.area.tract, "tract"),
        "PATCH": ("{},{}".format(*job.area.patch), "column and row of the patch"),
        "FILTER": (job.filter, "filter"),
        "NVISITS": (row["n_visits"], "visits in it"),
        "NCCDS": (row["n_ccds"], "CCDs in it, listed in INPUTS"),
        "MAGZERO": (ZERO_POINT, "[mag] AB magnitude of 1 nJy"),
        "SEEINGPX": (row["fwhm"], "[pixel] full width at half maximum in the middle"),
        "PATCHX0": (job.area.x0, "column of the tract which is the first one here"),
        "PATCHY0": (job.area.y0, "row of the tract which is the first one here"),
    }


def _units(job: CoaddJob, stacked: Stacked, inputs: Sequence[PsfInput]) -> list[fits.ImageHDU]:
    wcs = job.area.patch_wcs
    flux = {"BUNIT": "nJy", "MAGZERO": (ZERO_POINT, "[mag] AB magnitude of 1 nJy")}
    return [
        image_unit("IMAGE", stacked.image, wcs, flux),
        image_unit("MASK", stacked.mask, wcs, {}),
        image_unit("VARIANCE", stacked.variance, wcs, {"BUNIT": "nJy2"}),
        image_unit("WEIGHT", stacked.weight, wcs, {"BUNIT": "nJy-2"}),
        image_unit("NIMAGE", stacked.count, wcs, {}),
        table_unit("INPUTS", _table(inputs), {"zero_point": "mag", "weight": "nJy-2"}, {}),
    ]


def _table(inputs: Sequence[PsfInput]) -> np.ndarray[Any, Any]:
    """Return the inputs as a table; their world coordinates are JSON."""
    cards = [json.dumps(one.solution.wcs) for one in inputs]
    kind = [
        ("visit", "i8"), ("ccd", "i4"), ("weight", "f8"), ("zero_point", "f8"), ("has_psf", "?"),
        ("wcs", f"S{max(map(len, cards))}"),
    ]  # fmt: skip
    rows = [
        (one.visit, one.ccd, one.weight, one.solution.zero_point, one.psf is not None, card)
        for one, card in zip(inputs, cards, strict=True)
    ]
    return np.array(rows, np.dtype(kind))
