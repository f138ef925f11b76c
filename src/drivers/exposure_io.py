"""Reads a frame into an `Exposure`, whatever the camera, and writes the calibrated one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from drivers.defects import mask_defects
from drivers.exposure import Exposure, Image, bit
from drivers.exposure_planes import apply_plane
from drivers.fits_layout import open_fits, read_layout
from drivers.frame_error import FrameError
from drivers.header_scan import merged_header
from drivers.instrument_signature import remove_signature
from drivers.instruments import BUILT_IN
from drivers.instruments.description import (
    Companion,
    Instrument,
    Plane,
    first,
    mean,
    number,
    pixel_unit,
)
from drivers.instruments.readout import Readout
from drivers.registry import RawFrame
from drivers.sky_position import wcs_cards
from drivers.statistics import clipped_level

_NEVER = float("inf")

Pixels = NDArray[Any]


def read_exposure(
    frame: RawFrame,
    camera: Instrument | None = None,
    *,
    overscan_order: int,
    grow_saturated: int = 0,
) -> Exposure:
    """Read a frame and what belongs to it, and take the detector's signature off if it is raw.

    Parameters
    ----------
    frame : RawFrame
        What the registry says of it.
    camera : Instrument, optional
        The repository's own description of its camera, if it has one.
    overscan_order : int
        Order of the polynomial fitted to a raw frame's overscan.
    grow_saturated : int
        Pixels by which a raw frame's saturated areas are grown.

    Raises
    ------
    FrameError
        If the frame can't be read, or its file has changed since it was ingested. A companion that
        can't be read is noted, and done without.
    """
    camera = camera or BUILT_IN.named(frame.instrument)
    path = Path(frame.path)
    _require_unchanged(frame, path)
    pixels, header, planes = _read_image(path, frame.hdu, camera.planes)
    if camera.readout is None:
        exposure = _calibrated(pixels, header, camera, path)
    else:
        exposure = _from_raw(pixels, header, camera, path, overscan_order)
        _grow(exposure, grow_saturated)
    for role, plane in planes.items():
        try:
            apply_plane(exposure, role, plane, camera)
        except FrameError as error:
            exposure.notes.append(f"no {role}: its extension {error}")
    for companion in camera.companions:
        try:
            _apply_companion(exposure, companion, path, camera)
        except FrameError as error:
            exposure.notes.append(f"no {companion.role}: its file {error}")
    _per_exposure(exposure, camera, frame)
    _complete_variance(exposure, camera, path.name)
    exposure.clear_unmeasured()
    return exposure


def _require_unchanged(frame: RawFrame, path: Path) -> None:
    """Refuse a file which is not the one that was ingested: its place in the survey is unknown."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise FrameError("does not exist") from None
    except OSError as error:
        raise FrameError(f"can't be read: {error.strerror}") from error
    if (stat.st_size, stat.st_mtime) == (frame.size, frame.mtime):
        return
    changed = "has changed since it was ingested"
    try:
        read_layout(path)
    except FrameError as error:
        raise FrameError(f"{changed} and {error}") from error
    raise FrameError(f"{changed}; ingest it again")


def _read_image(
    path: Path, hdu: int | str, planes: Sequence[Plane] = ()
) -> tuple[Pixels, dict[str, Any], dict[str, Pixels | None]]:
    """Return the pixels of an extension (native byte order), the merged keywords, its planes."""
    try:
        with warnings.catch_warnings():
            # They don't name the file, and what matters of them is an error below.
            warnings.simplefilter("ignore", AstropyWarning)
            with open_fits(path) as units:
                data = units[hdu].data
                header = merged_header(units[0].header, units[hdu].header)
                header["EXTNAME"] = units[hdu].name
                version = units[hdu].ver
                beside = {plane.role: _plane(units, plane.extname, version) for plane in planes}
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        read_layout(path)  # knows better what is wrong with it: not FITS, truncated …
        reason = str(error).partition(" If this is really")[0]
        raise FrameError(f"can't be read ({reason})") from error
    if data is None or data.ndim != 2:
        raise FrameError(f"has no image in HDU {hdu}")
    return _native(data), header, beside


def _native(data: Pixels) -> Pixels:
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))


def _plane(units: fits.HDUList, extname: str, version: int) -> Pixels | None:
    """Return the pixels of an extension; None if it isn't there, or has none."""
    if (extname, version) not in units or units[extname, version].data is None:
        return None
    return _native(units[extname, version].data)


