"""Reads the stars of a reference catalogue from a FITS table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from drivers.configuration.reference import MagnitudeColumn, ReferenceColumns
from drivers.frame_error import FrameError

Floats = NDArray[np.float64]

GAIA = ReferenceColumns(
    id="source_id",
    pm_ra="pmra",
    pm_dec="pmdec",
    epoch="ref_epoch",
    # AB minus Vega of Gaia DR2's revised passbands (Evans et al. 2018).
    magnitudes={
        f"phot_{band}_mean_mag": MagnitudeColumn(
            signal_to_noise=f"phot_{band}_mean_flux_over_error", offset=offset
        )
        for band, offset in (("bp", 0.0292), ("rp", 0.3542), ("g", 0.1050))
    },
)
"""The columns of Gaia's `gaia_source`."""

_ERROR_PER_NOISE = 2.5 / np.log(10)


def read_stars(path: Path, columns: ReferenceColumns | None = None) -> tuple[Any, list[str]]:
    """Return the stars of the first table of a file that has the columns.

    Parameters
    ----------
    path : Path
        A FITS file.
    columns : ReferenceColumns, optional
        Which column is what. Otherwise they are known by their names: Gaia's, or ``id``, ``ra``,
        ``dec``, ``pm_ra``, ``pm_dec``, ``epoch`` and each column which has another one named like
        it with ``_err``, a magnitude [AB].

    Returns
    -------
    stars : structured array
        Fields id, ra, dec, pm_ra, pm_dec, epoch, and each magnitude with its ``…_err``.
    magnitudes : list of str
        Their names.

    Raises
    ------
    FrameError
        If the file has no such table.
    """
    try:
        with fits.open(path, memmap=False) as units:
            tables = [unit.data for unit in units if isinstance(unit, fits.BinTableHDU)]
    except (OSError, ValueError, TypeError) as error:
        raise FrameError(f"is no table which can be read: {error}") from error
    if not tables:
        raise FrameError("holds no table")
    chosen = columns or _guessed(tables[0].names)
    for table in tables:
        if {chosen.id, chosen.ra, chosen.dec} <= set(table.names):
            return _stars(table, chosen), list(chosen.magnitudes)
    raise FrameError(
        f"has no table with the columns {chosen.id}, {chosen.ra} and {chosen.dec} "
        f"(its first has {', '.join(tables[0].names)}); --reference-columns says which are what"
    )


def _guessed(names: list[str]) -> ReferenceColumns:
    if {GAIA.id, "phot_g_mean_mag"} <= set(names):
        return GAIA
    found = {name: name for name in ("pm_ra", "pm_dec", "epoch") if name in names}
    magnitudes = {
        name: MagnitudeColumn(error=f"{name}_err")
        for name in names
        if f"{name}_err" in names and name not in ("ra", "dec", "pm_ra", "pm_dec")
    }
    return ReferenceColumns(**found, magnitudes=magnitudes)


def _stars(table: Any, columns: ReferenceColumns) -> Any:
    fields = [("id", "i8")]
    fields += [(name, "f8") for name in ("ra", "dec", "pm_ra", "pm_dec", "epoch")]
    fields += [(name + end, "f4") for name in columns.magnitudes for end in ("", "_err")]
    stars = np.zeros(len(table), np.dtype(fields))
    stars["id"] = _ids(table, columns.id)
    for name, source in (("ra", columns.ra), ("dec", columns.dec)):
        stars[name] = _column(table, source)
    for name, source in (("pm_ra", columns.pm_ra), ("pm_dec", columns.pm_dec)):
        stars[name] = np.nan_to_num(_column(table, source)) if source else 0.0
    epoch = columns.epoch
    stars["epoch"] = _column(table, epoch) if isinstance(epoch, str) else epoch
    for name, magnitude in columns.magnitudes.items():
        stars[name] = _column(table, name) + magnitude.offset
        stars[f"{name}_err"] = _error(table, magnitude)
    usable = np.isfinite(stars["ra"]) & (np.abs(stars["dec"]) <= 90) & np.isfinite(stars["epoch"])
    return stars[usable]


def _ids(table: Any, name: str) -> Any:
    values = table[name]
    if values.dtype.kind not in "iu":
        raise FrameError(f"has a column {name} of {values.dtype.name}: a star's id is an integer")
    return values.astype(np.int64)


def _error(table: Any, magnitude: MagnitudeColumn) -> Any:
    if magnitude.error:
        return _column(table, magnitude.error)
    if magnitude.signal_to_noise:
        with np.errstate(divide="ignore"):
            return _ERROR_PER_NOISE / _column(table, magnitude.signal_to_noise)
    return np.nan


def _column(table: Any, name: str) -> Floats:
    """Return a column as numbers; NaN where nothing stands."""
    if name not in table.names:
        raise FrameError(f"has no column {name!r}; it has {', '.join(table.names)}")
    values = np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan)
    if values.ndim != 1:
        raise FrameError(f"has a column {name!r} which is no column of numbers")
    return np.asarray(values, np.float64)
