"""Which of the reference catalogue's magnitudes stand for a filter of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.configuration.reference import BandReference, ReferenceConfig


@dataclass(frozen=True, slots=True)
class Choice:
    """What is used for a filter.

    Attributes
    ----------
    magnitude : str or None
        The magnitude; None if the catalogue has none for the filter.
    colour : (str, str) or None
        The magnitudes whose difference is the colour.
    note : str
        What is missing; empty if nothing is.
    """

    magnitude: str | None
    colour: tuple[str, str] | None
    note: str = ""


def choose(magnitudes: Sequence[str], config: ReferenceConfig, band: str) -> Choice:
    """Return what a catalogue with these magnitudes has for a filter."""
    entry = config.bands.get(band) or _by_name(magnitudes, band)
    if entry is None:
        there = ", ".join(magnitudes) or "none"
        return Choice(
            None, None, f"the reference has no magnitude for filter {band}; it has {there}"
        )
    colour = entry.colour or config.colour
    if colour is None and len(magnitudes) > 1:
        colour = (magnitudes[0], magnitudes[1])
    wanted = (entry.magnitude, *(colour or ()))
    missing = [name for name in dict.fromkeys(wanted) if name not in magnitudes]
    note = f"the reference has no {' and no '.join(missing)} for filter {band}" if missing else ""
    return Choice(
        None if entry.magnitude in missing else entry.magnitude,
        None if colour is None or set(colour) & set(missing) else colour,
        note,
    )


def _by_name(magnitudes: Sequence[str], band: str) -> BandReference | None:
    """Return the magnitude which is named like the filter: the same letters in the same case."""
    name = next((name for name in (f"ref_{band}", band) if name in magnitudes), None)
    return None if name is None else BandReference(magnitude=name)
