"""The file which says what the solution of a visit is, and which stars it is from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drivers.fits_product import provenance, table_unit, write_product
from drivers.results import Table
from drivers.visit_solution.visit import FittedVisit

_CCD_UNITS = {"zero_point": "mag", "zero_point_offset": "mag", "seeing": "arcsec", "fwhm": "arcsec"}
_STAR_UNITS = {
    "x": "pixel", "y": "pixel", "ra": "deg", "dec": "deg", "mag": "mag", "off_ra": "mas",
    "off_dec": "mas", "off_mag": "mmag",
}  # fmt: skip


def write_visit(
    path: Path, row: Mapping[str, Any], fitted: FittedVisit, made_by: tuple[str, str, str]
) -> None:
    """Write tables of the CCDs and of the stars.

    Parameters
    ----------
    path : Path
        The file.
    row : Mapping
        Figures of quality.
    fitted : FittedVisit
        The solution.
    made_by : (str, str, str)
        Stage, its version and the digest of its configuration.

    Raises
    ------
    ProductError
        If it can't be written.
    """
    keywords = {
        **provenance(*made_by),
        "VISIT": (row["visit"], "exposure"),
        "FILTER": (row["filter"], "filter"),
        "NMATCHED": (row["n_matched"], "stars matched with the reference"),
        "WCSFROM": (row["astrometry"], "what the world coordinates are from"),
        "ZPFROM": (row["photometry"], "what the zero points are from"),
        "SCATRA": (row.get("scatter_ra"), "[mas] rms of the stars in right ascension"),
        "SCATDEC": (row.get("scatter_dec"), "[mas] rms of the stars in declination"),
        "ZPSCAT": (row.get("zero_point_scatter"), "[mmag] rms of the stars"),
        "DEFOCUS": (row.get("defocus"), "[mm] height of the focus above the detectors"),
    }
    units = [
        table_unit("CCDS", _ccds(fitted), _CCD_UNITS, {}),
        table_unit("STARS", _stars(fitted), _STAR_UNITS, {}),
    ]
    write_product(path, units, keywords)


def _ccds(fitted: FittedVisit) -> Table:
    """Return a row for each CCD; its world coordinates as FITS cards in JSON."""
    rows = []
    for index, ccd in enumerate(fitted.ccds):
        solution = fitted.solution.ccds.get((ccd.row["visit"], ccd.row["ccd"]))
        zero_points, focus = fitted.zero_points, fitted.focus
        rows.append((
            ccd.row["ccd"],
            np.nan if solution is None else solution.zero_point,
            np.nan if zero_points is None else zero_points.offsets[index],
            np.nan if ccd.row["seeing"] is None else ccd.row["seeing"],
            np.nan if focus is None else focus.surface[index],
            len(fitted.stars[index]),
            json.dumps(ccd.row["wcs"] if solution is None else solution.wcs),
        ))  # fmt: skip
    width = max((len(row[-1]) for row in rows), default=1)
    columns = [
        ("ccd", "i4"), ("zero_point", "f8"), ("zero_point_offset", "f4"), ("seeing", "f4"),
        ("fwhm", "f4"), ("n_matched", "i4"), ("wcs", f"S{width}"),
    ]  # fmt: skip
    return np.array(rows, dtype=columns)


def _stars(fitted: FittedVisit) -> Table:
    """Return a row for each matched star."""
    every = np.concatenate(fitted.stars)
    columns = [
        ("ccd", "i4"), ("id", "i8"), ("x", "f4"), ("y", "f4"), ("ra", "f8"), ("dec", "f8"),
        ("mag", "f4"), ("off_ra", "f4"), ("off_dec", "f4"), ("off_mag", "f4"),
        ("astrometric", "?"), ("photometric", "?"),
    ]  # fmt: skip
    table = np.zeros(len(every), dtype=columns)
    for name in ("id", "x", "y", "ra", "dec", "mag"):
        table[name] = every[name]
    numbers = [ccd.row["ccd"] for ccd in fitted.ccds]
    table["ccd"] = np.repeat(numbers, [len(stars) for stars in fitted.stars])
    for name in ("off_ra", "off_dec", "off_mag"):
        table[name] = np.nan
    if fitted.positions is not None:
        fit = fitted.positions.fit
        table["off_ra"], table["off_dec"] = 1000 * fit.left.real, 1000 * fit.left.imag
        table["astrometric"] = fit.used
    if fitted.zero_points is not None:
        table["off_mag"][fitted.photometric] = 1000 * fitted.zero_points.left
        table["photometric"][fitted.photometric] = fitted.zero_points.used
    return table
