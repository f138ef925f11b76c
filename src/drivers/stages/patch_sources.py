"""What the stages `measure` and `forced` have in common: measuring the sources of a patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drivers.blends.catalog import UNITS, flag_keywords
from drivers.blends.cutting import Blend, Planes, Sources, cut_blends
from drivers.blends.measuring import How, measure_blends
from drivers.fits_product import provenance, read_image, table_unit, write_product
from drivers.footprints.detection import subtract_mesh
from drivers.found import Detections
from drivers.results import Coadd, PatchArea, Table
from mpipool import Pool

_CHUNKS = 32
"""Items into which the blends of a heavy patch are put."""


@dataclass(frozen=True, slots=True)
class Task:
    """How a patch is measured.

    Attributes
    ----------
    area : PatchArea
        The patch.
    coadd : Coadd
        Its coadd.
    how : How
        What is measured.
    max_area : int
        Footprints of several sources with more pixels are measured as one source.
    scatter_cost : float
        Cost from which on blends are scattered over several ranks; see `cost`.
    """

    area: PatchArea
    coadd: Coadd
    how: How
    max_area: int
    scatter_cost: float


def read_planes(root: str, coadd: Coadd, detections: Detections) -> Planes:
    """Return the pixels of a coadd, without what is left of the sky.

    Raises
    ------
    FrameError
        If the coadd can't be used.
    """
    image, mask, variance, count = read_image(Path(root) / coadd.row["image"], "NIMAGE")
    level = subtract_mesh(image, mask, detections.sky, detections.cell)
    return Planes(level, mask, variance, count)


def measure_sources(planes: Planes, sources: Sources, task: Task) -> Table:
    """Return the rows of all sources of a patch, by footprint.

    Where there are many, blends are scattered over the ranks which are free, with the same result.
    """
    blends = cut_blends(planes, sources, task.area, task.max_area)
    arguments = (task.coadd.inputs, task.area.patch_wcs, task.how)
    total = _total_cost(sources)
    if total < task.scatter_cost:
        return measure_blends(blends, *arguments)
    chunks = _chunks(blends, total / _CHUNKS)
    measured = partial(_measured, arguments)
    return np.concatenate(Pool().map(measured, chunks, stage="measureBlends"))


def _measured(arguments: tuple[Any, ...], blends: list[Blend]) -> Table:
    return measure_blends(blends, *arguments)


def cost(n_sources: float) -> float:
    """Return what a blend of so many sources costs, in units of one by itself."""
    return float(n_sources**1.5)


def _total_cost(sources: Sources) -> float:
    if not len(sources.peaks):
        return 0.0
    count = np.bincount(sources.peaks["footprint"], minlength=len(sources.footprints))
    return float((count**1.5).sum())


def _chunks(blends: Iterator[Blend], share: float) -> Iterator[list[Blend]]:
    """Give blends in lists of about the same cost."""
    chunk: list[Blend] = []
    gathered = 0.0
    for blend in blends:
        chunk.append(blend)
        gathered += cost(len(blend.ids))
        if gathered >= share:
            yield chunk
            chunk, gathered = [], 0.0
    if chunk:
        yield chunk


def write_catalog(path: Path, rows: Table, task: Task, keywords: dict[str, Any]) -> None:
    """Write the rows as table SOURCES.

    Raises
    ------
    ProductError
        If the file can't be written.
    """
    radii = {
        f"APRAD{n}": (radius, f"[pixel] radius of aperture {n}")
        for n, radius in enumerate(task.how.apertures, start=1)
    }
    about = {**radii, "KRONFACT": (task.how.kron_factor, "Kron radii of the Kron flux")}
    unit = table_unit("SOURCES", rows, UNITS, {**about, **flag_keywords()})
    write_product(path, [unit], keywords)


def area_keywords(area: PatchArea, band: str) -> dict[str, Any]:
    """Return the cards which say what a product is of."""
    return {
        "TRACT": (area.tract, "tract"),
        "PATCH": ("{},{}".format(*area.patch), "column and row of the patch"),
        "FILTER": (band, "filter"),
    }


def catalog_keywords(
    stage: tuple[str, str, str], area: PatchArea, band: str, inputs: Sequence[str]
) -> dict[str, Any]:
    """Return the primary header of a catalogue: what it is of and what it was made from.

    Parameters
    ----------
    stage : (str, str, str)
        Name, version, digest of the configuration.
    area, band
        Its data ID.
    inputs : sequence of str
        Files, below the repository.
    """
    files = {f"INPUT{n}": path for n, path in enumerate(inputs, start=1)}
    return {**provenance(*stage), **area_keywords(area, band), **files}
