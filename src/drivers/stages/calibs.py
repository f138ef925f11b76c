"""Stages which make calibration frames of a CCD from many exposures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drivers.calibration import apply_response, read_calib, subtract_fringes
from drivers.calibs.levels import Scales, solve_levels
from drivers.calibs.stacking import Layer, combine
from drivers.configuration.calibs import CalibsConfig
from drivers.configuration.single_frame import SignatureConfig, SkyConfig
from drivers.exposure import NOT_SKY, Exposure, Flags, Image, bit
from drivers.exposure_io import read_exposure
from drivers.fits_product import image_unit, provenance, write_product
from drivers.focal_plane_sky.cells import CcdSky
from drivers.frame_error import FrameError
from drivers.instruments import BUILT_IN, Instrument
from drivers.registry import Calib, RawFrame
from drivers.sky_mesh import Sky, subtract_sky
from drivers.statistics import clipped_level
from mpipool import record

VERSION = "1"

UNITS = {"bias": "electron", "dark": "electron/s", "flat": "", "fringe": ""}
"""Of the pixels of a kind of calibration frame."""

_OF_RAW = ("bias", "dark", "flat")
"""Kinds which only raw frames show."""

_NEEDS = {
    "bias": (), "dark": ("bias",), "flat": ("bias", "dark"), "fringe": _OF_RAW, "sky": _OF_RAW
}  # fmt: skip
"""What a kind is not made without silently."""

_NEEDED = 100
"""Usable pixels below which a frame has no level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibJob:
    """What a task of one CCD gets.

    Attributes
    ----------
    kind, stage, digest : str
        What it makes, in which stage, and of what: the digest goes into the header.
    ccd, filter : int, str
        Of which CCD, and for which filter; empty for any.
    frames : tuple of RawFrame
        The exposures.
    calibs : Mapping of int to tuple of Calib
        By visit the calibration frames that are applied before.
    root, output : str
        The repository, and below it the file to write.
    config : CalibsConfig
        Numbers.
    signature, sky : SignatureConfig, SkyConfig
        How single frames are treated.
    camera : Instrument, optional
        The repository's own description of the camera, if it has one.
    """

    kind: str
    stage: str
    digest: str
    ccd: int
    filter: str
    frames: tuple[RawFrame, ...]
    calibs: Mapping[int, tuple[Calib, ...]]
    root: str
    output: str
    config: CalibsConfig
    signature: SignatureConfig
    sky: SkyConfig
    camera: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A file of calibration frames.

    Attributes
    ----------
    row : dict
        JSON values: kind, ccd, filter, visits, figures, notes.
    path : str
        The file, below the repository.
    units : dict of int to int
        Number of the header-data unit, by ccd.
    """

    row: dict[str, Any]
    path: str
    units: dict[int, int]


@dataclass(frozen=True, slots=True)
class Levels:
    """How bright the flat exposures of a CCD are, by visit."""

    ccd: int
    visits: dict[int, float]
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Skies:
    """The sky of a CCD in its exposures, by visit."""

    ccd: int
    visits: dict[int, CcdSky]
    row: dict[str, Any]


@dataclass(slots=True)
class _Frames:
    """Reads a CCD's exposures one by one; those which can't be used are named and left out."""

    job: CalibJob
    notes: list[str] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)

    def __iter__(self) -> Any:
        for frame in self.job.frames:
            try:
                yield frame, self._prepared(frame)
            except FrameError as error:
                self.leave_out(frame, error)

    def leave_out(self, frame: RawFrame, why: object) -> None:
        """Note that an exposure can't be used."""
        self.notes.append(f"{frame} is left out: {frame.path}: {why}")

    def _prepared(self, frame: RawFrame) -> Exposure:
        signature = self.job.signature
        exposure = read_exposure(
            frame,
            self.job.camera,
            overscan_order=signature.overscan_order,
            grow_saturated=signature.grow_saturated,
        )
        frames = {
            calib.kind: self._calib(calib, exposure.image.shape)
            for calib in self.job.calibs.get(frame.visit, ())
        }
        camera = self.job.camera or BUILT_IN.named(frame.instrument)
        if camera.readout is not None:
            self._note_missing(frames)
        elif self.job.kind in _OF_RAW:
            raise FrameError(f"is calibrated already: a {self.job.kind} is made of raw frames")
        apply_response(exposure, frames, frame.exptime, signature.lowest_flat)
        exposure.clear_unmeasured()
        return exposure

    def _note_missing(self, frames: Mapping[str, Image]) -> None:
        missing = [kind for kind in _NEEDS[self.job.kind] if kind not in frames]
        note = f"made without {', '.join(missing)}: there is none"
        if missing and note not in self.notes:
            self.notes.append(note)

    def _calib(self, calib: Calib, shape: tuple[int, ...]) -> Image:
        name = f"{calib.path}[{calib.hdu}]"
        if name not in self.images:
            self.images[name] = read_calib(self.job.root, calib, shape)
        return self.images[name]

    def sky(self, frame: RawFrame, exposure: Exposure) -> Sky:
        """Subtract the sky, and the fringes if they are known."""
        sky = self.job.sky
        found = subtract_sky(exposure, cell=sky.cell, threshold=sky.source_threshold, grow=sky.grow)
        for calib in self.job.calibs.get(frame.visit, ()):
            if calib.kind == "fringe":
                pattern = self._calib(calib, exposure.image.shape)
                subtract_fringes(exposure, pattern, found.covered)
        return found


