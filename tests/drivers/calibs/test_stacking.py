"""Exposures of one pattern are averaged, and what only one of them shows is left out."""

import numpy as np
import pytest

from drivers.calibs.stacking import Layer, combine

SHAPE = (300, 40)


def layers(random, pattern, scales, noise=5.0):
    return [
        Layer(
            (random.poisson(pattern * scale) + random.normal(0, noise, SHAPE)).astype(np.float32),
            scale,
            noise**2,
        )
        for scale in scales
    ]


@pytest.fixture
def random():
    return np.random.default_rng(1)


@pytest.fixture
def pattern(random):
    return 1 + 0.05 * random.standard_normal(SHAPE)


def test_the_pattern_is_found_as_well_as_the_noise_allows(random, pattern):
    scales = [20_000, 26_000, 31_000, 24_000]
    stack = combine(layers(random, pattern, scales), clip=4, tolerance=0)
    expected = np.sqrt(pattern * sum(scales) + 4 * 25) / sum(scales)
    assert (stack.pattern - pattern).std() == pytest.approx(expected.mean(), rel=0.05)
    assert abs((stack.pattern - pattern).mean()) < 4 * expected.mean() / np.sqrt(pattern.size)
    assert stack.used > 0.999


def test_cosmic_rays_are_left_out_even_where_two_of_three_exposures_have_none(random, pattern):
    three = layers(random, pattern, [500, 700, 600])
    hit = three[1].image.copy()
    three[1].image[::7, ::5] += 4000
    stack = combine(three, clip=5, tolerance=0)
    expected = np.sqrt(500 + 600 + 50) / (500 + 600)
    left = (stack.pattern - pattern)[::7, ::5]
    assert abs(left.mean()) < 4 * expected / np.sqrt(left.size)
    assert left.std() == pytest.approx(expected, rel=0.2)
    three[1].image[:] = hit
    assert combine(three, clip=5, tolerance=0).used > stack.used


def test_cosmic_rays_are_left_out_even_where_they_hit_two_of_four_exposures(random, pattern):
    four = layers(random, pattern, [500, 700, 600, 650])
    for layer in four[1:3]:
        layer.image[::7, ::5] += random.uniform(2000, 4000)
    left = (combine(four, clip=5, tolerance=0).pattern - pattern)[::7, ::5]
    assert abs(left.mean()) < 4 * np.sqrt(1150 + 50) / 1150 / np.sqrt(left.size)


def test_pixels_which_no_exposure_can_use_have_no_value(random, pattern):
    some = layers(random, pattern, [500, 700])
    for layer in some:
        layer.image[3, 4] = np.nan
    some[0].image[5, 6] = np.nan
    stack = combine(some, clip=5, tolerance=0)
    assert np.isnan(stack.pattern[3, 4])
    assert stack.pattern[5, 6] == pytest.approx(some[1].image[5, 6] / 700, rel=1e-6)
    assert np.isfinite(stack.pattern).sum() == stack.pattern.size - 1


def test_exposures_may_differ_by_the_tolerance(random, pattern):
    some = layers(random, pattern, [200_000, 200_000, 200_000])
    some[2].image[:] *= 1.01
    strict = combine(some, clip=4, tolerance=0.0)
    lenient = combine(some, clip=4, tolerance=0.01)
    assert lenient.used > 0.999 > strict.used


def test_a_bias_is_the_mean_of_all_exposures(random):
    pattern = random.normal(0, 3, SHAPE)
    some = [
        Layer((pattern + random.normal(0, 6, SHAPE)).astype(np.float32), 1.0, 36.0)
        for _ in range(9)
    ]
    stack = combine(some, clip=4, tolerance=0.003)
    assert (stack.pattern - pattern).std() == pytest.approx(2.0, rel=0.05)
