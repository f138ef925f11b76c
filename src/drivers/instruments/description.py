"""The words in which a camera is described: where its values stand and what its pixels mean.

A camera is data. Everything that differs between cameras is a field of `Instrument`, and the code
that reads frames never asks which camera it has. To add a camera, write one more description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from drivers.instruments.readout import Readout

Header = Mapping[str, Any]


class Source(Protocol):
    """Somewhere a value of a frame can be found."""

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the value, or None if it isn't there."""
        ...


@dataclass(frozen=True, slots=True)
class Keyword:
    """A header keyword, or what the groups of `pattern` match in its text, joined.

    Attributes
    ----------
    name : str
        The keyword.
    pattern : str
        A regular expression with at least one group; empty for the whole value.
    base : int
        Of the digits of a number: 36 for identifiers of digits and letters.
    """

    name: str
    pattern: str = ""
    base: int = 10

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the keyword's value; None if it is absent, blank or doesn't match."""
        value = header.get(self.name)
        if value is None or not str(value).strip():
            return None
        text = matched(self.pattern, str(value)) if self.pattern else value
        if self.base == 10 or text is None:
            return text
        try:
            return int(str(text), self.base)
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.name


def matched(pattern: str, text: str) -> str | None:
    """Return what the groups of a pattern match in a text, joined; None if it doesn't match."""
    match = re.search(pattern, text)
    return "".join(group or "" for group in match.groups()) if match else None


@dataclass(frozen=True, slots=True)
class FileName:
    """What the groups of `pattern` match in the name of the file, joined."""

    pattern: str

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the matched text, or None."""
        return matched(self.pattern, file_name)

    def __str__(self) -> str:
        return "the file's name"


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value for all frames of this camera."""

    value: Any

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the constant."""
        return self.value

    def __str__(self) -> str:
        return repr(self.value)


_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
"""Day 0 of the modified Julian date."""


@dataclass(frozen=True, slots=True)
class Date:
    """A keyword with a date and time, such as 2016-01-25T08:25:55.1 (UTC), as MJD [d]."""

    name: str

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the modified Julian date; None if there is no date."""
        try:
            moment = datetime.fromisoformat(str(header.get(self.name)).strip())
        except ValueError:
            return None
        known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (known - _EPOCH).total_seconds() / 86400

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first value which several sources have."""

    sources: tuple[Source, ...]

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the value, or None."""
        return first(self.sources, header, file_name)

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(map(str, self.sources)))


@dataclass(frozen=True, slots=True)
class Numbered:
    """A value which hangs on the number of a detector.

    Attributes
    ----------
    number : Source
        Where the number stands.
    values : Mapping of frozenset of int to value
        The numbers with another value than `otherwise`.
    otherwise
        The value of all the others.
    """

    number: Source
    values: Mapping[frozenset[int], Any]
    otherwise: Any

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the value of the detector; None if its number can't be read."""
        found = number(self.number.read(header, file_name))
        if found is None:
            return None
        return next((v for numbers, v in self.values.items() if found in numbers), self.otherwise)

    def __str__(self) -> str:
        return f"the number in {self.number}"


