"""Reads the description of a camera which a user has written in TOML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from drivers.configuration.loading import load_configuration
from drivers.configuration.section import Section
from drivers.exposure import MASK_PLANES
from drivers.instruments.description import (
    Clue,
    Companion,
    Constant,
    Date,
    FileName,
    FirstOf,
    Instrument,
    Keyword,
    Numbered,
    Plane,
    Source,
    pixel_unit,
)
from drivers.instruments.readout import HeaderReadout

_FORMS = (
    "the name of a keyword, a number, or a table such as {keyword = 'OBSID', pattern = '(\\d+)'}, "
    "{file_name = '_(\\d+)_'}, {date = 'DATE-OBS'} or {value = 'r'}"
)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return text


def _grouped(text: Any) -> str:
    if not isinstance(text, str) or not re.compile(_pattern(text)).groups:
        raise ValueError("the pattern needs a group in parentheses: what it matches is the value")
    return text


def _source(value: Any) -> Source:
    if isinstance(value, dict):
        return _described(value)
    if isinstance(value, str) and value:
        return Keyword(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Constant(value)
    raise ValueError(f"a value is {_FORMS}")


def _described(table: dict[str, Any]) -> Source:
    match table:
        case {"keyword": str(name)} if table.keys() <= {"keyword", "pattern", "base"}:
            base = table.get("base", 10)
            if base not in range(2, 37):
                raise ValueError("the base of a number is from 2 to 36")
            return Keyword(name, _grouped(table["pattern"]) if "pattern" in table else "", base)
        case {"file_name": pattern} if len(table) == 1:
            return FileName(_grouped(pattern))
        case {"date": str(name)} if len(table) == 1:
            return Date(name)
        case {"value": str() | int() | float() as constant} if len(table) == 1:
            return Constant(constant)
    raise ValueError(f"a value is {_FORMS}")


def _sources(value: Any) -> tuple[Source, ...]:
    """Read one source, or a list of which the first that has a value wins."""
    if isinstance(value, tuple):  # a default
        return value
    return tuple(map(_source, value if isinstance(value, list) else [value]))


def _unit(value: Any) -> tuple[Source, ...]:
    """Read a source of the pixels' unit, or the unit itself."""
    return (Constant(value),) if isinstance(value, str) and pixel_unit(value) else _sources(value)


def _plane(name: str) -> str:
    if name and name not in MASK_PLANES:
        raise ValueError(f"a mask plane is one of {', '.join(MASK_PLANES)}, or '' for no defect")
    return name


Pattern = Annotated[str, AfterValidator(_pattern)]
Sources = Annotated[tuple[Any, ...], BeforeValidator(_sources)]
Needed = Annotated[tuple[Any, ...], BeforeValidator(_sources), Field(min_length=1)]
Unit = Annotated[tuple[Any, ...], BeforeValidator(_unit), Field(min_length=1)]
MaskPlane = Annotated[str, AfterValidator(_plane)]
Detectors = frozenset[Annotated[int, Field(ge=0)]]


class CompanionFile(Section):
    """A file beside an image that belongs to it."""

    role: Literal["mask", "weight", "variance", "error", "defects"]
    """What it says of the pixels: weight is one over the variance, error its root."""
    image: Pattern = ""
    """The part of the image's name which is another in the companion's; empty: the whole name."""
    companion: str = Field(min_length=1)
    """What stands in its place."""


class MaskMeaning(Section):
    """What the values of a mask mean."""

    bits: bool = False
    """Whether they are sums of bits; otherwise each value is a code of its own."""
    planes: dict[int, MaskPlane] = Field(default={})
    """By bit (1, 2, 4, …) or code; '' is no defect."""
    otherwise: MaskPlane = "BAD"
    """Of all the others but 0."""


class Amplifiers(Section):
    """How the amplifiers of a raw frame are described in its header, {} for the number of each."""

    count: int = Field(ge=1, le=64)
    """How many there are."""
    data: str = "DATASEC{}"
    """Keyword of the light-sensitive pixels on the frame."""
    overscan: str = "BIASSEC{}"
    """Keyword of the bias pixels on the frame."""
    target: str = "DETSEC{}"
    """Keyword of the place of the data on the assembled detector."""
    gain: str = "GAIN{}"
    """Keyword of the gain [electron/adu]."""


