"""Stage `forcedCcd`: the sources of the reference, measured on the CCDs of one visit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.blends.psf_fit import Field, fit_fluxes, placed
from drivers.configuration.coadd import ForcedCcdConfig
from drivers.exposure import bit
from drivers.fits_product import provenance, read_image, table_unit, write_product
from drivers.frame_error import FrameError
from drivers.meshes import expand_mesh
from drivers.psf_model import evaluate
from drivers.results import Reference, Table, WarpInput
from drivers.sky_position import make_wcs, sky_corners
from drivers.stages.warp import ZERO_POINT
from drivers.warping.pixel_map import sky_to_pixels
from mpipool import Pool, record

STAGE = "forcedCcd"
VERSION = "1"

Floats = NDArray[np.float64]

PLACE = np.dtype([("id", "i8"), ("ra", "f8"), ("dec", "f8")])
"""Where a source is measured: id, position [deg]."""

MEASURED = np.dtype(
    [
        ("id", "i8"), ("visit", "i8"), ("ccd", "i4"), ("x", "f8"), ("y", "f8"),
        ("ra", "f8"), ("dec", "f8"), ("psf_flux", "f8"), ("psf_flux_err", "f8"),
        ("aperture_flux", "f8"), ("aperture_flux_err", "f8"),
        ("flag_edge", "?"), ("flag_saturated", "?"), ("flag_interpolated", "?"),
        ("flag_psf", "?"),
    ]
)  # fmt: skip
"""A row of the catalogue; fluxes in nJy."""

_UNITS = {
    "x": "pixel", "y": "pixel", "ra": "deg", "dec": "deg", "psf_flux": "nJy",
    "psf_flux_err": "nJy", "aperture_flux": "nJy", "aperture_flux_err": "nJy",
}  # fmt: skip

_CORE = 2
"""Pixels around a source's position which are its core."""


@dataclass(frozen=True, slots=True)
class ForcedCcdJob:
    """What a task gets.

    Attributes
    ----------
    visit : int, filter : str
        Its data ID.
    root, catalog : str
        The repository, and below it the file to write.
    ccds : tuple of WarpInput
        Of the visit.
    places : structured array of `PLACE`
        Primary sources which may be on the visit.
    config : ForcedCcdConfig
        Numbers.
    """

    visit: int
    filter: str
    root: str
    catalog: str
    ccds: tuple[WarpInput, ...]
    places: Table
    config: ForcedCcdConfig


@dataclass(frozen=True, slots=True)
class CcdSources:
    """What is measured on a CCD: an item of the scatter."""

    ccd: WarpInput
    places: Table


@dataclass(frozen=True, slots=True)
class CcdMeasured:
    """What was measured on a CCD, and why not if it wasn't."""

    rows: Table
    failure: str


def forced_ccd(job: ForcedCcdJob) -> dict[str, object]:
    """Measure on all CCDs of a visit, write one catalogue, and record how many sources there are.

    A CCD that can't be used is named in the record's notes, and the others are measured.

    Returns
    -------
    dict
        What was recorded.

    Raises
    ------
    FrameError
        If no CCD can be used.
    ProductError
        If the file can't be written.
    """
    items = [CcdSources(one, _nearby(one, job.places)) for one in job.ccds]
    if len(items) >= job.config.scatter_ccds:
        measured = partial(measure_ccd, root=job.root, config=job.config)
        found = Pool().map(measured, items, stage="forcedOnCcd")
    else:
        found = [measure_ccd(item, job.root, job.config) for item in items]
    failures = [one.failure for one in found if one.failure]
    if failures and len(failures) == len(found):
        raise FrameError("; ".join(failures))
    rows = np.concatenate([np.zeros(0, MEASURED), *(one.rows for one in found)])
    row: dict[str, object] = {
        "visit": job.visit,
        "filter": job.filter,
        "catalog": job.catalog,
        "n_ccds": len(found) - len(failures),
        "n_sources": len(rows),
        "notes": failures,
    }
    record(**row)
    keywords = {
        **provenance(STAGE, VERSION, job.config.digest()),
        "VISIT": (job.visit, "exposure"),
        "FILTER": (job.filter, "filter"),
        "APRAD": (job.config.aperture, "[pixel] radius of the aperture"),
        **{f"INPUT{n}": one.image for n, one in enumerate(job.ccds, start=1)},
    }
    unit = table_unit("SOURCES", rows, _UNITS, {})
    write_product(Path(job.root) / job.catalog, [unit], keywords)
    return row


