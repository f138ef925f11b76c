"""The reference catalogue: what another survey, in other filters, said of the stars years before.

It lacks faint stars and a few bright ones, its positions, motions and magnitudes have errors, and
it has some galaxies among its stars.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from drivers.simulator.sky_places import shifted
from drivers.simulator.sources import EPOCH, galaxies, stars
from drivers.simulator.survey import BANDS, Survey, Table

HALF_COMPLETE = 21.5
"""Magnitude in r at which half of the stars are missing."""

_MISSING = 0.02
_GALAXIES_TO = 20.0

REFERENCE = np.dtype(
    [
        ("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("ra_err", "f4"), ("dec_err", "f4"),
        ("pm_ra", "f4"), ("pm_dec", "f4"), ("epoch", "f8"),
        *((f"ref_{band}{error}", "f4") for band in BANDS for error in ("", "_err")),
    ]
)  # fmt: skip
"""A row: position [deg] at ``epoch`` [Julian year] with its errors [mas], proper motion [mas/yr, of
right ascension times cos(dec)], magnitudes [AB]."""

UNITS = {"ra": "deg", "dec": "deg", "epoch": "yr", "pm_ra": "mas/yr", "pm_dec": "mas/yr"} | {
    f"{axis}_err": "mas" for axis in ("ra", "dec")
}


def reference(survey: Survey) -> Table:
    """Return the reference catalogue, sorted by declination."""
    random = survey.random("reference")
    blurred = galaxies(survey)
    rows = [
        _observed(random, _listed(random, stars(survey))),
        _observed(random, blurred[blurred["ref_r"] < _GALAXIES_TO]),
    ]
    table = np.concatenate(rows)
    table["id"] = 1 + random.permutation(len(table))
    return table[np.argsort(table["dec"], kind="stable")]


def _listed(random: np.random.Generator, table: Table) -> Table:
    """Return the stars which the other survey found."""
    found = 1 / (1 + np.exp((table["ref_r"] - HALF_COMPLETE) / 0.2)) * (1 - _MISSING)
    return table[random.uniform(size=len(table)) < found]


def _observed(random: np.random.Generator, truth: Table) -> Table:
    count = len(truth)
    table = np.zeros(count, REFERENCE)
    names = truth.dtype.names or ()
    # From 2 mas where they are bright to 5 where they are faint.
    error = np.clip(2 + 3 * (truth["ref_r"] - 17) / 4, 2, 5).astype(float)
    table["ra_err"] = table["dec_err"] = error
    xi, eta = random.normal(0, 1, (2, count)) * error / 1000
    table["ra"], table["dec"] = shifted(truth["ra"], truth["dec"], xi, eta)
    for name in ("pm_ra", "pm_dec"):
        motion = truth[name] if name in names else 0.0
        table[name] = motion + random.normal(0, 0.2, count)
    table["epoch"] = EPOCH
    for band in BANDS:
        magnitude = truth[f"ref_{band}"].astype(float)
        uncertain = _magnitude_error(magnitude)
        table[f"ref_{band}_err"] = uncertain
        table[f"ref_{band}"] = magnitude + random.normal(0, 1, count) * uncertain
    return table


def _magnitude_error(magnitude: Any) -> Any:
    return np.hypot(0.005, 0.01 * 10 ** (0.4 * (magnitude - 20)))
