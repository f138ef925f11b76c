import numpy as np
import pytest

from drivers.exposure import bit
from drivers.footprints.detection import (
    Limits,
    find_sources,
    sky_mesh,
    smooth,
    subtract_mesh,
)
from sky_patches import add_star

LIMITS = Limits(threshold=5, min_pixels=1, prominence=5, prominence_part=0.03)
SHAPE = (200, 220)
WIDTH = 1.7


def picture(stars=(), *, noise=5.0, seed=1, level=0.0):
    image = np.random.default_rng(seed).normal(level, noise, SHAPE)
    for x, y, flux in stars:
        add_star(image, x, y, flux, 4.0)
    mask = np.zeros(SHAPE, np.int32)
    return image.astype(np.float32), mask, np.full(SHAPE, noise**2, np.float32)


def found(*planes):
    return find_sources(smooth(*planes, WIDTH), LIMITS)


def test_stars_are_found_where_they_are():
    stars = [(50.3, 60.7, 2000.0), (120.6, 40.2, 400.0), (180.1, 150.8, 5e4)]
    footprints, peaks = found(*picture(stars))
    assert len(footprints) == len(peaks) == 3
    for x, y, flux in stars:
        near = np.hypot(peaks["x"] - x, peaks["y"] - y)
        assert near.min() < 0.8
        # Of a star that is a Gaussian the filter would get all there is.
        best = flux / (5.0 * np.sqrt(4 * np.pi) * WIDTH)
        assert 0.65 * best < peaks["snr"][near.argmin()] < 1.1 * best


def test_noise_is_no_source():
    counts = [len(found(*picture(seed=seed))[1]) for seed in range(20)]
    assert sum(counts) <= 1


def test_two_stars_in_one_footprint_are_two_peaks():
    footprints, peaks = found(*picture([(80, 80, 2e4), (90, 84, 4e3)]))
    assert len(footprints) == 1
    assert peaks["footprint"].tolist() == [0, 0]
    assert peaks["snr"][0] > peaks["snr"][1]


def test_the_noise_of_a_bright_galaxy_is_not_a_crowd():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(columns - 110, (rows - 100) * 1.3)
    image, mask, variance = picture()
    galaxy = 400 * np.exp(-radius / 12)
    variance = (variance + galaxy).astype(np.float32)
    noise = np.random.default_rng(3).normal(size=SHAPE) * np.sqrt(galaxy)
    _, peaks = found((image + galaxy + noise).astype(np.float32), mask, variance)
    assert len(peaks) <= 2


def test_pixels_without_data_belong_to_nothing():
    image, mask, variance = picture([(80, 80, 2e4), (80, 120, 2e4)])
    mask[:, 82:] |= bit("NO_DATA")
    image[:, 82:], variance[:, 82:] = 0, 0
    footprints, peaks = found(image, mask, variance)
    assert footprints.spans[:, 2].max() <= 82
    assert len(peaks) == 2


def test_an_image_without_data_has_no_sources():
    image, mask, variance = picture()
    mask[:] = bit("NO_DATA")
    footprints, peaks = found(image * 0, mask, variance * 0)
    assert len(footprints) == len(peaks) == 0
    assert sky_mesh(image * 0, mask, mask < 0, 64) is None


def test_what_is_left_of_the_sky_is_measured_beside_the_sources():
    image, mask, _ = picture([(80, 80, 1e6)], level=3.0)
    mask[150:] = bit("NO_DATA")
    image[150:] = 0
    sources = np.zeros(SHAPE, bool)
    sources[50:110, 50:110] = True
    mesh = sky_mesh(image, mask, sources, 50)
    assert np.isfinite(mesh).all()
    level = subtract_mesh(image, mask, mesh, 50)
    assert np.median(level[:150]) == pytest.approx(0, abs=0.3)
    assert (level[150:] == 0).all()
