"""Stage `mergeMeasurements`: for each source the filter which says where it is and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import recfunctions

from drivers.blends.catalog import UNITS, flag_keywords
from drivers.configuration.coadd import MergeMeasurementsConfig
from drivers.fits_product import provenance, table_unit, write_product
from drivers.frame_error import FrameError
from drivers.primary import is_in_inner_patch, is_in_inner_tract
from drivers.results import REFERENCE_SOURCE, Measured, PatchArea, Reference, Table
from drivers.stages.merge_detections import by_priority
from drivers.stages.patch_sources import area_keywords
from mpipool import record

STAGE = "mergeMeasurements"
VERSION = "1"

_FAILED = ("flag_psf", "flag_edge", "flag_kron")
"""A band with one of these is taken only where all have one."""


@dataclass(frozen=True, slots=True)
class MergeMeasurementsJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea
        Its data ID.
    root, catalog : str
        The repository, and below it the file to write.
    measured : Mapping of str to Measured
        By filter; all of the same merged detections.
    bands : tuple of str
        Filters by priority.
    config : MergeMeasurementsConfig
        Numbers.
    """

    area: PatchArea
    root: str
    catalog: str
    measured: Mapping[str, Measured]
    bands: tuple[str, ...]
    config: MergeMeasurementsConfig


def merge_measurements(job: MergeMeasurementsJob) -> Reference:
    """Choose each source's reference filter, write the reference catalogue, record how many.

    Raises
    ------
    FrameError
        If the filters' catalogues are not of the same sources.
    ProductError
        If the file can't be written.
    """
    bands = by_priority(job.measured, job.bands)
    tables = [job.measured[band].sources for band in bands]
    if any(not np.array_equal(tables[0]["id"], one["id"]) for one in tables[1:]):
        raise FrameError(f"{job.area}: the filters' catalogues are not of the same sources")
    chosen = _choose(tables, job.config.least_snr)
    rows = np.stack(tables)[chosen, np.arange(len(chosen))]
    inner_patch = is_in_inner_patch(job.area, rows["x"], rows["y"])
    inner_tract = is_in_inner_tract(job.area, rows["ra"], rows["dec"])
    primary = inner_patch & inner_tract
    row = {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "bands": list(bands),
        "catalog": job.catalog,
        "n_sources": len(rows),
        "n_primary": int(primary.sum()),
    }
    record(**row)
    width = max(map(len, bands))
    names = np.array([band.encode() for band in bands], f"S{width}")[chosen]
    more = ["band", "inner_patch", "inner_tract", "primary"]
    table = recfunctions.append_fields(
        rows, more, [names, inner_patch, inner_tract, primary], usemask=False
    )
    _write(job, table, bands)
    return Reference(row, _places(rows, primary))


def _choose(tables: Sequence[Table], least: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return for each source the index of its reference filter."""
    snr = np.stack([_snr(table) for table in tables])
    enough = snr >= least
    return np.asarray(np.where(enough.any(axis=0), enough.argmax(axis=0), snr.argmax(axis=0)))


def _snr(table: Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return signal-to-noise ratios: below 0 where the filter should not be taken."""
    error = table["psf_flux_err"]
    known = np.isfinite(table["psf_flux"]) & (error > 0)
    snr = np.where(known, table["psf_flux"] / np.where(known, error, 1), -1e9)
    failed = np.any([table[flag] for flag in _FAILED], axis=0)
    return np.asarray(np.where(failed, np.minimum(snr, 0) - 1, snr))


def _places(rows: Table, primary: Table) -> Table:
    places = np.zeros(len(rows), REFERENCE_SOURCE)
    for name in REFERENCE_SOURCE.names or ():
        places[name] = primary if name == "primary" else rows[name]
    return places


def _write(job: MergeMeasurementsJob, table: Table, bands: Sequence[str]) -> None:
    keywords = {
        **provenance(STAGE, VERSION, job.config.digest()),
        **area_keywords(job.area, ",".join(bands)),
        **{f"INPUT{n}": job.measured[band].row["catalog"] for n, band in enumerate(bands, start=1)},
    }
    unit = table_unit("SOURCES", table, UNITS, flag_keywords())
    write_product(Path(job.root) / job.catalog, [unit], keywords)
