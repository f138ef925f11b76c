"""Reads a frame into an `Exposure`, whatever the camera, and writes the calibrated one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from drivers.defects import mask_defects
from drivers.exposure import MASK_PLANES, Exposure, Flags, Image
from drivers.fits_layout import read_layout
from drivers.frame_error import FrameError
from drivers.header_scan import merged_header
from drivers.instrument_signature import remove_signature
from drivers.instruments import named
from drivers.instruments.description import Instrument, first, mean, number
from drivers.instruments.readout import Readout
from drivers.registry import RawFrame
from drivers.sky_position import wcs_cards
from drivers.statistics import clipped_level

_NEVER = float("inf")

Pixels = NDArray[Any]


def read_exposure(frame: RawFrame, *, overscan_order: int) -> Exposure:
    """Read a frame and what belongs to it, and take the detector's signature off if it is raw.

    Raises
    ------
    FrameError
        If the frame can't be read, or its file has changed since it was ingested. A companion that
        can't be read is noted, and done without.
    """
    camera = named(frame.instrument)
    path = Path(frame.path)
    _require_unchanged(frame, path)
    pixels, header = _read_image(path, frame.hdu)
    if camera.readout is None:
        exposure = _calibrated(pixels, header, camera, path)
    else:
        exposure = _from_raw(pixels, header, camera, path, overscan_order)
    for companion in camera.companions:
        beside = companion.beside(path)
        try:
            if beside is None or not beside.is_file():
                raise FrameError("is not there")
            _APPLY[companion.role](exposure, beside, header, camera)
        except FrameError as error:
            exposure.notes.append(f"no {companion.role}: its file {error}")
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


def _read_image(path: Path, hdu: int | str) -> tuple[Pixels, dict[str, Any]]:
    """Return the pixels of an extension (native byte order) and the merged keywords."""
    try:
        with warnings.catch_warnings():
            # They don't name the file, and what matters of them is an error below.
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=False) as units:
                data = units[hdu].data
                header = merged_header(units[0].header, units[hdu].header)
                header["EXTNAME"] = units[hdu].name
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        read_layout(path)  # knows better what is wrong with it: not FITS, truncated …
        reason = str(error).partition(" If this is really")[0]
        raise FrameError(f"can't be read ({reason})") from error
    if data is None or data.ndim != 2:
        raise FrameError(f"has no image in HDU {hdu}")
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("=")), header


def _calibrated(
    pixels: Pixels, header: Mapping[str, Any], camera: Instrument, path: Path
) -> Exposure:
    image = pixels.astype(np.float32)
    exposure = Exposure(
        image=image,
        mask=np.zeros(image.shape, np.int32),
        variance=np.full(image.shape, -1, np.float32),
        header=header,
        wcs=wcs_cards(header),
        unit="adu",
        gain=mean(camera.gain, header, path.name),
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


def _saturation(camera: Instrument, header: Mapping[str, Any], path: Path) -> float:
    return number(first(camera.saturation, header, path.name)) or _NEVER


def _companion_image(path: Path, header: Mapping[str, Any], shape: tuple[int, ...]) -> Pixels:
    hdu = header["EXTNAME"] if header["EXTNAME"] not in ("", "PRIMARY") else 0
    pixels, _ = _read_image(path, hdu)
    if pixels.shape != shape:
        raise FrameError(f"has {pixels.shape[1]} x {pixels.shape[0]} pixels, unlike the image")
    return pixels


def _apply_mask(
    exposure: Exposure, path: Path, header: Mapping[str, Any], camera: Instrument
) -> None:
    codes = _companion_image(path, header, exposure.image.shape)
    for code, plane in camera.mask_codes.items():
        exposure.mark(codes == code, plane)
    known = np.isin(codes, [0, *camera.mask_codes])
    exposure.mark(~known, "BAD")


def _apply_weight(
    exposure: Exposure, path: Path, header: Mapping[str, Any], camera: Instrument
) -> None:
    weight = _companion_image(path, header, exposure.image.shape).astype(np.float32)
    usable: Flags = np.isfinite(weight) & (weight > 0)
    exposure.variance[usable] = 1 / weight[usable]
    exposure.mark(~usable, "BAD")


def _apply_defects(
    exposure: Exposure, path: Path, header: Mapping[str, Any], camera: Instrument
) -> None:
    mask_defects(exposure, path)


_APPLY = {"mask": _apply_mask, "weight": _apply_weight, "defects": _apply_defects}


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


def write_exposure(path: Path, exposure: Exposure, keywords: Mapping[str, Any]) -> None:
    """Write the extensions IMAGE, MASK and VARIANCE; all of them have the world coordinates.

    Parameters
    ----------
    path : Path
        Overwritten if it exists.
    exposure : Exposure
        What to write.
    keywords : Mapping
        Of the primary header: keyword to value, or to value and comment. None is left out.
    """
    primary = fits.PrimaryHDU()
    for keyword, value in keywords.items():
        if (value[0] if isinstance(value, tuple) else value) is not None:
            primary.header[keyword] = value
    planes = {
        # Longer than eight letters, so HIERARCH cards, as LSST's images have them.
        f"HIERARCH MP_{plane}": (place, f"bit of plane {plane}")
        for plane, place in MASK_PLANES.items()
    }
    units = [
        _image_unit("IMAGE", exposure.image, exposure, {"BUNIT": exposure.unit}),
        _image_unit("MASK", exposure.mask, exposure, planes),
        _image_unit("VARIANCE", exposure.variance, exposure, {"BUNIT": f"{exposure.unit}^2"}),
    ]
    fits.HDUList([primary, *units]).writeto(str(path), overwrite=True)


def _image_unit(
    name: str, data: Pixels, exposure: Exposure, keywords: Mapping[str, Any]
) -> fits.ImageHDU:
    unit = fits.ImageHDU(data, name=name)
    for keyword, value in {**keywords, **exposure.wcs}.items():
        unit.header[keyword] = value
    return unit


def write_catalog(
    path: Path, sources: Pixels, units: Mapping[str, str], keywords: Mapping[str, Any]
) -> None:
    """Write a catalogue as a binary table.

    Parameters
    ----------
    path : Path
        Overwritten if it exists.
    sources : structured array, shape (n,)
        One row per source.
    units : Mapping of str to str
        Units of the columns that have one.
    keywords : Mapping
        Keywords of the table.
    """
    table = fits.BinTableHDU(sources, name="SOURCES")
    for column in table.columns:
        column.unit = units.get(column.name)
    for keyword, value in keywords.items():
        table.header[keyword] = value
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(str(path), overwrite=True)