def primary_places(references: Iterable[Reference]) -> Table:
    """Return where the primary sources of patches are: each source once, as `PLACE`."""
    chosen = [one.sources[one.sources["primary"]] for one in references]
    places = np.zeros(sum(map(len, chosen)), PLACE)
    for name in PLACE.names or ():
        places[name] = np.concatenate([places[name][:0], *(one[name] for one in chosen)])
    return places


def _nearby(ccd: WarpInput, places: Table) -> Table:
    """Return the places which are no farther from the CCD's middle than its corners."""
    corners = _vectors(*np.array(sky_corners(make_wcs(ccd.solution.wcs), ccd.shape)).T)
    middle = corners.mean(axis=0)
    middle /= np.linalg.norm(middle)
    farthest = float((corners @ middle).min())
    near: Table = places[_vectors(places["ra"], places["dec"]) @ middle >= farthest]
    return near


def _vectors(ra: Floats, dec: Floats) -> Floats:
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack(
        [np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1
    )


def measure_ccd(item: CcdSources, root: str, config: ForcedCcdConfig) -> CcdMeasured:
    """Measure the sources that are on a CCD; what is wrong with it is part of the result."""
    try:
        return CcdMeasured(_measure(item, root, config), "")
    except FrameError as error:
        return CcdMeasured(np.zeros(0, MEASURED), str(error))


def _measure(item: CcdSources, root: str, config: ForcedCcdConfig) -> Table:
    ccd = item.ccd
    if not math.isfinite(ccd.solution.zero_point):
        raise FrameError(f"{ccd.image} has no zero point")
    rows = _rows(ccd, item.places)
    if not len(rows):
        return rows
    image, mask, variance = read_image(Path(root) / ccd.image)
    if image.shape != ccd.shape:
        raise FrameError(f"{ccd.image} is not of the size that was expected")
    if ccd.sky is not None:
        image = image - expand_mesh(ccd.sky, ccd.cell, ccd.shape)
        image[(mask & bit("NO_DATA")) != 0] = 0
    usable = (mask & bit("NO_DATA", "SAT")) == 0
    flux, error = _psf_fluxes(ccd, Field(image, variance, usable), rows)
    rows["psf_flux"], rows["psf_flux_err"] = flux, error
    rows["flag_psf"] = ~np.isfinite(flux)
    rows["aperture_flux"], rows["aperture_flux_err"], _ = sep.sum_circle(
        image, rows["x"], rows["y"], config.aperture, var=variance, subpix=5
    )
    scale = 10 ** (0.4 * (ZERO_POINT - ccd.solution.zero_point))
    for name in ("psf_flux", "psf_flux_err", "aperture_flux", "aperture_flux_err"):
        rows[name] *= scale
    _flag(rows, mask)
    return rows


def _rows(ccd: WarpInput, places: Table) -> Table:
    """Return a row for each place on the CCD."""
    x, y = sky_to_pixels(make_wcs(ccd.solution.wcs), places["ra"], places["dec"])
    height, width = ccd.shape
    with np.errstate(invalid="ignore"):
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    rows = np.zeros(int(inside.sum()), MEASURED)
    for name in ("id", "ra", "dec"):
        rows[name] = places[name][inside]
    rows["visit"], rows["ccd"] = ccd.visit, ccd.ccd
    rows["x"], rows["y"] = x[inside], y[inside]
    return rows


def _psf_fluxes(ccd: WarpInput, pixels: Field, rows: Table) -> tuple[Floats, Floats]:
    if ccd.psf is None:
        nothing = np.full(len(rows), np.nan)
        return nothing, nothing
    stamps = evaluate(ccd.psf, rows["x"], rows["y"])
    points = [
        placed(stamp, round(x), round(y), ccd.shape)
        for stamp, x, y in zip(stamps, rows["x"].tolist(), rows["y"].tolist(), strict=True)
    ]
    return fit_fluxes(pixels, points)


def _flag(rows: Table, mask: NDArray[np.int32]) -> None:
    """Set the flags which the pixels around each source call for."""
    column, row = np.rint(rows["x"]).astype(int), np.rint(rows["y"]).astype(int)
    offset = np.arange(-_CORE, _CORE + 1)
    padded = np.pad(mask, _CORE, constant_values=bit("NO_DATA"))
    around = padded[
        row[:, None, None] + _CORE + offset[:, None], column[:, None, None] + _CORE + offset
    ]
    found = np.bitwise_or.reduce(around, axis=(1, 2))
    rows["flag_edge"] = (found & bit("NO_DATA", "EDGE")) != 0
    rows["flag_saturated"] = (found & bit("SAT")) != 0
    rows["flag_interpolated"] = (found & bit("INTRP", "BAD", "CR")) != 0
