"""Two lists of stars are brought together wherever they are the same, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.astrometry.matching import Tolerances, find_similarity
from drivers.astrometry.similarity import Similarity

TOLERANCES = Tolerances(radius=15, scale=0.02, farthest=300, mirror=True)
"""3 arcsec and 60 arcsec at 0.2 arcsec per pixel."""

SMALL, LARGE = np.array([512, 256]), np.array([2048, 4096])
MARGIN = 300
MISSING = 0.3
FARTHEST = 150.0
"""Error of the pointing: 30 arcsec."""


def draw(random, size, count, *, angle=None, mirror=False, galaxies=0.5):
    """Return sources of a CCD and reference stars around it, the brightest first, and the truth."""
    share = np.prod(size + 2 * MARGIN) / np.prod(size)
    places = random.uniform(-MARGIN, size + MARGIN, (int(count * share), 2))
    mag = 15 + 6 * random.power(2, len(places))
    inside = ((places >= 0) & (places < size)).all(axis=1)
    seen, known = random.random((2, len(places))) > MISSING
    others = random.uniform(0, size, (int(galaxies * count), 2))
    other_mag = 15 + 6 * random.power(3, len(others))
    middle = size / 2
    sources = np.concatenate([places[inside & seen], others]) - middle
    order = np.argsort(np.concatenate([mag[inside & seen], other_mag]))
    sources = sources[order] + random.normal(0, 0.1, (len(order), 2))
    turn = random.uniform(-0.3, 0.3) if angle is None else angle
    factor = random.uniform(0.98, 1.02) * np.exp(1j * np.radians(turn))
    shift = random.uniform(0, FARTHEST) * np.exp(2j * np.pi * random.random())
    truth = Similarity(complex(factor), complex(shift), mirror)
    reference = places[known][np.argsort(mag[known] + random.normal(0, 0.4, known.sum()))]
    return sources, truth.apply(reference - middle), truth, int((inside & seen & known).sum())


def wrong(found, truth, size):
    """Say whether a corner of the CCD goes elsewhere."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * size / 2
    return np.hypot(*(found.apply(corners) - truth.apply(corners)).T).max() > TOLERANCES.radius


def outcomes(size, count, fields, tolerances=TOLERANCES, **differences):
    """Return how many fields with 15 common stars there are, are not solved, are solved wrongly."""
    random = np.random.default_rng(count)
    tried = failed = false = 0
    while tried < fields:
        sources, reference, truth, common = draw(random, size, count, **differences)
        if common < 15:
            continue
        tried += 1
        found = find_similarity(sources, reference, tolerances)
        failed += found is None
        false += found is not None and wrong(found, truth, size)
    return failed, false


@pytest.mark.parametrize("count", [25, 60, 120, 250, 500])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_any_density_is_matched(size, count):
    assert outcomes(size, count, fields=40) == (0, 0)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_as_many_galaxies_as_stars_do_no_harm(size):
    assert outcomes(size, 45, fields=60, galaxies=1.0) == (0, 0)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angle", [37.0, 90.0, 180.0, 301.0])
def test_any_angle_and_a_mirror_image(angle, mirror):
    assert outcomes(SMALL, 80, fields=3, angle=angle, mirror=mirror) == (0, 0)


def test_a_mirror_image_is_not_looked_for_unasked():
    told = replace(TOLERANCES, mirror=False)
    assert outcomes(LARGE, 60, fields=3, tolerances=told, mirror=True) == (3, 0)


def test_what_is_farther_off_than_allowed_is_not_taken():
    told = replace(TOLERANCES, farthest=20)
    random = np.random.default_rng(1)
    sources, reference, truth, _ = draw(random, SMALL, 100)
    assert find_similarity(sources, reference, TOLERANCES) is not None
    moved = reference + 60 - [truth.shift.real, truth.shift.imag]
    assert find_similarity(sources, moved, told) is None


@pytest.mark.parametrize("count", [6, 15, 40])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_unrelated_lists_are_never_brought_together(size, count):
    random = np.random.default_rng(count)
    for _ in range(15):
        sources, _, _, _ = draw(random, size, count)
        _, reference, _, _ = draw(random, size, count)
        assert find_similarity(sources, reference, TOLERANCES) is None


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.ones((30, 2)), np.eye(2)], ids=len)
def test_lists_without_extent_lead_to_nothing(points):
    others = np.random.default_rng(1).uniform(-300, 300, (50, 2))
    assert find_similarity(points, others, TOLERANCES) is None
    assert find_similarity(others, points, TOLERANCES) is None
