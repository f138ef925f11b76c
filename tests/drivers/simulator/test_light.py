"""Stars, galaxies, asteroids and satellites have their light where, and as wide, as is said."""

import dataclasses

import numpy as np
import pytest

from drivers.simulator.drawing import draw
from drivers.simulator.focal_plane import detectors, to_focal_plane
from drivers.simulator.light import (
    BULGE,
    DISC,
    asteroids_at,
    fluxes,
    fringes,
    light,
    near,
    satellites,
    sky,
    zero_point,
)
from drivers.simulator.point_spread import WEIGHTS, covariances, ellipticity, widths
from drivers.simulator.sky_places import moved
from drivers.simulator.sources import EPOCH, asteroids, galaxies, stars
from drivers.simulator.survey import EFFECTS, PIXEL_SCALE, Survey
from drivers.simulator.truth import ccd_row, wcs_cards
from drivers.simulator.visits import EXPTIME, visits
from drivers.sky_position import make_wcs

NOTHING = frozenset(EFFECTS)


def only(*effects, **size):
    return Survey(**{"visits": 2, "ccds": 2, "seed": 5} | size, without=NOTHING - set(effects))


def moments(image, x, y, half=12):
    """Return the flux, middle and second moments of what is around a pixel."""
    column, row = round(x), round(y)
    stamp = image[row - half : row + half + 1, column - half : column + half + 1].astype(float)
    j, i = np.mgrid[-half : half + 1, -half : half + 1]
    flux = stamp.sum()
    dx, dy = (stamp * i).sum() / flux, (stamp * j).sum() / flux
    xx, yy, xy = ((stamp * a * b).sum() / flux for a, b in ((i, i), (j, j), (i, j)))
    return flux, column + dx, row + dy, (xx - dx**2, xy - dx * dy, yy - dy**2)


def isolated(x, y, width, height, distance=40):
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.where(np.eye(len(x)), 1e6, 0)
    inside = (x > 20) & (x < width - 21) & (y > 20) & (y < height - 21)
    return np.flatnonzero(inside & (apart.min(axis=1) > distance))


def test_stars_are_where_the_true_cards_say_and_have_their_flux():
    survey = only("distortion", "pointing", "proper_motion", "transparency", stars=60)
    for visit in visits(survey):
        for detector in detectors(survey):
            image = light(survey, visit, detector) - sky(survey, visit, detector)
            table, x, y = near(survey, visit, detector, stars(survey))
            # From the cards in the truth, and the star's place in the year of the exposure.
            wcs = make_wcs(wcs_cards(ccd_row(survey, visit, detector.ccd)))
            motion = table["ra"], table["dec"], table["pm_ra"], table["pm_dec"]
            x, y = wcs.all_world2pix(*moved(*motion, visit.epoch - EPOCH), 0)
            flux = fluxes(survey, visit, detector, table, x, y)
            chosen = isolated(x, y, survey.width, survey.height)
            chosen = chosen[flux[chosen] > 3000]
            assert len(chosen) >= 5
            for star in chosen:
                measured = moments(image, x[star], y[star])
                assert measured[0] == pytest.approx(flux[star], rel=0.01)
                assert measured[1:3] == pytest.approx((x[star], y[star]), abs=0.01)


def test_a_star_has_the_width_and_the_shape_that_are_said():
    survey = only("psf_variation", ccds=6, width=256, height=256)
    visit = visits(survey)[1]
    x, y = np.array([100.0]), np.array([120.0])
    shapes = []
    for detector in detectors(survey):
        image = np.zeros((256, 256), np.float32)
        draw(image, x, y, 1e5 * WEIGHTS[None], covariances(survey, visit, detector, x, y))
        flux, _, _, (xx, xy, yy) = moments(image, 100, 120, half=60)
        assert flux == pytest.approx(1e5, rel=1e-3)
        e1, e2 = ellipticity(survey, visit, detector, x, y)
        turn = 1 if detector.angle in (0, 180) else None
        assert turn  # the axes of pixels and of the focal plane agree, or are both reversed
        assert ((xx - yy) / (xx + yy), 2 * xy / (xx + yy)) == pytest.approx(
            (e1[0], e2[0]), abs=2e-3
        )
        line = image[:, 100]
        half = np.interp(line[120] / 2, line[120:140][::-1], np.arange(20)[::-1])
        width = widths(survey, visit, detector, x, y)[0]
        assert 2 * half * PIXEL_SCALE == pytest.approx(width, rel=0.06)
        shapes.append((e1[0], width))
    assert len(set(shapes)) == 6


def test_the_profile_is_a_moffat_function_and_galaxies_have_half_of_their_light_inside():
    radius = np.linspace(0, 3, 301)
    alpha = 0.5 / np.sqrt(2 ** (1 / 3.5) - 1)
    moffat = 2.5 / (np.pi * alpha**2) * (1 + (radius / alpha) ** 2) ** -3.5
    survey = only(width=64, height=64)
    visit = dataclasses.replace(visits(survey)[0], seeing=PIXEL_SCALE)
    variances = covariances(survey, visit, detectors(survey)[0], np.zeros(1), np.zeros(1))[0, :, 0]
    mixture = WEIGHTS / (2 * np.pi * variances) @ np.exp(-(radius**2) / (2 * variances[:, None]))
    assert np.abs(mixture - moffat).max() < 0.005 * moffat[0]
    for weights, sigmas in (DISC, BULGE):
        assert weights.sum() == pytest.approx(1, abs=1e-4)
        inside = 1 - (weights * np.exp(-0.5 / sigmas**2)).sum()
        assert inside == pytest.approx(0.5, abs=0.06)