class WrittenInstrument(Section):
    """A camera, as a TOML file describes it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$")
    """Its name in the registry."""
    recognise: dict[str, Pattern] = Field(min_length=1)
    """Keyword to pattern: any of these identifies a frame as its own."""
    exclude: dict[str, Pattern] = Field(default={})
    """Keyword to pattern: none of these may fit."""
    images: Pattern = ""
    """Pattern of the EXTNAME of extensions which are images of detectors; empty: all are."""
    visit: Needed
    """A whole number which each exposure has for its own."""
    ccd: Needed
    """The number of the detector."""
    filter: Needed
    """The filter."""
    exptime: Sources = (Keyword("EXPTIME"),)
    """The exposure time [s]."""
    mjd: Sources = (Keyword("MJD-OBS"), Date("DATE-OBS"))
    """The start of the exposure, as modified Julian date [d]."""
    object: Sources = (Keyword("OBJECT"),)
    """What was observed."""
    obstype: Sources = (Keyword("OBSTYPE"), Keyword("IMAGETYP"), Constant("science"))
    """What the frame shows: science, bias, dark, flat."""
    unit: Unit = (Keyword("BUNIT"), Constant("adu"))
    """Of the pixels of calibrated frames: electron or adu, or either per second."""
    gain: Sources = ()
    """Electrons per adu; several are averaged."""
    read_noise: Sources = ()
    """Read noise [electron]; several are averaged."""
    saturation: Sources = ()
    """Value in the file at and above which a pixel is saturated."""
    roles: dict[Literal["focus", "guide"], Detectors] = Field(default={})
    """Detectors which are not for science."""
    ignore_ccds: Detectors = Field(default=frozenset())
    """Detectors which are dead: never selected."""
    companions: tuple[CompanionFile, ...] = ()
    """Files beside an image that belong to it."""
    planes: dict[Literal["mask", "weight", "variance", "error"], str] = Field(default={})
    """EXTNAME of extensions, in the image's own file, that belong to it."""
    mask: MaskMeaning = MaskMeaning()
    """What the values of the mask mean."""
    amplifiers: Amplifiers | None = None
    """Of raw frames with overscan; none if frames come calibrated."""


def read_instrument(file: Path) -> Instrument:
    """Return the camera which a file describes.

    Raises
    ------
    ConfigurationError
        If the file can't be read, or a field is missing, unknown or can't be what it is.
    """
    return _instrument(load_configuration(WrittenInstrument, [file]))


def _instrument(written: WrittenInstrument) -> Instrument:
    mask, amplifiers = written.mask, written.amplifiers
    same = (
        "name", "visit", "ccd", "filter", "exptime", "mjd", "object", "obstype", "unit", "gain",
        "read_noise", "saturation", "ignore_ccds", "images",
    )  # fmt: skip
    return Instrument(
        **{name: getattr(written, name) for name in same},
        clues=tuple(Clue(*clue) for clue in written.recognise.items()),
        excludes=tuple(Clue(*clue) for clue in written.exclude.items()),
        role=_role(written),
        companions=tuple(map(_companion, written.companions)),
        planes=tuple(Plane(*plane) for plane in written.planes.items()),
        mask_codes=mask.planes,
        mask_otherwise=mask.otherwise,
        mask_bits=mask.bits,
        readout=HeaderReadout(**dict(amplifiers)) if amplifiers else None,
    )


def _role(written: WrittenInstrument) -> tuple[Source, ...]:
    roles = {ccds: role for role, ccds in written.roles.items()}
    return (Numbered(FirstOf(written.ccd), roles, "science"), Constant("science"))


def _companion(written: CompanionFile) -> Companion:
    name = re.escape(written.companion)
    own_name = name if written.image else rf"^{name}$"
    return Companion(written.role, own_name, written.image, written.companion)