def build_calib(job: CalibJob, scales: Scales | None = None) -> Made:
    """Average a CCD's exposures to a bias, dark, flat or fringe frame, and write it.

    Parameters
    ----------
    job : CalibJob
        What to make.
    scales : Scales, optional
        How bright the flat exposures are.

    Raises
    ------
    FrameError
        If too few exposures can be used.
    ProductError
        If the file can't be written.
    """
    frames = _Frames(job)
    layers, visits = [], []
    for frame, exposure in frames:
        try:
            layers.append(_layer(frames, frame, exposure, scales))
            visits.append(frame.visit)
        except FrameError as error:
            frames.leave_out(frame, error)
    _require_enough(job, len(layers), frames.notes)
    if len({layer.image.shape for layer in layers}) > 1:
        raise FrameError(f"ccd={job.ccd}: its {job.kind} exposures are of different sizes")
    stack = combine(layers, clip=job.config.clip, tolerance=job.config.tolerance)
    finite = stack.pattern[np.isfinite(stack.pattern)]
    if not finite.size:
        raise FrameError(f"ccd={job.ccd}: no pixel of its {job.kind} exposures can be used")
    level, deviation = clipped_level(finite)
    row = {
        "kind": job.kind, "ccd": job.ccd, "filter": job.filter, "visits": visits,
        "path": job.output, "level": level, "deviation": deviation, "used": stack.used,
        "notes": frames.notes,
    }  # fmt: skip
    record(**row)
    unit = image_unit(job.kind.upper(), stack.pattern, {}, {"BUNIT": UNITS[job.kind] or None})
    write_product(Path(job.root) / job.output, [unit], _keywords(job, visits))
    return Made(row, job.output, {job.ccd: 1})


def _layer(frames: _Frames, frame: RawFrame, exposure: Exposure, scales: Scales | None) -> Layer:
    """Return an exposure as part of a stack: its image, the pattern's strength, and its noise."""
    unusable = exposure.has(bit("NO_DATA", "BAD"))
    floor = _floor(exposure, ~unusable)
    scale = 1.0
    match frames.job.kind:
        case "dark":
            if not frame.exptime or frame.exptime <= 0:
                raise FrameError("nobody knows its exposure time")
            scale = frame.exptime
        case "flat":
            assert scales
            unusable |= exposure.has(bit("SAT"))
            if (frame.visit, frame.ccd) in scales.rejected or frame.visit not in scales.visits:
                raise FrameError("its level does not fit those of the other CCDs")
            scale = scales.visits[frame.visit]
        case "fringe":
            sky = frames.sky(frame, exposure)
            if sky.level is None or sky.noise is None or sky.level <= 0:
                raise FrameError("it has no sky")
            unusable, scale, floor = sky.covered, sky.level, sky.noise**2
    exposure.image[unusable] = np.nan
    return Layer(exposure.image, scale, floor)


