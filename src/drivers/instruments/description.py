"""The words in which a camera is described: where its values stand and what its pixels mean.

A camera is data. Everything that differs between cameras is a field of `Instrument`, and the code
that reads frames never asks which camera it has. To add a camera, write one more description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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
    """A header keyword, or the first group of `pattern` in its text."""

    name: str
    pattern: str = ""

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the keyword's value; None if it is absent, blank or doesn't match."""
        value = header.get(self.name)
        if value is None or not str(value).strip():
            return None
        if not self.pattern:
            return value
        match = re.search(self.pattern, str(value))
        return match.group(1) if match else None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FileName:
    """The first group of `pattern` in the name of the file."""

    pattern: str

    def read(self, header: Header, file_name: str) -> Any | None:
        """Return the matched text, or None."""
        match = re.search(self.pattern, file_name)
        return match.group(1) if match else None

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
        ``"mask"``, ``"weight"`` or ``"defects"``.
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
    companions : tuple of Companion
        Files that belong to an image.
    readout : Readout or None
        How the amplifiers lie on a raw frame; None if frames come calibrated.
    gain, read_noise : tuple of Source
        Electrons per count, and electrons, of calibrated frames whose weight is missing. What
        several sources say is averaged: they are the amplifiers'.
    saturation : tuple of Source
        Counts at and above which a pixel is saturated.
    mask_codes : Mapping of int to str
        What the values of the companion mask mean: code to mask plane.
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
    companions: tuple[Companion, ...] = ()
    readout: Readout | None = None
    gain: tuple[Source, ...] = ()
    read_noise: tuple[Source, ...] = ()
    saturation: tuple[Source, ...] = ()
    mask_codes: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    def recognises(self, header: Header) -> bool:
        """Whether the frame with this header (primary and extension merged) is its own."""
        return any(clue.fits(header) for clue in self.clues) and not any(
            clue.fits(header) for clue in self.excludes
        )

    def has_companion_named(self, file_name: str) -> bool:
        """Whether a file of this name is a companion, not an image."""
        return any(re.search(companion.own_name, file_name) for companion in self.companions)


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