@dataclass(frozen=True, slots=True)
class Clue:
    """A keyword whose text shows where a frame comes from."""

    keyword: str
    pattern: str

    def fits(self, header: Header) -> bool:
        """Whether the header has the keyword with a matching value (case doesn't matter)."""
        return re.search(self.pattern, str(header.get(self.keyword, "")), re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that stands beside an image and belongs to it.

    Attributes
    ----------
    role : str
        ``mask``, ``weight`` (one over the variance), ``variance``, ``error`` (its root) or
        ``defects``.
    own_name : str
        Pattern of the companion's own file name: such a file is never taken for an image.
    image_part, replacement : str
        The companion's name is the image's with `image_part` replaced. An empty `image_part`
        means that `replacement` is the whole name.
    """

    role: str
    own_name: str
    image_part: str
    replacement: str

    def beside(self, image: Path) -> Path | None:
        """Return the path at which the companion of `image` is expected."""
        if not self.image_part:
            return image.with_name(self.replacement)
        name, count = re.subn(self.image_part, self.replacement, image.name, count=1)
        return image.with_name(name) if count else None


@dataclass(frozen=True, slots=True)
class Plane:
    """An extension of the image's own file that belongs to the image.

    Attributes
    ----------
    role : str
        As of `Companion`, without defects.
    extname : str
        Its name. Its EXTVER is the image's.
    """

    role: str
    extname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One camera, or one kind of its frames.

    Attributes
    ----------
    name : str
        Its name in the registry.
    clues : tuple of Clue
        Any of these identifies a frame as its own.
    excludes : tuple of Clue
        None of these may fit.
    visit, ccd, filter, exptime, mjd, object : tuple of Source
        Where these values stand; the first source that has one wins.
    role : tuple of Source
        What the detector is for: ``science``, ``focus`` or ``guide``.
    obstype : tuple of Source
        What the frame shows, as the camera calls it; `observation_type` gives it one name.
    images : str
        Pattern of the whole EXTNAME of extensions which are images; empty if all are.
    companions : tuple of Companion
        Files that belong to an image.
    planes : tuple of Plane
        Extensions that belong to an image.
    readout : Readout or None
        How the amplifiers lie on a raw frame; None if frames come calibrated.
    unit : tuple of Source
        Of the pixels of calibrated frames; see `pixel_unit`.
    gain, read_noise : tuple of Source
        Electrons per count, and electrons, of calibrated frames whose weight is missing. What
        several sources say is averaged: they are the amplifiers'.
    saturation : tuple of Source
        Value in the file at and above which a pixel is saturated.
    ignore_ccds : frozenset of int
        Detectors which are dead, and never selected unless the configuration says so.
    mask_codes : Mapping of int to str
        What the values of the mask mean: code to mask plane; an empty plane is no defect.
    mask_otherwise : str
        The plane of values which are neither 0 nor among these; empty for none.
    mask_bits : bool
        Whether the codes are bits, of which a pixel may have several.
    """

    name: str
    clues: tuple[Clue, ...]
    excludes: tuple[Clue, ...] = ()
    visit: tuple[Source, ...]
    ccd: tuple[Source, ...]
    filter: tuple[Source, ...]
    exptime: tuple[Source, ...] = (Keyword("EXPTIME"),)
    mjd: tuple[Source, ...] = (Keyword("MJD-OBS"),)
    object: tuple[Source, ...] = (Keyword("OBJECT"),)
    role: tuple[Source, ...] = (Constant("science"),)
    obstype: tuple[Source, ...] = (Keyword("OBSTYPE"), Keyword("IMAGETYP"), Constant("science"))
    images: str = ""
    companions: tuple[Companion, ...] = ()
    planes: tuple[Plane, ...] = ()
    readout: Readout | None = None
    unit: tuple[Source, ...] = (Constant("adu"),)
    gain: tuple[Source, ...] = ()
    read_noise: tuple[Source, ...] = ()
    saturation: tuple[Source, ...] = ()
    ignore_ccds: frozenset[int] = frozenset()
    mask_codes: Mapping[int, str] = field(default_factory=dict)
    mask_otherwise: str = "BAD"
    mask_bits: bool = False

    def recognises(self, header: Header) -> bool:
        """Whether the frame with this header (primary and extension merged) is its own."""
        return any(clue.fits(header) for clue in self.clues) and not any(
            clue.fits(header) for clue in self.excludes
        )

    def has_companion_named(self, file_name: str) -> bool:
        """Whether a file of this name is a companion, not an image."""
        return any(re.search(companion.own_name, file_name) for companion in self.companions)

    def has_image_named(self, extname: str) -> bool:
        """Whether the extension of this name is an image of a detector."""
        return not self.images or bool(re.fullmatch(self.images, extname.strip(), re.IGNORECASE))


_COUNTS = {
    "electron": re.compile(r"(electrons?|e-?)", re.IGNORECASE),
    "adu": re.compile(r"(adu|dn|counts?|du)", re.IGNORECASE),
}
_PER_SECOND = re.compile(r"\s*(/\s*(s|sec|seconds?)|\bs(ec)?(-1|\^-1|\*\*-1))\s*", re.IGNORECASE)


def pixel_unit(name: Any) -> tuple[str, bool] | None:
    """Return the unit of pixels, ``electron`` or ``adu``, and whether they are per second.

    None if the name is of no such unit.
    """
    text = str(name).strip()
    rest = _PER_SECOND.sub("", text)
    for unit, pattern in _COUNTS.items():
        if pattern.fullmatch(rest.strip()):
            return unit, rest != text
    return None


_OBSERVATION_TYPES = (
    # The first which is found in what the camera calls it.
    ("bias", re.compile(r"bias|zero", re.IGNORECASE)),
    ("dark", re.compile(r"dark", re.IGNORECASE)),
    ("flat", re.compile(r"flat", re.IGNORECASE)),
    ("science", re.compile(r"science|object|sky|^light|^imag", re.IGNORECASE)),
)


def observation_type(name: Any) -> str:
    """Return ``bias``, ``dark``, ``flat`` or ``science``, or what it is called if it is no such."""
    text = str(name).strip()
    for kind, pattern in _OBSERVATION_TYPES:
        if pattern.search(text):
            return kind
    return text.lower()


def first(sources: tuple[Source, ...], header: Header, file_name: str) -> Any | None:
    """Return the first value that the sources have, or None."""
    for source in sources:
        value = source.read(header, file_name)
        if value is not None:
            return value
    return None


def mean(sources: tuple[Source, ...], header: Header, file_name: str) -> float | None:
    """Return the mean of all numbers that the sources have, or None if there is none."""
    values = [number(source.read(header, file_name)) for source in sources]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def number(value: Any) -> float | None:
    """Return the value as a finite number, or None if it is none."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return None
    return result if result == result and abs(result) != float("inf") else None
