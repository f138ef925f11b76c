"""Stage ``skyCorrection``: the sky of a visit over the whole focal plane."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.fits_layout import open_fits
from drivers.fits_product import provenance, table_unit, write_product
from drivers.focal_plane_sky.cells import CcdSky, Cells, as_meshes, gather_cells
from drivers.focal_plane_sky.model import SkyModel, model_sky
from drivers.focal_plane_sky.sky_frame import SkyFrame, read_sky_frames
from drivers.frame_error import FrameError
from drivers.registry import Calib
from drivers.results import CcdResult, SkyCorrection
from mpipool import record

STAGE = "skyCorrection"
VERSION = "1"

CELL = np.dtype(
    [
        ("ccd", "i2"), ("row", "i2"), ("column", "i2"), ("east", "f4"), ("north", "f4"),
        ("sky", "f4"), ("model", "f4"), ("correction", "f4"), ("used", "?"),
    ]
)  # fmt: skip
"""A cell in the file: its CCD, place in the mesh and in the focal plane, the sky which was there
(NaN where it is not known), its model, what has to be subtracted from the calibrated image, and
whether the model was made from it."""


@dataclass(frozen=True, slots=True)
class SkyJob:
    """What a task gets.

    Attributes
    ----------
    root, output : str
        The repository, and below it the file to write.
    visit, filter : int, str
        The visit.
    configuration : SkyCorrectionConfig
        What is done.
    sky_frames : dict of int to Calib
        The sky frames, by ccd; CCDs may be missing.
    """

    root: str
    output: str
    visit: int
    filter: str
    configuration: SkyCorrectionConfig
    sky_frames: Mapping[int, Calib] = field(default_factory=dict)


def correct_sky(job: SkyJob, ccds: list[CcdResult]) -> SkyCorrection:
    """Find one sky for all CCDs of a visit, write it, and record what was found.

    No image is opened: the CCDs' meshes are all it is made of.

    Returns
    -------
    SkyCorrection
        What has to be subtracted from the calibrated images.

    Raises
    ------
    FrameError
        If the meshes have not one size of cell, or a sky frame can't be used.
    ProductError
        If the file can't be written.
    """
    config = job.configuration
    try:
        skies = _skies(job, ccds)
        cells = gather_cells(skies)
    except FrameError as error:
        raise FrameError(f"visit {job.visit}: {error}") from error
    model = model_sky(cells, config)
    correction = model.total - (cells.subtracted if config.restore else 0.0)
    row = _row(job, cells, model)
    record(**row)
    cell = skies[0].mesh.cell
    _write(job, _table(cells, model, correction), cell, row)
    shapes = {sky.ccd: sky.mesh.subtracted.shape for sky in skies}
    return SkyCorrection(as_meshes(cells, correction, shapes), cell)


def read_sky_correction(path: Path) -> SkyCorrection:
    """Return what a file says that has to be subtracted from the calibrated images of a visit.

    Raises
    ------
    FrameError
        If it can't be read.
    """
    try:
        with open_fits(path) as units:
            table, cell = np.array(units["CELLS"].data), int(units[0].header["CELL"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FrameError(f"the sky correction {path} can't be read: {error}") from error
    meshes = {}
    for ccd in np.unique(table["ccd"]):
        own = table[table["ccd"] == ccd]
        mesh = np.zeros((own["row"].max() + 1, own["column"].max() + 1), np.float32)
        mesh[own["row"], own["column"]] = own["correction"]
        meshes[int(ccd)] = mesh
    return SkyCorrection(meshes, cell)


def _skies(job: SkyJob, ccds: list[CcdResult]) -> list[CcdSky]:
    if not ccds:
        raise FrameError("there are no CCDs")
    if len({ccd.sky.cell for ccd in ccds}) > 1:
        raise FrameError("the skies of its CCDs were measured in cells of different sizes")
    patterns = _patterns(job) if job.configuration.sky_frame else {}
    found = []
    for one in sorted(ccds, key=lambda one: int(one.row["ccd"])):
        ccd = int(one.row["ccd"])
        pattern = patterns[ccd].on(one.sky) if ccd in patterns else None
        is_flat = "flat" in one.row.get("calibs", {})
        found.append(CcdSky(ccd, one.sky, one.header or one.row["wcs"], pattern, is_flat))
    return found


def _patterns(job: SkyJob) -> dict[int, SkyFrame]:
    """Read the sky frames; each file is opened once."""
    files: dict[str, dict[int, int]] = defaultdict(dict)
    for ccd, calib in job.sky_frames.items():
        files[calib.path][ccd] = calib.hdu
    found: dict[int, SkyFrame] = {}
    for path, units in files.items():
        found.update(read_sky_frames(Path(job.root) / path, units))
    return found


def _row(job: SkyJob, cells: Cells, model: SkyModel) -> dict[str, Any]:
    original = cells.subtracted + cells.residual
    known = np.isfinite(original)
    left = (original - model.total)[model.used & known]
    if not job.configuration.restore:
        left = (cells.residual - model.total)[model.used & known]
    return {
        "visit": job.visit,
        "filter": job.filter,
        "n_ccds": len(np.unique(cells.ccd)),
        "n_cells": len(cells.ccd),
        "used_fraction": float(model.used.mean()),
        "sky_level": float(np.median(original[known])) if known.any() else None,
        "sky_left": float(left.std()) if left.size else None,
        "sky_frame_scale": model.scale,
        "n_without_flat": len(np.unique(cells.ccd[~cells.is_flat])),
    }


def _table(cells: Cells, model: SkyModel, correction: NDArray[Any]) -> NDArray[Any]:
    table = np.zeros(len(cells.ccd), CELL)
    for name in ("ccd", "row", "column", "east", "north"):
        table[name] = getattr(cells, name)
    table["sky"] = cells.subtracted + cells.residual
    table["model"], table["correction"], table["used"] = model.total, correction, model.used
    return table


def _write(job: SkyJob, table: NDArray[Any], cell: int, row: Mapping[str, Any]) -> None:
    units = {"east": "arcmin", "north": "arcmin"}
    keywords = {
        **provenance(STAGE, VERSION, job.configuration.digest()),
        "VISIT": (job.visit, "exposure"),
        "FILTER": (job.filter, "filter"),
        "CELL": (cell, "[pixel] side of a cell"),
        "NCCDS": (row["n_ccds"], "CCDs"),
        "SKYLEVEL": (row["sky_level"], "median of the sky"),
        "SKYLEFT": (row["sky_left"], "standard deviation of what is left of it"),
        "SKYSCALE": (row["sky_frame_scale"], "scale of the sky frame"),
    }
    write_product(Path(job.root) / job.output, [table_unit("CELLS", table, units, {})], keywords)
