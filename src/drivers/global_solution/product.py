"""The file which says what the solution of a tract is, and how well its stars agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivers.fits_product import provenance, table_unit, write_product
from drivers.global_solution.observations import Frame
from drivers.global_solution.tract import FittedTract
from drivers.results import Solution, Table

_UNITS = {
    "zero_point": "mag", "zero_point_step": "mag", "off_ra": "mas", "off_dec": "mas",
    "off_mag": "mmag",
}  # fmt: skip

_KEYWORDS = {
    "n_visits": ("NVISITS", "exposures"),
    "n_stars": ("NSTARS", "stars"),
    "n_reference": ("NREF", "of these in the reference, and used"),
    "internal_scatter": ("ASTINT", "[mas] rms per axis between exposures"),
    "external_scatter": ("ASTEXT", "[mas] rms per axis to the reference"),
    "internal_magnitude_scatter": ("MAGINT", "[mmag] rms between exposures"),
    "external_magnitude_scatter": ("MAGEXT", "[mmag] rms to the reference"),
    "fallback": ("FALLBACK", "why the exposures' solutions stand"),
}


def write_tract(
    path: Path,
    row: Mapping[str, Any],
    frames: Sequence[Frame],
    solution: Solution,
    fitted: FittedTract | str,
    made_by: tuple[str, str, str],
) -> None:
    """Write tables of the frames and, if the tract was solved, of the stars' observations.

    Parameters
    ----------
    path : Path
        The file.
    row : Mapping
        Figures of quality.
    frames : sequence of Frame
        What was known before.
    solution : Solution
        What is known now.
    fitted : FittedTract or str
        How; or why the exposures' solutions stand.
    made_by : (str, str, str)
        Stage, its version and the digest of its configuration.

    Raises
    ------
    ProductError
        If it can't be written.
    """
    keywords: dict[str, Any] = {
        **provenance(*made_by),
        "TRACT": (row["tract"], "tract"),
        "FILTER": (row["filter"], "filter"),
    }
    for name, (keyword, comment) in _KEYWORDS.items():
        keywords[keyword] = (row.get(name), comment)
    units = [table_unit("FRAMES", _frames(frames, solution), _UNITS, {})]
    if isinstance(fitted, FittedTract):
        units.append(table_unit("OBSERVATIONS", _observations(fitted), _UNITS, {}))
    write_product(path, units, keywords)


def _frames(frames: Sequence[Frame], solution: Solution) -> Table:
    """Return a row for each frame; its world coordinates as FITS cards in JSON."""
    rows = []
    for frame in frames:
        now = solution.ccds[frame.key]
        step = now.zero_point - frame.solution.zero_point
        rows.append((*frame.key, now.zero_point, step, json.dumps(now.wcs)))
    width = max((len(row[-1]) for row in rows), default=1)
    columns = [
        ("visit", "i8"), ("ccd", "i4"), ("zero_point", "f8"), ("zero_point_step", "f4"),
        ("wcs", f"S{width}"),
    ]  # fmt: skip
    return np.array(rows, dtype=columns)


def _observations(fitted: FittedTract) -> Table:
    """Return a row for each observation of a star which several exposures saw."""
    seen = fitted.seen
    which = np.bincount(seen.star, minlength=1)[seen.star] > 1
    columns = [
        ("star", "i4"), ("frame", "i4"), ("off_ra", "f4"), ("off_dec", "f4"), ("off_mag", "f4"),
        ("astrometric", "?"), ("photometric", "?"),
    ]  # fmt: skip
    table = np.zeros(int(which.sum()), dtype=columns)
    table["star"], table["frame"] = seen.star[which], seen.frame[which]
    positions, magnitudes = fitted.positions, fitted.magnitudes
    table["off_ra"] = 1000 * positions.left.real[which]
    table["off_dec"] = 1000 * positions.left.imag[which]
    table["off_mag"] = 1000 * magnitudes.left[which]
    table["astrometric"], table["photometric"] = positions.used[which], magnitudes.used[which]
    return table
