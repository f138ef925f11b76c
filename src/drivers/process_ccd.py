"""The task of `singleFrameDriver`: one CCD of one visit, from its file to a calibrated image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.wcs import WCS

from drivers.background import Sky, subtract_sky
from drivers.configuration import Configuration
from drivers.detection import Sources, find_sources
from drivers.exposure import NOT_SKY, Exposure
from drivers.exposure_io import read_exposure, write_catalog, write_exposure
from drivers.frame_error import FrameError
from drivers.product import written
from drivers.registry import RawFrame
from drivers.seeing import Seeing, measure_seeing
from drivers.sky_position import make_wcs, pixel_scale, sky_corners, sky_positions
from mpipool import record


@dataclass(frozen=True, slots=True)
class CcdJob:
    """What a task gets.

    Attributes
    ----------
    frame : RawFrame
        What the registry says of the frame.
    root, image, catalog : str
        The repository, and below it the two files to write.
    configuration : Configuration
        The numbers of the processing.
    """

    frame: RawFrame
    root: str
    image: str
    catalog: str
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on one CCD."""

    exposure: Exposure
    wcs: WCS
    sky: Sky
    sources: Sources
    seeing: Seeing


def process_ccd(job: CcdJob) -> dict[str, Any]:
    """Process one CCD, write its image and catalogue, and record what was measured.

    Returns
    -------
    dict
        ``n_sources`` and ``seeing`` [arcsec, or None].

    Raises
    ------
    FrameError
        If the frame can't be used.
    ProductError
        If a file can't be written.
    """
    try:
        measured = measure(job.frame, job.configuration)
        row = summarise(job, measured)
    except FrameError as error:
        raise FrameError(f"{job.frame.path}: {error}") from error
    record(**row)
    with written(Path(job.root) / job.image) as path:
        write_exposure(path, measured.exposure, _keywords(row))
    with written(Path(job.root) / job.catalog) as path:
        write_catalog(
            path, measured.sources, _units(measured.exposure.unit), _table_keywords(job, row)
        )
    return {"n_sources": row["n_sources"], "seeing": row["seeing"]}


def measure(frame: RawFrame, configuration: Configuration) -> Measured:
    """Read a frame, subtract its sky, find and measure its sources and the seeing."""
    exposure = read_exposure(frame, overscan_order=configuration.overscan_order)
    wcs = make_wcs(exposure.wcs)
    sky = subtract_sky(
        exposure, mesh=configuration.background_mesh, filter_size=configuration.background_filter
    )
    sources = find_sources(
        exposure,
        noise=sky.noise or 0.0,
        threshold=configuration.detect_threshold,
        min_pixels=configuration.detect_pixels,
        radii=configuration.apertures,
    )
    sources["ra"], sources["dec"] = sky_positions(wcs, sources["x"], sources["y"])
    seeing = measure_seeing(
        exposure, sources, min_signal_to_noise=configuration.seeing_signal_to_noise
    )
    if seeing.reason:
        exposure.notes.append(f"no seeing: {seeing.reason}")
    return Measured(exposure, wcs, sky, sources, seeing)


def summarise(job: CcdJob, measured: Measured) -> dict[str, Any]:
    """Return the CCD's row for the registry: values that JSON has, None for what is not known."""
    frame, exposure, seeing = job.frame, measured.exposure, measured.seeing
    rows, columns = exposure.image.shape
    scale = pixel_scale(measured.wcs, (rows, columns))
    return {
        "visit": frame.visit,
        "ccd": frame.ccd,
        "filter": frame.filter,
        "instrument": frame.instrument,
        "image": job.image,
        "catalog": job.catalog,
        "width": columns,
        "height": rows,
        "unit": exposure.unit,
        "wcs": exposure.wcs,
        "corners": sky_corners(measured.wcs, (rows, columns)),
        "pixel_scale": _finite(scale),
        "sky_level": _finite(measured.sky.level),
        "sky_noise": _finite(measured.sky.noise),
        "seeing": _finite(None if seeing.fwhm is None else seeing.fwhm * scale),
        "seeing_pixels": _finite(seeing.fwhm),
        "seeing_scatter": _finite(seeing.scatter),
        "n_seeing_stars": seeing.n_stars,
        "n_sources": len(measured.sources),
        "good_fraction": float((~exposure.has(NOT_SKY)).mean()),
        "notes": list(exposure.notes),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _keywords(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "INSTRUME": (row["instrument"], "camera"),
        "VISIT": (row["visit"], "exposure"),
        "CCD": (row["ccd"], "detector"),
        "FILTER": (row["filter"], "filter"),
        "SKYLEVEL": (row["sky_level"], f"[{row['unit']}] sky that was subtracted"),
        "SKYNOISE": (row["sky_noise"], f"[{row['unit']}] standard deviation of the sky"),
        "SEEING": (row["seeing"], "[arcsec] measured full width at half maximum"),
        "SEEINGPX": (row["seeing_pixels"], "[pixel] the same"),
        "NSTARS": (row["n_seeing_stars"], "stars the seeing was measured from"),
        "NSOURCES": (row["n_sources"], "sources in the catalogue"),
    }


def _table_keywords(job: CcdJob, row: dict[str, Any]) -> dict[str, Any]:
    radii = {
        f"APRAD{index}": (radius, f"[pixel] radius of aperture {index}")
        for index, radius in enumerate(job.configuration.apertures, start=1)
    }
    return {"VISIT": row["visit"], "CCD": row["ccd"], "FILTER": row["filter"], **radii}


def _units(flux: str) -> dict[str, str]:
    return {
        "x": "pixel", "y": "pixel", "ra": "deg", "dec": "deg", "flux": flux, "flux_err": flux,
        "peak": flux, "a": "pixel", "b": "pixel", "theta": "rad", "fwhm": "pixel",
    }  # fmt: skip
