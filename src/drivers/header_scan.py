"""The task of `ingestDriver`: one file's headers become rows of the registry, or a reason."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from drivers.fits_layout import HduLayout, read_layout
from drivers.frame_error import FrameError
from drivers.instruments import BUILT_IN, Cameras
from drivers.instruments.description import Instrument, first, number, observation_type
from drivers.instruments.readout import Amplifier, require_gain
from drivers.registry import RawFrame
from drivers.sky_position import make_wcs, sky_corners, wcs_cards

_MAX_INTEGER = 10**18 - 1
"""Of visit and ccd: what --id reads, and SQLite stores."""

CALIBRATIONS = frozenset({"bias", "dark", "flat"})
"""What a frame shows which needs no place on the sky."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one file holds.

    Attributes
    ----------
    path : str
        The file, absolute.
    frames : tuple of RawFrame
        Its images, one for each detector.
    problems : tuple of str
        What was wrong with it, or with one of its images.
    companion : bool
        Whether it is a mask, a weight or a table that belongs to an image.
    """

    path: str
    frames: tuple[RawFrame, ...] = ()
    problems: tuple[str, ...] = ()
    companion: bool = False


def scan_file(path: str, cameras: Cameras = BUILT_IN) -> Scan:
    """Read all headers of a file once, and check that the file is whole."""
    with warnings.catch_warnings():
        # They don't name the file. A card which is needed and illegal is a problem of its own.
        warnings.simplefilter("ignore", AstropyWarning)
        return _scan(path, cameras)


def _scan(path: str, cameras: Cameras) -> Scan:
    file = Path(path)
    companion = cameras.has_companion_named(file.name)
    try:
        units = read_layout(file)
        if companion:
            return Scan(path, companion=True)
        images = [unit for unit in units if _is_image(unit)]
        if not images:
            raise FrameError("holds no image")
    except FrameError as error:
        return Scan(path, problems=(str(error),), companion=companion)
    return _frames(file, units[0].header, images, cameras)


def _frames(
    file: Path, primary: fits.Header, images: Sequence[HduLayout], cameras: Cameras
) -> Scan:
    frames = []
    problems: dict[str, list[int]] = {}
    for unit in images:
        try:
            header = merged_header(primary, unit.header)
            camera = cameras.identify(header)
            if camera is None:
                raise FrameError(_unknown(header, cameras))
            if camera.has_image_named(str(unit.header.get("EXTNAME", ""))):
                frames.append(_frame(file, header, unit, camera))
        except FrameError as error:
            problems.setdefault(str(error), []).append(unit.index)
    said = tuple(_of_units(problem, units, len(images)) for problem, units in problems.items())
    if not (frames or said):
        said = ("holds no extension which its camera's description calls an image",)
    return Scan(str(file), frames=tuple(frames), problems=said)


def _of_units(problem: str, units: Sequence[int], count: int) -> str:
    """Say which of the images of a file have a problem, unless all have it."""
    return problem if len(units) == count else f"HDU {', '.join(map(str, units))}: {problem}"


def _is_image(unit: HduLayout) -> bool:
    return len(unit.shape) == 2 and min(unit.shape) > 0


def merged_header(primary: fits.Header, extension: fits.Header) -> dict[str, Any]:
    """Return the keywords of the primary header, overridden by those of the image's own."""
    merged: dict[str, Any] = {}
    for header in (primary, extension):
        for keyword in header:
            if keyword and keyword not in ("COMMENT", "HISTORY"):
                merged[keyword] = _value(header, keyword)
    return merged


def _value(header: fits.Header, keyword: str) -> Any:
    try:
        return header[keyword]
    except fits.VerifyError:  # an illegal card, which only matters if we need it: then it is absent
        return None


def _frame(file: Path, header: dict[str, Any], unit: HduLayout, camera: Instrument) -> RawFrame:
    # The image's, not those of the table that holds it compressed.
    header["NAXIS2"], header["NAXIS1"] = unit.shape
    amplifiers = camera.readout.amplifiers(header) if camera.readout else ()
    _require_gains(camera, header, file.name)
    rows, columns = unit.shape
    if max(rows, columns) > _MAX_INTEGER:
        raise FrameError(f"says that it has {columns} x {rows} pixels")
    obstype = observation_type(first(camera.obstype, header, file.name) or "science")
    place: dict[str, Any] = {}
    if obstype not in CALIBRATIONS:
        _require_wcs(header)
        place = _place(header, amplifiers)
    stat = file.stat()
    return RawFrame(
        visit=_integer(camera, "visit", header, file.name),
        ccd=_integer(camera, "ccd", header, file.name),
        filter=_filter(camera, header, file.name, obstype),
        instrument=camera.name,
        exptime=number(first(camera.exptime, header, file.name)),
        mjd=number(first(camera.mjd, header, file.name)),
        object=str(first(camera.object, header, file.name) or "").strip(),
        width=columns,
        height=rows,
        path=str(file),
        hdu=unit.index,
        size=stat.st_size,
        mtime=stat.st_mtime,
        role=str(first(camera.role, header, file.name) or "science").strip(),
        obstype=obstype,
        **place,
    )


