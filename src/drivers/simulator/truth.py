"""What is true of the simulated survey, as tables: REPO/truth/. Only tests and demos may read it.

sources.fits has STARS, GALAXIES and ASTEROIDS (see `sources`); visits.fits has VISITS; ccds.fits
has CCDS, a row for each visit and CCD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from drivers.simulator.detector import smooth_response
from drivers.simulator.focal_plane import Detector, detectors, field_radius
from drivers.simulator.light import near, satellites, zero_point
from drivers.simulator.optics import pixel_area, smooth_image, true_wcs
from drivers.simulator.photometry import detector_step
from drivers.simulator.point_spread import defocus, ellipticity, widths
from drivers.simulator.sources import asteroids, galaxies, stars
from drivers.simulator.survey import Survey, Table
from drivers.simulator.visits import Visit, visits

_WCS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
_SIP = tuple(f"{axis}_{p}_{n - p}" for axis in "AB" for n in (2, 3, 4) for p in range(n + 1))

CCD = np.dtype(
    [
        ("visit", "i8"), ("ccd", "i4"), ("filter", "S2"), ("role", "S8"),
        ("zero_point", "f8"), ("zero_point_flat", "f8"), ("sensitivity", "f8"),
        ("seeing", "f8"), ("e1", "f8"), ("e2", "f8"), ("defocus", "f8"), ("n_stars", "i4"),
        *((name, "f8") for name in (*_WCS, *_SIP)),
    ]
)  # fmt: skip
"""A row of CCDS, for the middle of the CCD.

``zero_point`` is the AB magnitude of one electron of light in an exposure, before the detector took
its share; ``zero_point_flat`` that of one electron after division by a flat whose median over the
CCD is 1, for stars in its middle (flats have the pixels' areas in them, stars do not);
``sensitivity`` [mag] what the detector takes more than others. ``seeing`` [arcsec];
``defocus`` [mm]; ``n_stars`` the stars on it down to the faintest; then the cards of its true world
coordinates (`wcs_cards`).
"""

_VISIT = np.dtype(
    [
        ("visit", "i8"), ("filter", "S2"), ("mjd", "f8"), ("ra", "f8"), ("dec", "f8"),
        ("angle", "f8"), ("seeing", "f8"), ("sky", "f8"), ("extinction", "f8"), ("focus", "f8"),
        ("n_satellites", "i4"),
    ]
)  # fmt: skip


def ccd_row(survey: Survey, visit: Visit, ccd: int) -> dict[str, Any]:
    """Return what is true of a CCD in a visit: the fields of `CCD`."""
    detector = detectors(survey)[ccd]
    middle = np.array([(survey.width - 1) / 2]), np.array([(survey.height - 1) / 2])
    e1, e2 = ellipticity(survey, visit, detector, *middle)
    cards = true_wcs(survey, visit, detector)
    zero = zero_point(survey, visit, detector)
    return {
        "visit": visit.number,
        "ccd": ccd,
        "filter": visit.filter,
        "role": detector.role,
        "zero_point": zero,
        "zero_point_flat": zero + _flat_step(survey, visit, detector),
        "sensitivity": detector_step(survey, visit.filter, ccd),
        "seeing": float(widths(survey, visit, detector, *middle)[0]),
        "e1": float(e1[0]),
        "e2": float(e2[0]),
        "defocus": float(defocus(survey, visit, detector, *middle)[0]),
        "n_stars": len(near(survey, visit, detector, stars(survey), margin=0)[0]),
    } | {name: cards[name] for name in (*_WCS, *_SIP)}


def _flat_step(survey: Survey, visit: Visit, detector: Detector) -> float:
    """Return what a flat with median 1 on this CCD leaves of its response in its middle [mag]."""
    flat = smooth_response(survey, detector, visit.filter)
    middle = 1.0
    if survey.has("pixel_area"):
        radius = field_radius(survey)
        flat = flat * smooth_image(
            survey, detector, lambda u, v: pixel_area(survey, u * radius, v * radius)
        )
        place = np.array([detector.true_x]), np.array([detector.true_y])
        middle = float(pixel_area(survey, *place)[0])
    return float(2.5 * np.log10(np.median(flat) / middle))


def wcs_cards(row: Any) -> dict[str, Any]:
    """Return the cards of the true world coordinates in a row of CCDS, for `make_wcs`."""
    kind = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CUNIT1": "deg", "CUNIT2": "deg"}
    values = {name: float(row[name]) for name in (*_WCS, *_SIP)}
    return kind | {"A_ORDER": 4, "B_ORDER": 4, "RADESYS": "ICRS"} | values


def ccd_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the rows of CCDs as a table, sorted by visit and ccd."""
    names = CCD.names or ()
    table = np.array([tuple(row[name] for name in names) for row in rows], dtype=CCD)
    return table[np.lexsort((table["ccd"], table["visit"]))]


def visit_table(survey: Survey) -> Table:
    """Return what is true of the visits."""
    return np.array(
        [
            (
                v.number, v.filter, v.mjd, v.ra, v.dec, v.angle, v.seeing, v.sky, v.extinction,
                v.focus, len(satellites(survey, v)),
            )
            for v in visits(survey)
        ],
        dtype=_VISIT,
    )  # fmt: skip


def source_units(survey: Survey) -> fits.HDUList:
    """Return the FITS file of the true sources."""
    tables = {
        "STARS": stars(survey),
        "GALAXIES": galaxies(survey),
        "ASTEROIDS": asteroids(survey),
    }
    units = [fits.BinTableHDU(table, name=name) for name, table in tables.items()]
    return fits.HDUList([fits.PrimaryHDU(), *units])