def _calibrated(
    pixels: Pixels, header: Mapping[str, Any], camera: Instrument, path: Path
) -> Exposure:
    image = pixels.astype(np.float32)
    unit = _pixel_unit(camera, header, path.name)[0]
    exposure = Exposure(
        image=image,
        mask=np.zeros(image.shape, np.int32),
        variance=np.full(image.shape, -1, np.float32),
        header=header,
        wcs=wcs_cards(header),
        unit=unit,
        gain=1.0 if unit == "electron" else mean(camera.gain, header, path.name),
    )
    exposure.mark(image >= _saturation(camera, header, path), "SAT")
    return exposure


def _from_raw(
    pixels: Pixels, header: Mapping[str, Any], camera: Instrument, path: Path, overscan_order: int
) -> Exposure:
    readout: Readout | None = camera.readout
    assert readout is not None
    amplifiers = readout.amplifiers(header)
    assembled = remove_signature(
        pixels,
        amplifiers,
        saturation=_saturation(camera, header, path),
        overscan_order=overscan_order,
    )
    origin = amplifiers[0]
    exposure = Exposure(
        image=assembled.image,
        mask=np.zeros(assembled.image.shape, np.int32),
        variance=assembled.variance,
        header=header,
        wcs=wcs_cards(
            header,
            x0=origin.data.x0 - origin.target.x0,
            y0=origin.data.y0 - origin.target.y0,
        ),
        unit="electron",
        gain=1.0,
    )
    exposure.mark(assembled.saturated, "SAT")
    return exposure


def _grow(exposure: Exposure, by: int) -> None:
    """Take the neighbours of saturated pixels for saturated too: charge has run into them."""
    if by:
        square = np.ones((2 * by + 1, 2 * by + 1), dtype=np.bool_)
        exposure.mark(binary_dilation(exposure.has(bit("SAT")), square), "SAT")


def _saturation(camera: Instrument, header: Mapping[str, Any], path: Path) -> float:
    return number(first(camera.saturation, header, path.name)) or _NEVER


def _pixel_unit(camera: Instrument, header: Mapping[str, Any], file_name: str) -> tuple[str, bool]:
    """Return the unit of a calibrated frame's pixels, and whether they are per second."""
    name = first(camera.unit, header, file_name)
    unit = pixel_unit(name)
    if unit is None:
        raise FrameError(f"has pixels in {name!r}, which is no unit of electrons or counts")
    return unit


def _per_exposure(exposure: Exposure, camera: Instrument, frame: RawFrame) -> None:
    """Bring pixels which are per second to the whole exposure."""
    if camera.readout is not None:
        return
    name = Path(frame.path).name
    if not _pixel_unit(camera, exposure.header, name)[1]:
        return
    if frame.exptime is None or frame.exptime <= 0:
        raise FrameError("has pixels per second, and no exposure time")
    exposure.image *= np.float32(frame.exptime)
    known = exposure.variance >= 0
    exposure.variance[known] *= np.float32(frame.exptime) ** 2


def _apply_companion(
    exposure: Exposure, companion: Companion, path: Path, camera: Instrument
) -> None:
    beside = companion.beside(path)
    if beside is None or not beside.is_file():
        raise FrameError("is not there")
    if companion.role == "defects":
        mask_defects(exposure, beside)
        return
    name = exposure.header["EXTNAME"]
    pixels, *_ = _read_image(beside, name if name not in ("", "PRIMARY") else 0)
    apply_plane(exposure, companion.role, pixels, camera)


def _complete_variance(exposure: Exposure, camera: Instrument, file_name: str) -> None:
    """Give pixels without a variance one from their values: Poisson noise, or the scatter."""
    without = ~(exposure.variance >= 0)
    if not without.any():
        return
    image: Image = exposure.image
    finite = image[np.isfinite(image)]
    if exposure.gain:
        noise = (mean(camera.read_noise, exposure.header, file_name) or 0.0) / exposure.gain
        values = np.maximum(image, 0) / exposure.gain + noise**2
    else:
        scatter = clipped_level(np.diff(finite))[1] / np.sqrt(2) if finite.size > 1 else 0.0
        values = np.full(image.shape, scatter**2, np.float32)
    exposure.variance[without] = values[without]
