"""Stage ``singleFrame``: one CCD of one visit, from its file to a calibrated image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.astrometry.solving import Astrometry
from drivers.calibration import KINDS, read_calib
from drivers.configuration.single_frame import SingleFrameConfig
from drivers.exposure import NOT_SKY, Exposure, Image
from drivers.exposure_io import read_exposure
from drivers.fits_product import image_unit, provenance, table_unit, write_product
from drivers.frame_error import FrameError
from drivers.instruments import BUILT_IN, Instrument
from drivers.measurement.catalog import Sources, source_units
from drivers.psf_model import ellipticity
from drivers.reduction import Reduced, reduce_ccd
from drivers.registry import Calib, RawFrame
from drivers.results import REFERENCE, STAR, CcdResult, Table
from drivers.sky_position import make_wcs, pixel_scale, sky_corners, sky_positions
from drivers.standards import Standards, at_epoch, compare, locate
from mpipool import record

STAGE = "singleFrame"
VERSION = "3"
"""Raised when the task changes what it makes, so that older results are made again."""

_WANTED = ("bias", "dark", "flat")


@dataclass(frozen=True, slots=True)
class SingleFrameJob:
    """What a task gets.

    Attributes
    ----------
    frame : RawFrame
        What the registry says of the frame.
    root, image, catalog : str
        The repository, and below it the two files to write.
    configuration : SingleFrameConfig
        The numbers of the processing.
    calibs : tuple of Calib
        The calibration frames that are good for it.
    reference : structured array of `REFERENCE`, or None
        The reference catalogue's stars near the CCD; None if there is no catalogue.
    camera : Instrument, optional
        The repository's own description of the camera, if it has one.
    """

    frame: RawFrame
    root: str
    image: str
    catalog: str
    configuration: SingleFrameConfig
    calibs: tuple[Calib, ...] = ()
    reference: Table | None = None
    camera: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """A CCD of which everything is known.

    Attributes
    ----------
    reduced : Reduced
        Its image and sources.
    standards : Standards
        What the reference says of it.
    cards : dict
        World coordinates.
    """

    reduced: Reduced
    standards: Standards
    cards: dict[str, Any]


def single_frame(job: SingleFrameJob) -> CcdResult:
    """Process one CCD, write its image and catalogue, and record what was measured.

    Raises
    ------
    FrameError
        If the frame or a calibration frame can't be used.
    ProductError
        If a file can't be written.
    """
    done = process(job)
    result = summarise(job, done)
    record(**result.row)
    write(job, done, result.row)
    return result


def process(job: SingleFrameJob) -> Processed:
    """Process one CCD, and keep what comes of it in memory.

    Raises
    ------
    FrameError
        If the frame or a calibration frame can't be used.
    """
    try:
        return _process(job)
    except FrameError as error:
        raise FrameError(f"{job.frame.path}: {error}") from error


def summarise(job: SingleFrameJob, done: Processed) -> CcdResult:
    """Return what is passed on of a CCD.

    Raises
    ------
    FrameError
        If its world coordinates can't be used.
    """
    try:
        row = _row(job, done)
    except FrameError as error:
        raise FrameError(f"{job.frame.path}: {error}") from error
    reduced = done.reduced
    return CcdResult(
        row=row,
        stars=_stars(reduced.measured.sources, done.standards, job),
        psf=None if reduced.measured.psf is None else reduced.measured.psf.psf,
        sky=reduced.sky.mesh,
        header=dict(reduced.exposure.wcs),
    )


def _process(job: SingleFrameJob) -> Processed:
    config, frame = job.configuration, job.frame
    signature = config.signature
    exposure = read_exposure(
        frame,
        job.camera,
        overscan_order=signature.overscan_order,
        grow_saturated=signature.grow_saturated,
    )
    reduced = reduce_ccd(exposure, _calibration_frames(job, exposure), frame.exptime, config)
    sources = reduced.measured.sources
    reference = np.zeros(0, REFERENCE) if job.reference is None else job.reference
    found = locate(exposure, sources, reference, frame.mjd, config.astrometry)
    if isinstance(found, str):
        why = "there is no reference catalogue" if job.reference is None else found
        exposure.notes.append(f"world coordinates of the header, and no zero point: {why}")
    astrometry = found if isinstance(found, Astrometry) else None
    standards = compare(sources, reference, astrometry, frame.filter, config.photometry)
    exposure.notes += standards.notes
    cards = exposure.wcs if astrometry is None else astrometry.cards
    sources["ra"], sources["dec"] = sky_positions(make_wcs(cards), sources["x"], sources["y"])
    if astrometry is not None:
        sources["reference"][astrometry.stars] = reference["id"][astrometry.reference]
        sources["reference_mag"] = standards.mag
    return Processed(reduced, standards, cards)


def _calibration_frames(job: SingleFrameJob, exposure: Exposure) -> dict[str, Image]:
    """Read the calibration frames, and note which are missing for a raw frame."""
    calibs = {calib.kind: calib for calib in job.calibs if calib.kind in KINDS}
    missing = [kind for kind in _WANTED if kind not in calibs]
    camera = job.camera or BUILT_IN.named(job.frame.instrument)
    if missing and camera.readout is not None:
        exposure.notes.append(f"no calibration frame: {', '.join(missing)}")
    shape = exposure.image.shape
    return {kind: read_calib(job.root, calib, shape) for kind, calib in calibs.items()}


def _row(job: SingleFrameJob, done: Processed) -> dict[str, Any]:
    """Return the CCD's row for the registry: values that JSON has, None for what is not known."""
    frame, exposure = job.frame, done.reduced.exposure
    rows, columns = exposure.image.shape
    wcs = make_wcs(done.cards)
    scale = pixel_scale(wcs, (rows, columns))
    return {
        "visit": frame.visit,
        "ccd": frame.ccd,
        "filter": frame.filter,
        "instrument": frame.instrument,
        "role": frame.role,
        "exptime": _finite(frame.exptime),
        "mjd": _finite(frame.mjd),
        "image": job.image,
        "catalog": job.catalog,
        "width": columns,
        "height": rows,
        "unit": exposure.unit,
        "wcs": done.cards,
        "corners": sky_corners(wcs, (rows, columns)),
        "pixel_scale": _finite(scale),
        **_measures(done, scale),
        **_standards(done.standards),
        "good_fraction": float((~exposure.has(NOT_SKY)).mean()),
        "calibs": {calib.kind: calib.path for calib in job.calibs if calib.kind in KINDS},
        "notes": list(exposure.notes),
    }