def test_galaxies_are_elongated_along_their_position_angle():
    survey = only("galaxies", galaxies=40, stars=0, visits=4, ccds=2)
    seen = 0
    for visit in visits(survey):
        for detector in detectors(survey):
            image = light(survey, visit, detector) - sky(survey, visit, detector)
            table, x, y = near(survey, visit, detector, galaxies(survey))
            wcs = make_wcs(wcs_cards(ccd_row(survey, visit, detector.ccd)))
            flux = fluxes(survey, visit, detector, table, x, y)
            good = isolated(x, y, survey.width, survey.height)
            good = [
                i for i in good
                if flux[i] > 3000 and table["axis_ratio"][i] < 0.5 and table["half_light"][i] > 0.5
            ]  # fmt: skip
            for i in good:
                _, _, _, (xx, xy, yy) = moments(image, x[i], y[i], half=18)
                way = 0.5 * np.arctan2(2 * xy, xx - yy)
                ends = wcs.all_pix2world(x[i] + 5 * np.cos([way, way]) * [-1, 1],
                                         y[i] + 5 * np.sin([way, way]) * [-1, 1], 0)  # fmt: skip
                east = (ends[0][1] - ends[0][0]) * np.cos(np.radians(table["dec"][i]))
                angle = np.degrees(np.arctan2(east, ends[1][1] - ends[1][0]))
                off = (angle - table["angle"][i] + 90) % 180 - 90
                assert abs(off) < 8
                seen += 1
    assert seen >= 5


def test_an_asteroid_moves_between_visits_as_its_rate_says():
    survey = only("asteroids", stars=0, ccds=6, width=256, height=512, seed=4)
    first, second = visits(survey)
    before, after = (asteroids_at(survey, v.mjd + EXPTIME / 172800) for v in (first, second))
    step = (after["dec"] - before["dec"]) * 3600 / (second.mjd - first.mjd)
    assert step == pytest.approx(asteroids(survey)["rate_dec"], rel=1e-3)
    seen = 0
    for detector in detectors(survey):
        image = light(survey, second, detector) - sky(survey, second, detector)
        table, x, y = near(survey, second, detector, after, margin=-25)
        if not len(table):
            continue
        for i in isolated(x, y, survey.width, survey.height, distance=60):
            flux, column, row, _ = moments(image, x[i], y[i], half=15)
            expected = fluxes(survey, second, detector, table, x, y)[i]
            assert flux == pytest.approx(expected, rel=0.02)
            assert (column, row) == pytest.approx((x[i], y[i]), abs=0.02)
            seen += 1
    assert seen >= 1


def test_a_satellite_is_a_straight_line_through_the_focal_plane():
    survey = only("satellites", stars=0, visits=12, ccds=6, width=128, height=256)
    crossed = 0
    for visit in visits(survey):
        lines = satellites(survey, visit)
        if len(lines) != 1:
            continue
        distance, way, brightness, _ = lines[0]
        for detector in detectors(survey):
            image = light(survey, visit, detector) - sky(survey, visit, detector)
            if image.max() < 10:
                continue
            rows, columns = np.nonzero(image > 0.5 * image.max())
            u, v = to_focal_plane(survey, detector, columns.astype(float), rows.astype(float))
            assert np.abs(u * np.cos(way) + v * np.sin(way) - distance).max() < 5
            assert image.max() < brightness
            crossed += 1
    assert crossed >= 2


def test_the_sky_has_a_gradient_over_the_field_and_is_flat_without():
    survey = only("sky_gradient", stars=0, ccds=4)
    visit = visits(survey)[0]
    levels = [float(sky(survey, visit, d).mean()) for d in detectors(survey)]
    assert np.ptp(levels) > 0.005 * visit.sky
    plain = dataclasses.replace(survey, without=NOTHING)
    assert np.ptp(sky(plain, visits(plain)[0], detectors(plain)[0])) < 0.01


def test_fringes_are_one_pattern_that_grows_with_the_sky():
    survey = only("fringe", visits=4, bands=("r", "z"))
    detector = detectors(survey)[0]
    blue, red, _, other = visits(survey)
    assert np.all(fringes(survey, blue, detector) == 0)
    first, second = (fringes(survey, visit, detector) / visit.sky for visit in (red, other))
    assert np.allclose(first, second, atol=1e-6)
    assert 0.005 < first.std() < 0.01


def test_zero_points_differ_from_visit_to_visit_by_what_the_air_takes():
    survey = only("transparency", visits=6, bands=("r",), ccds=1)
    detector = detectors(survey)[0]
    points = np.array([zero_point(survey, visit, detector) for visit in visits(survey)])
    taken = np.array([visit.extinction for visit in visits(survey)])
    assert np.ptp(taken) > 0.02
    assert points + taken == pytest.approx(points[0] + taken[0], abs=0.001)
