"""Frames which are calibrated with the survey's own calibration frames have the true fluxes."""

import dataclasses

import numpy as np

from drivers.instrument_signature import remove_signature
from drivers.instruments.simcam import SIMCAM
from drivers.simulator.focal_plane import detectors, to_focal_plane
from drivers.simulator.frames import exposures, make_frame
from drivers.simulator.light import near
from drivers.simulator.optics import pixel_area
from drivers.simulator.point_spread import WEIGHTS, covariances
from drivers.simulator.sources import stars
from drivers.simulator.survey import Survey
from drivers.simulator.truth import ccd_row
from drivers.simulator.visits import visits

# Nothing that is there by chance: what is left is wrong by principle.
LEFT_OUT = frozenset(
    {"noise", "cosmics", "satellites", "asteroids", "galaxies", "fringe", "blends"}
)
SURVEY = Survey(
    visits=2, ccds=8, height=1024, width=512, stars=80, bands=("r",), seed=3, calibs=1,
    without=LEFT_OUT | {"sky_gradient", "transparency"},
)  # fmt: skip


EMPTY = dataclasses.replace(SURVEY, stars=0)
RADIUS = 20


def electrons(survey, exposure, ccd):
    counts, header = make_frame(survey, exposure, ccd)
    amplifiers = SIMCAM.readout.amplifiers(header)
    image = remove_signature(counts, amplifiers, saturation=60_000, overscan_order=1).image
    return image.astype(float)


def calibrated(number, ccd):
    """Return what stars add to a frame, and the flat by which it was divided."""
    kinds = {exposure.kind: exposure for exposure in exposures(SURVEY)}
    bias, dark, flat = (electrons(SURVEY, kinds[kind], ccd) for kind in ("bias", "dark", "flat"))
    flat = flat - bias - 10 * (dark - bias) / 300
    flat /= np.median(flat)
    exposure = next(e for e in exposures(SURVEY) if e.number == number)
    full, empty = (electrons(survey, exposure, ccd) for survey in (SURVEY, EMPTY))
    return (full - empty) / flat, flat


def around(image, x, y):
    column, row = round(x), round(y)
    j, i = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    inside = np.hypot(i - (x - column), j - (y - row)) < RADIUS
    return image[row - RADIUS : row + RADIUS + 1, column - RADIUS : column + RADIUS + 1][inside]


def enclosed(visit, detector, x, y):
    moments = covariances(SURVEY, visit, detector, np.array([x]), np.array([y]))[0]
    return 1 - WEIGHTS @ np.exp(-(RADIUS**2) / (moments[:, 0] + moments[:, 2]))


def isolated_stars(visit, detector):
    """Return pixels, true electrons and relative areas of stars."""
    table, x, y = near(SURVEY, visit, detector, stars(SURVEY))
    flux = 10 ** (0.4 * (ccd_row(SURVEY, visit, detector.ccd)["zero_point_flat"] - table["mag_r"]))
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e6 * np.eye(len(x))
    chosen = (flux > 5e4) & (flux < 1e6) & (apart.min(axis=1) > 2 * RADIUS)
    chosen &= (np.abs(x - 255.5) < 230) & (np.abs(y - 511.5) < 490)
    middle = pixel_area(SURVEY, np.array([detector.x]), np.array([detector.y]))[0]
    area = pixel_area(SURVEY, *to_focal_plane(SURVEY, detector, x, y)) / middle
    return x[chosen], y[chosen], flux[chosen], area[chosen]


def test_stars_have_their_magnitudes_once_the_area_of_pixels_is_corrected_for():
    areas, offsets = [], []
    for visit in visits(SURVEY):
        for detector in detectors(SURVEY)[visit.number % 2 :: 2]:
            image, flat = calibrated(visit.number, detector.ccd)
            for x, y, flux, area in zip(*isolated_stars(visit, detector), strict=True):
                if around(flat, x, y).min() < 0.5 or np.ptp(around(flat, x, y)) > 0.3:
                    continue  # a defect
                expected = flux * enclosed(visit, detector, x, y)
                offsets.append(-2.5 * np.log10(around(image, x, y).sum() / expected))
                areas.append(area)
    assert len(areas) > 15
    corrected = np.array(offsets) - 2.5 * np.log10(areas)
    assert np.abs(np.median(corrected)) < 0.001
    assert 1.48 * np.median(np.abs(corrected - np.median(corrected))) < 0.0015
    slope = np.polyfit(np.array(areas) - 1, offsets, 1)[0]
    assert 0.7 < slope / 1.0857 < 1.3
