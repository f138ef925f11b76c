"""The configuration of the reference catalogue: its columns, and which of them are used."""

from __future__ import annotations

from pydantic import Field

from drivers.configuration.section import Section


class BandReference(Section):
    """What stands for the camera's filter in the reference catalogue."""

    magnitude: str = Field(min_length=1)
    """The magnitude, by its name in the catalogue."""
    colour: tuple[str, str] | None = None
    """The two magnitudes whose difference is the colour; None for those of `ReferenceConfig`."""


class ReferenceConfig(Section):
    """Which of the reference catalogue's magnitudes are used for which filter."""

    bands: dict[str, BandReference] = Field(default={})
    """By filter. Without an entry, filter ``g`` has the magnitude ``ref_g`` or ``g``, if any."""
    colour: tuple[str, str] | None = None
    """The magnitudes whose difference is the colour; None for the catalogue's first two."""
    margin: float = Field(60.0, ge=0, le=3600)
    """How far beyond a detector's corners stars are taken [arcsec]."""


class MagnitudeColumn(Section):
    """How a magnitude stands in a table."""

    error: str = ""
    """Column of its standard error [mag]; empty if there is none."""
    signal_to_noise: str = ""
    """Column of the flux divided by its error, where there is no error [mag]."""
    offset: float = Field(0.0, ge=-10, le=10)
    """AB magnitude minus the table's magnitude [mag]."""


class ReferenceColumns(Section):
    """Which column of a table is what. In a TOML file for ``--reference-columns``."""

    id: str = "id"
    """Column of a whole number which is each star's own."""
    ra: str = "ra"
    """Column of the right ascension [deg]."""
    dec: str = "dec"
    """Column of the declination [deg]."""
    pm_ra: str = ""
    """Column of the proper motion in right ascension times cos(dec) [mas/yr]; empty if none."""
    pm_dec: str = ""
    """Column of the proper motion in declination [mas/yr]; empty if there is none."""
    epoch: str | float = 2000.0
    """Column of the epoch of the positions, or the epoch of them all [Julian year]."""
    magnitudes: dict[str, MagnitudeColumn] = Field(default={})
    """By column. These names are what the configuration of the bands speaks of."""
