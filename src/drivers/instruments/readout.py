"""How the amplifiers of a detector lie on a raw frame."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from drivers.frame_error import FrameError


@dataclass(frozen=True, slots=True)
class Section:
    """A rectangle of pixels, as half-open ranges of a NumPy array's indices."""

    x0: int
    x1: int
    y0: int
    y1: int

    @classmethod
    def from_fits(cls, text: str) -> Section:
        """Read ``[x0:x1,y0:y1]`` as FITS writes it: counted from 1, ends included."""
        match = re.fullmatch(r"\[\s*(\d+):\s*(\d+),\s*(\d+):\s*(\d+)\]", text.strip())
        if match is None:
            raise FrameError(f"the section {text!r} is not of the form [x0:x1,y0:y1]")
        x0, x1, y0, y1 = map(int, match.groups())
        return cls(x0 - 1, x1, y0 - 1, y1)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index of an array (rows first)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplifier:
    """One amplifier: where its pixels stand on the raw frame and where they go.

    Attributes
    ----------
    data, overscan : Section
        Light-sensitive pixels and bias pixels on the raw frame.
    target : Section
        Where the data pixels go on the assembled detector.
    gain : float
        Electrons per count.
    """

    data: Section
    overscan: Section
    target: Section
    gain: float


def require_gain(name: str, value: Any) -> float:
    """Return a gain as a number; what is none, or not above 0, is an error that names it."""
    try:
        gain = float(value)
    except (TypeError, ValueError):
        gain = math.nan
    if not 0 < gain < math.inf:
        raise FrameError(f"has {name} = {value!r}, which is not a gain: a number above 0")
    return gain


class Readout(Protocol):
    """Gives the amplifiers of a raw frame."""

    def amplifiers(self, header: Mapping[str, Any]) -> tuple[Amplifier, ...]:
        """Return the amplifiers of the frame with this header."""
        ...


@dataclass(frozen=True, slots=True)
class FixedReadout:
    """The same amplifiers on all frames of `shape` (rows, columns)."""

    shape: tuple[int, int]
    layout: tuple[Amplifier, ...]

    def amplifiers(self, header: Mapping[str, Any]) -> tuple[Amplifier, ...]:
        """Return the layout, if the frame has the shape for which it was made."""
        found = (header.get("NAXIS2"), header.get("NAXIS1"))
        if found != self.shape:
            rows, columns = self.shape
            raise FrameError(
                f"the frame has {found[1]} x {found[0]} pixels, but this camera's raw frames have "
                f"{columns} x {rows}"
            )
        return self.layout


@dataclass(frozen=True, slots=True)
class HeaderReadout:
    """Amplifiers which the header describes, one set of keywords for each of `count`.

    The names are templates: ``{}`` stands for the number of the amplifier, counted from 1.
    """

    count: int
    data: str = "DATASEC{}"
    overscan: str = "BIASSEC{}"
    target: str = "DETSEC{}"
    gain: str = "GAIN{}"

    def amplifiers(self, header: Mapping[str, Any]) -> tuple[Amplifier, ...]:
        """Return what the header says; a missing keyword is an error that names it."""
        return tuple(self._amplifier(header, index) for index in range(1, self.count + 1))

    def _amplifier(self, header: Mapping[str, Any], index: int) -> Amplifier:
        def value(template: str) -> Any:
            keyword = template.format(index)
            if keyword not in header:
                raise FrameError(f"the header lacks the keyword {keyword}")
            return header[keyword]

        return Amplifier(
            data=Section.from_fits(value(self.data)),
            overscan=Section.from_fits(value(self.overscan)),
            target=Section.from_fits(value(self.target)),
            gain=require_gain(self.gain.format(index), value(self.gain)),
        )
