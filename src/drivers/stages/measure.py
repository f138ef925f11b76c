"""Stage `measure`: the sources of a patch, measured on the coadd of one filter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.blends.cutting import Sources, skipped_footprints
from drivers.blends.measuring import How
from drivers.configuration.coadd import MeasureConfig
from drivers.footprints.runs import areas
from drivers.found import Detections, Merged
from drivers.results import Coadd, Measured, PatchArea
from drivers.stages.patch_sources import (
    Task,
    catalog_keywords,
    measure_sources,
    read_planes,
    write_catalog,
)
from mpipool import record

STAGE = "measure"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea, filter : str
        Its data ID.
    root, catalog : str
        The repository, and below it the file to write.
    coadd : Coadd, detections : Detections
        Of this filter.
    merged : Merged
        The sources of all filters.
    config : MeasureConfig
        Numbers.
    """

    area: PatchArea
    filter: str
    root: str
    catalog: str
    coadd: Coadd
    detections: Detections
    merged: Merged
    config: MeasureConfig


def measure(job: MeasureJob) -> Measured:
    """Deblend and measure, write the catalogue, and record how many sources there are.

    Raises
    ------
    FrameError
        If the coadd can't be used.
    ProductError
        If the file can't be written.
    """
    config = job.config
    task = Task(
        job.area,
        job.coadd,
        How(config.apertures, config.kron_factor),
        config.deblend.max_area,
        config.scatter_cost,
    )
    sources = Sources(job.merged.footprints, job.merged.peaks, {})
    rows = measure_sources(read_planes(job.root, job.coadd, job.detections), sources, task)
    sizes = areas(job.merged.footprints)
    skipped = skipped_footprints(job.merged.footprints, job.merged.peaks, config.deblend.max_area)
    row = {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "filter": job.filter,
        "catalog": job.catalog,
        "n_sources": len(rows),
        "n_skipped": len(skipped),
        "largest_skipped": int(sizes[skipped].max(initial=0)),
        "max_area": config.deblend.max_area,
    }
    record(**row)
    keywords = catalog_keywords(
        (STAGE, VERSION, config.digest()), job.area, job.filter, [job.coadd.row["image"]]
    )
    counted = {
        "NSKIPPED": (len(skipped), "footprints too large to be deblended"),
        "MAXSKIP": (row["largest_skipped"], "[pixel] area of the largest of them"),
    }
    write_catalog(Path(job.root) / job.catalog, rows, task, {**keywords, **counted})
    return Measured(row, rows)
