"""Pairs of detectors and patches on the plane are those of exact polygons on the sphere."""

import warnings

import numpy as np
import pytest

from drivers.configuration.sky_map import SkyMapConfig
from drivers.sky_polygon import polygon
from drivers.skymap import SkyMap, covered_patches

SMALL = SkyMapConfig(num_rings=60, pixel_scale=2.0, patch_inner=700, patch_border=30)


def detectors(count, seed, ra, dec, size=0.12, spread=1.5):
    """Corners [deg] of turned detectors around a place, at the poles and across RA 0 too."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-spread, spread, (2, count))
    angle = random.uniform(0, 2 * np.pi, count)
    corner = np.radians([45, 135, 225, 315]) + angle[:, None]
    stretch = random.uniform(0.5, 1.5, (count, 4)) * size
    x, y = x[:, None] + stretch * np.cos(corner), y[:, None] + stretch * np.sin(corner)
    return np.stack(on_sky(ra, dec, x, y), axis=-1)


def on_sky(ra, dec, x, y):
    """Positions on the plane which touches the sky at ra, dec; x and y in degrees."""
    a, d = np.radians([ra, dec])
    x, y = np.radians(x), np.radians(y)
    norm = np.cos(d) - y * np.sin(d)
    return (
        np.degrees(a + np.arctan2(x, norm)) % 360,
        np.degrees(np.arctan2(np.sin(d) + y * np.cos(d), np.hypot(x, norm))),
    )


def by_polygons(skymap, corners, margin=0.0):
    found = set()
    for index, corner in enumerate(corners):
        region = polygon(corner.T, margin)
        for patch in skymap.patches_overlapping(region):
            found.add((index, patch.tract.id, *patch.index))
    return found


def pairs(covered):
    columns = (covered.detector, covered.tract, covered.column, covered.row)
    return set(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 1.4), (30.0, 89.7), (300.0, -89.9), (183.0, -45.0)])
def test_pairs_on_the_plane_are_those_on_the_sphere(ra, dec):
    skymap = SkyMap(SMALL)
    corners = detectors(60, 1, ra, dec)
    found = pairs(covered_patches(skymap, corners))
    assert found == by_polygons(skymap, corners)
    assert {index for index, *_ in found} == set(range(60))
    assert len({tract for _, tract, *_ in found}) > 1


def test_a_margin_adds_the_patches_which_are_just_missed():
    skymap = SkyMap(SMALL)
    corners = detectors(40, 2, 10.0, 20.0)
    near, wider = (pairs(covered_patches(skymap, corners, margin)) for margin in (0, 100))
    assert near < wider
    # A margin of the polygon is at least that wide, and at most 1.5 times.
    assert by_polygons(skymap, corners, 60) <= wider <= by_polygons(skymap, corners, 110)


def test_no_detector_covers_nothing():
    assert len(covered_patches(SkyMap(SMALL), np.zeros((0, 4, 2))).detector) == 0


def test_corners_on_the_other_side_of_the_sky_are_no_trouble():
    """A wrong solution can put them there."""
    wide = np.array([[[0, 0], [100, 0], [100, 10], [0, 10]], [[0, 0], [1, 0], [1, 1], [0, 1]]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        covered = covered_patches(SkyMap(SMALL), wide)
    assert 1 in covered.detector