def _measures(done: Processed, scale: float) -> dict[str, Any]:
    """Return what the image itself says: sky, seeing, point spread function, sources."""
    reduced, seeing, psf = done.reduced, done.reduced.measured.seeing, done.reduced.measured.psf
    # That of the mean star is the better one; but it takes stars which are bright enough.
    fwhm = seeing.fwhm if psf is None else psf.wings.fwhm
    return {
        "sky_level": _finite(reduced.sky.level),
        "sky_noise": _finite(reduced.sky.noise),
        "seeing": _finite(None if fwhm is None else fwhm * scale),
        "seeing_pixels": _finite(fwhm),
        "seeing_scatter": _finite(seeing.scatter),
        "n_seeing_stars": seeing.n_stars,
        "ellipticity": None if psf is None else _finite(ellipticity(psf.psf, psf.wings.fwhm)),
        "n_psf_stars": 0 if psf is None else int(psf.kept.sum()),
        "psf_residual": None if psf is None else _finite(psf.residual),
        "psf_enclosed": None if psf is None else _finite(psf.enclosed),
        "n_sources": len(reduced.measured.sources),
        "n_cosmic_ray_pixels": reduced.n_cosmic_rays,
    }


def _standards(standards: Standards) -> dict[str, Any]:
    """Return what the reference catalogue says."""
    astrometry, zero = standards.astrometry, standards.zero_point
    return {
        "wcs_source": "header" if astrometry is None else "reference",
        "n_matched": 0 if astrometry is None else len(astrometry.stars),
        "astrometric_scatter": None if astrometry is None else _finite(astrometry.scatter),
        "astrometric_order": None if astrometry is None else astrometry.order,
        "zero_point": None if zero is None else _finite(zero.value),
        "zero_point_err": None if zero is None else _finite(zero.error),
        "zero_point_scatter": None if zero is None else _finite(zero.scatter),
        "n_photometric": 0 if zero is None else int(zero.used.sum()),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _stars(sources: Sources, standards: Standards, job: SingleFrameJob) -> Table:
    """Return the stars of good quality: those of the point spread function, and the matched."""
    matched = sources["reference"] >= 0
    whole = ~(sources["edge"] | sources["saturated"])
    which = np.flatnonzero((sources["psf_star"] | matched) & whole & (sources["psf_flux"] > 0))
    stars = np.zeros(len(which), dtype=STAR)
    for name in ("x", "y", "position_err", "ra", "dec"):
        stars[name] = sources[name][which]
    stars["flux"], stars["flux_err"] = sources["psf_flux"][which], sources["psf_flux_err"][which]
    stars["id"], stars["matched"] = sources["reference"][which], matched[which]
    stars["mag"], stars["mag_err"] = standards.mag[which], standards.mag_err[which]
    astrometry = standards.astrometry
    if astrometry is not None and job.reference is not None:
        ra, dec = at_epoch(job.reference, job.frame.mjd)
        place = np.full(len(sources), -1)
        place[astrometry.stars] = astrometry.reference
        known = matched[which]
        stars["ra"][known] = ra[place[which][known]]
        stars["dec"][known] = dec[place[which][known]]
    return stars


def write(job: SingleFrameJob, done: Processed, row: Mapping[str, Any]) -> None:
    """Write the image and the catalogue of a CCD.

    Raises
    ------
    ProductError
        If a file can't be written.
    """
    exposure, measured, mesh = done.reduced.exposure, done.reduced.measured, done.reduced.sky.mesh
    keywords = _keywords(job, row)
    flux = {"BUNIT": exposure.unit}
    units = [
        image_unit("IMAGE", exposure.image, done.cards, flux),
        image_unit("MASK", exposure.mask, done.cards, {}),
        image_unit("VARIANCE", exposure.variance, done.cards, {"BUNIT": f"{exposure.unit}^2"}),
        image_unit("SKY", mesh.subtracted, {}, {**flux, "CELL": (mesh.cell, "[pixel] side")}),
    ]
    if measured.psf is not None:
        units.append(image_unit("PSF", measured.psf.psf.coefficients, {}, {}))
    write_product(Path(job.root) / job.image, units, keywords)
    radii = {
        f"APRAD{index}": (radius, f"[pixel] radius of aperture {index}")
        for index, radius in enumerate(job.configuration.photometry.apertures, start=1)
    }
    table = table_unit("SOURCES", measured.sources, source_units(exposure.unit), radii)
    write_product(Path(job.root) / job.catalog, [table], keywords)


def _keywords(job: SingleFrameJob, row: Mapping[str, Any]) -> dict[str, Any]:
    unit = row["unit"]
    calibs = {
        f"CAL{calib.kind[:5].upper()}": (Path(calib.path).name, f"{calib.kind} frame")
        for calib in job.calibs
        if calib.kind in KINDS
    }
    return {
        **provenance(STAGE, VERSION, job.configuration.digest()),
        "RAWFILE": (Path(job.frame.path).name, "input"),
        "RAWHDU": (job.frame.hdu, "its extension"),
        **calibs,
        "INSTRUME": (row["instrument"], "camera"),
        "VISIT": (row["visit"], "exposure"),
        "CCD": (row["ccd"], "detector"),
        "FILTER": (row["filter"], "filter"),
        "EXPTIME": (row["exptime"], "[s] exposure time"),
        "MJD-OBS": (row["mjd"], "[d] start of the exposure"),
        "MAGZERO": (row["zero_point"], f"[mag] AB magnitude of 1 {unit}"),
        "MAGZERR": (row["zero_point_err"], "[mag] its standard deviation"),
        "NPHOTOM": (row["n_photometric"], "stars it was measured from"),
        "WCSFROM": (row["wcs_source"], "origin of the world coordinates"),
        "NMATCHED": (row["n_matched"], "stars matched with the reference"),
        "ASTSCAT": (row["astrometric_scatter"], "[mas] rms of these per axis"),
        "SKYLEVEL": (row["sky_level"], f"[{unit}] sky that was subtracted"),
        "SKYNOISE": (row["sky_noise"], f"[{unit}] standard deviation of the sky"),
        "SEEING": (row["seeing"], "[arcsec] measured full width at half maximum"),
        "SEEINGPX": (row["seeing_pixels"], "[pixel] the same"),
        "NSTARS": (row["n_seeing_stars"], "stars the seeing was measured from"),
        "ELLIPT": (row["ellipticity"], "ellipticity of the stars"),
        "NPSFSTAR": (row["n_psf_stars"], "stars the PSF was made from"),
        "NSOURCES": (row["n_sources"], "sources in the catalogue"),
    }
