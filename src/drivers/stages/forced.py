"""Stage `forced`: all sources of a patch, measured in one filter where the reference says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.blends.cutting import Sources
from drivers.blends.measuring import Ellipse, How
from drivers.configuration.coadd import ForcedConfig
from drivers.found import Detections, Merged
from drivers.results import Coadd, Measured, PatchArea, Reference
from drivers.stages.patch_sources import (
    Task,
    catalog_keywords,
    measure_sources,
    read_planes,
    write_catalog,
)
from mpipool import record

STAGE = "forced"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class ForcedJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea, filter : str
        Its data ID.
    root, catalog : str
        The repository, and below it the file to write.
    coadd : Coadd, detections : Detections
        Of this filter.
    merged : Merged, reference : Reference
        The sources of all filters.
    max_area : int
        That of `measure`: which footprints were measured as one source.
    config : ForcedConfig
        Numbers.
    """

    area: PatchArea
    filter: str
    root: str
    catalog: str
    coadd: Coadd
    detections: Detections
    merged: Merged
    reference: Reference
    max_area: int
    config: ForcedConfig


def forced(job: ForcedJob) -> Measured:
    """Measure at the reference's places and in its ellipses, write the catalogue, record how many.

    Raises
    ------
    FrameError
        If the coadd can't be used.
    ProductError
        If the file can't be written.
    """
    config = job.config
    places, ellipses = _places(job.reference)
    task = Task(
        job.area,
        job.coadd,
        How(config.apertures, config.kron_factor, ellipses),
        job.max_area,
        config.scatter_cost,
    )
    sources = Sources(job.merged.footprints, job.merged.peaks, places)
    rows = measure_sources(read_planes(job.root, job.coadd, job.detections), sources, task)
    row = {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "filter": job.filter,
        "catalog": job.catalog,
        "n_sources": len(rows),
    }
    record(**row)
    inputs = [job.coadd.row["image"], job.reference.row["catalog"]]
    keywords = catalog_keywords((STAGE, VERSION, config.digest()), job.area, job.filter, inputs)
    write_catalog(Path(job.root) / job.catalog, rows, task, keywords)
    return Measured(row, rows)


def _places(
    reference: Reference,
) -> tuple[dict[int, tuple[float, float]], dict[int, Ellipse]]:
    """Return by id where sources are, and their ellipses."""
    places: dict[int, tuple[float, float]] = {}
    ellipses: dict[int, Ellipse] = {}
    for source in reference.sources:
        number = int(source["id"])
        places[number] = float(source["x"]), float(source["y"])
        ellipses[number] = (
            float(source["a"]),
            float(source["b"]),
            float(source["theta"]),
            float(source["kron_radius"]),
        )
    return places, ellipses
