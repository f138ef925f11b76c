"""Where stars are: sky to pixels and back, the cards of the truth, and what the header says."""

import dataclasses

import numpy as np
import pytest

from drivers.simulator.focal_plane import detectors, field_radius, to_focal_plane
from drivers.simulator.light import near
from drivers.simulator.optics import header_wcs, pixel_area, pixel_to_sky, sky_to_pixel, true_wcs
from drivers.simulator.sky_places import basis
from drivers.simulator.sources import stars
from drivers.simulator.survey import PIXEL_SCALE, Survey
from drivers.simulator.visits import visits
from drivers.sky_position import make_wcs, sky_positions

PLACES = [(150.0, 2.2), (0.0, -30.0), (10.0, 90.0), (359.99, 0.0)]


def pixels(survey, count=200):
    x, y = np.random.default_rng(1).uniform(0, 1, (2, count))
    return x * (survey.width - 1), y * (survey.height - 1)


def separation(first, second):
    """Between places on the sky [arcsec]."""
    distance = np.linalg.norm(basis(*first)[0] - basis(*second)[0], axis=-1)
    return np.degrees(distance) * 3600


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_pixels_come_back_from_the_sky_everywhere(ra, dec):
    survey = Survey(visits=3, ccds=6, ra=ra, dec=dec)
    x, y = pixels(survey)
    for visit in visits(survey):
        for detector in detectors(survey):
            sky = pixel_to_sky(survey, visit, detector, x, y)
            again = sky_to_pixel(survey, visit, detector, basis(*sky)[0])
            assert np.hypot(again[0] - x, again[1] - y).max() < 1e-6


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_the_true_cards_are_right_to_a_tenth_of_a_milliarcsecond(ra, dec):
    survey = Survey(visits=2, ccds=8, ra=ra, dec=dec)
    x, y = pixels(survey)
    for detector in detectors(survey):
        visit = visits(survey)[1]
        wcs = make_wcs(true_wcs(survey, visit, detector))
        wanted = pixel_to_sky(survey, visit, detector, x, y)
        assert separation(sky_positions(wcs, x, y), wanted).max() < 1e-4


def test_the_header_is_off_by_arcseconds_and_right_if_all_is_as_drawn():
    survey = Survey(visits=2, ccds=8)
    x, y = pixels(survey)
    visit, detector = visits(survey)[0], detectors(survey)[7]
    guess = sky_positions(make_wcs(header_wcs(survey, visit, detector)), x, y)
    off = separation(guess, pixel_to_sky(survey, visit, detector, x, y))
    assert off.min() > 0.2
    assert off.max() < 20

    ideal = dataclasses.replace(survey, without=frozenset({"distortion", "pointing"}))
    visit, detector = visits(ideal)[0], detectors(ideal)[7]
    guess = sky_positions(make_wcs(header_wcs(ideal, visit, detector)), x, y)
    off = separation(guess, pixel_to_sky(ideal, visit, detector, x, y))
    # What is left: the detector is not quite where it was drawn.
    assert 0.01 < off.max() < 1.0


def test_the_distortion_moves_the_rim_of_the_field():
    survey = Survey(visits=1, ccds=24)
    plain = dataclasses.replace(survey, without=frozenset({"distortion"}))
    detector = max(detectors(survey), key=lambda d: np.hypot(d.x, d.y) * (d.role == "science"))
    x, y = pixels(survey)
    first = pixel_to_sky(survey, visits(survey)[0], detector, x, y)
    second = pixel_to_sky(plain, visits(plain)[0], detector, x, y)
    radius = np.hypot(*to_focal_plane(survey, detector, x, y)) / field_radius(survey)
    expected = 0.005 * radius**3 * field_radius(survey) * PIXEL_SCALE
    assert separation(first, second) == pytest.approx(expected, abs=0.15)
    assert expected.max() > 1


def test_the_area_of_pixels_is_that_of_the_true_cards():
    survey = Survey(visits=1, ccds=8)
    detector, visit = detectors(survey)[0], visits(survey)[0]
    x, y = np.array([20.0, 256.0, 490.0]), np.array([30.0, 512.0, 1000.0])
    corners = [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5)]
    at = [basis(*pixel_to_sky(survey, visit, detector, x + i, y + j))[0] for i, j in corners]
    area = np.linalg.norm(np.cross(at[1] - at[0], at[2] - at[0]), axis=-1)
    relative = np.degrees(np.degrees(area)) * 3600**2 / PIXEL_SCALE**2
    said = pixel_area(survey, *to_focal_plane(survey, detector, x, y))
    assert relative == pytest.approx(said, abs=5e-4)
    assert np.ptp(said) > 0.003


def test_stars_move_by_their_proper_motions():
    survey = Survey(visits=1, ccds=1, stars=50)
    still = dataclasses.replace(survey, without=frozenset({"proper_motion"}))
    visit, detector = visits(survey)[0], detectors(survey)[0]
    table, x, y = near(survey, visit, detector, stars(survey))
    unmoved, x0, y0 = near(still, visit, detector, stars(still))
    common, one, other = np.intersect1d(table["id"], unmoved["id"], return_indices=True)
    assert len(common) > 20
    at = np.hypot(x[one] - x0[other], y[one] - y0[other]) * PIXEL_SCALE * 1000
    motion = np.hypot(table["pm_ra"], table["pm_dec"])[one]
    assert at == pytest.approx(motion * (visit.epoch - 2016.0), rel=0.05)
    assert np.median(at) > 20