def _floor(exposure: Exposure, usable: Flags) -> float:
    """Return the variance of a pixel without light."""
    if not usable.any():
        raise FrameError("no pixel can be used")
    dark = exposure.variance[usable] - np.maximum(exposure.image[usable], 0)
    return max(float(np.median(dark)), 0.1)


def measure_levels(job: CalibJob) -> Levels:
    """Measure how bright a CCD's flat exposures are.

    Raises
    ------
    FrameError
        If none can be used.
    """
    frames = _Frames(job)
    levels: dict[int, float] = {}
    for frame, exposure in frames:
        usable = exposure.image[~exposure.has(NOT_SKY)]
        level = clipped_level(usable)[0] if usable.size >= _NEEDED else 0.0
        if level > 0:
            levels[frame.visit] = level
        else:
            frames.leave_out(frame, "it is dark, or saturated")
    _require_enough(job, len(levels), [])
    row = {"ccd": job.ccd, "filter": job.filter, "visits": list(levels), "notes": frames.notes}
    record(**row)
    return Levels(job.ccd, levels, row)


def solve_scales(levels: list[Levels], clip: float, band: str) -> Scales:
    """Solve how bright each flat exposure of a filter is, from the levels of all its CCDs.

    Raises
    ------
    FrameError
        If they don't hang together.
    """
    pairs = {(visit, one.ccd): level for one in levels for visit, level in one.visits.items()}
    try:
        scales = solve_levels(pairs, clip=clip)
    except FrameError as error:
        raise FrameError(f"filter={band}: {error}") from error
    record(
        filter=band, n_visits=len(scales.visits), n_ccds=len(scales.ccds), scatter=scales.scatter,
        rejected=[list(pair) for pair in scales.rejected],
    )  # fmt: skip
    return scales


def measure_skies(job: CalibJob) -> Skies:
    """Measure the sky of a CCD in its exposures, without sources.

    Raises
    ------
    FrameError
        If too few can be used.
    """
    frames = _Frames(job)
    skies: dict[int, CcdSky] = {}
    for frame, exposure in frames:
        try:
            sky = frames.sky(frame, exposure)
        except FrameError as error:  # a fringe frame which can't be used
            frames.leave_out(frame, error)
            continue
        if sky.level is None or not exposure.wcs:
            frames.leave_out(frame, "it has no sky or no world coordinates")
        else:
            is_flat = "flat" in {calib.kind for calib in job.calibs.get(frame.visit, ())}
            skies[frame.visit] = CcdSky(frame.ccd, sky.mesh, exposure.wcs, is_flat=is_flat)
    _require_enough(job, len(skies), frames.notes)
    row = {"ccd": job.ccd, "filter": job.filter, "visits": list(skies), "notes": frames.notes}
    record(**row)
    return Skies(job.ccd, skies, row)


def _require_enough(job: CalibJob, count: int, notes: list[str]) -> None:
    if count < job.config.least_frames:
        why = "".join(f"; {note}" for note in notes)
        raise FrameError(
            f"ccd={job.ccd}: {count} of its {len(job.frames)} exposures can be used, "
            f"{job.config.least_frames} are needed{why}"
        )


def keywords_of(kind: str, band: str, stage: str, digest: str, visits: list[int]) -> dict[str, Any]:
    """Return the keywords of a file: what made it, and of which exposures."""
    inputs = {f"VISIT{at:03d}": visit for at, visit in enumerate(visits, start=1)}
    return {
        **provenance(stage, VERSION, digest),
        "CALIB": (kind, "kind of calibration frame"),
        "FILTER": (band or None, "filter"),
        "NVISITS": (len(visits), "exposures it was made from"),
        **inputs,
    }


def _keywords(job: CalibJob, visits: list[int]) -> dict[str, Any]:
    used = sorted({calib.path for some in job.calibs.values() for calib in some})
    return {
        **keywords_of(job.kind, job.filter, job.stage, job.digest, visits),
        "CCD": (job.ccd, "detector"),
        **{f"CALIB{at:03d}": Path(path).name for at, path in enumerate(used, start=1)},
    }