def _filter(camera: Instrument, header: dict[str, Any], file_name: str, obstype: str) -> str:
    """Return the filter's name; bias and dark frames have none, whatever was in the beam."""
    if obstype in ("bias", "dark"):
        return ""
    return str(_required(camera, "filter", header, file_name)).strip()


def _place(header: dict[str, Any], amplifiers: Sequence[Amplifier]) -> dict[str, Any]:
    """Return the world coordinates of the detector, assembled and trimmed, and its corners.

    Coordinates which are of no use are left: the processing of that frame says what is wrong.
    """
    shape, x0, y0 = (header["NAXIS2"], header["NAXIS1"]), 0, 0
    if amplifiers:
        targets = [amplifier.target for amplifier in amplifiers]
        shape = (max(target.y1 for target in targets), max(target.x1 for target in targets))
        x0 = amplifiers[0].data.x0 - targets[0].x0
        y0 = amplifiers[0].data.y0 - targets[0].y0
    cards = wcs_cards(header, x0=x0, y0=y0)
    try:
        corners = sky_corners(make_wcs(cards), shape)
    except FrameError:
        return {"wcs": json.dumps(cards)}
    return {"wcs": json.dumps(cards)} | {
        f"{axis}{index}": value
        for index, corner in enumerate(corners)
        for axis, value in zip(("ra", "dec"), corner, strict=True)
    }


def _unknown(header: dict[str, Any], cameras: Cameras) -> str:
    says = ", ".join(
        f"{keyword} = {header[keyword]!r}"
        for keyword in ("INSTRUME", "TELESCOP", "PROCTYPE")
        if header.get(keyword)
    )
    known = ", ".join(camera.name for camera in cameras)
    return (
        f"unknown instrument ({says or 'the header names none'}); known are {known}, and others "
        "by --instrument"
    )


def _required(camera: Instrument, what: str, header: dict[str, Any], file_name: str) -> Any:
    sources = getattr(camera, what)
    value = first(sources, header, file_name)
    if value is None:
        names = " or ".join(dict.fromkeys(map(str, sources)))
        raise FrameError(f"lacks the {what}: there is no {names} (instrument {camera.name})")
    return value


def _integer(camera: Instrument, what: str, header: dict[str, Any], file_name: str) -> int:
    value = _required(camera, what, header, file_name)
    whole = _whole_number(value)
    if whole is None:
        raise FrameError(f"has {what} = {value!r}, which is not a whole number")
    if not 0 <= whole <= _MAX_INTEGER:
        raise FrameError(f"has {what} = {value!r}, which is not from 0 to {_MAX_INTEGER}")
    return whole


def _whole_number(value: Any) -> int | None:
    """Return the value as an exact whole number, or None if it is none."""
    if re.fullmatch(r"[+-]?[0-9]{1,70}", str(value).strip()):
        return int(value)
    as_number = number(value)
    return int(as_number) if as_number is not None and as_number.is_integer() else None


def _require_gains(camera: Instrument, header: dict[str, Any], file_name: str) -> None:
    for source in camera.gain:
        value = source.read(header, file_name)
        if value is not None:
            require_gain(str(source), value)


def _require_wcs(header: dict[str, Any]) -> None:
    missing = [
        keyword
        for keyword in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
        if header.get(keyword) is None
    ]
    if missing:
        raise FrameError(f"lacks the keyword {', '.join(missing)} of its world coordinates")
    if not any(f"{kind}1_1" in header for kind in ("CD", "PC")) and "CDELT1" not in header:
        raise FrameError("lacks the scale of its world coordinates (CD1_1, PC1_1 or CDELT1)")
    for axis in (1, 2):
        is_latitude = re.match(r"DEC-|.LAT", str(header[f"CTYPE{axis}"]))
        _require_within(header, f"CRVAL{axis}", 90 if is_latitude else 720)
        _require_within(header, f"CRPIX{axis}", math.inf)


def _require_within(header: dict[str, Any], keyword: str, limit: float) -> None:
    value = header[keyword]
    # A text which looks like a number is none to whoever makes the transformation of it.
    known = number(value) if isinstance(value, (int, float)) else None
    if known is None:
        raise FrameError(f"has {keyword} = {value!r}, which is not a number")
    if abs(known) > limit:
        raise FrameError(f"has {keyword} = {value!r}, which is not from -{limit} to {limit}")
