"""The zero point is that of most stars."""

import numpy as np
import pytest

from drivers.zero_point import in_filter, measure_zero_point


def stars(count=60, seed=1, outliers=0):
    random = np.random.default_rng(seed)
    mag = random.uniform(15, 20, count)
    flux = 10 ** (0.4 * (27.0 - mag)) * (1 + random.normal(0, 0.01, count))
    flux[:outliers] *= random.uniform(1.2, 3, outliers)
    return flux, 0.01 * flux, mag, np.full(count, 0.002)


@pytest.mark.parametrize("outliers", [0, 10, 20])
def test_it_is_unbiased_whatever_is_wrong_with_a_third_of_the_stars(outliers):
    found = measure_zero_point(*stars(outliers=outliers), floor=0.005)
    assert found.value == pytest.approx(27.0, abs=0.006)
    assert not found.used[:outliers].any() or outliers == 0


def test_its_error_describes_its_scatter():
    found = [measure_zero_point(*stars(seed=seed), floor=0.005) for seed in range(60)]
    pulls = [(one.value - 27.0) / one.error for one in found]
    assert 0.6 < np.std(pulls) < 1.4


def test_stars_without_flux_or_magnitude_do_not_count():
    flux, flux_err, mag, mag_err = stars()
    flux[:5], mag[5:10], mag_err[10:15] = np.nan, np.nan, np.nan
    flux[15] = -3
    found = measure_zero_point(flux, flux_err, mag, mag_err, floor=0.005)
    assert not found.used[:10].any()
    assert not found.used[15]
    assert found.value == pytest.approx(27.0, abs=0.006)
    assert measure_zero_point(flux[:12], flux_err[:12], mag[:12], mag_err[:12], floor=0) is None


def test_colours_matter_where_a_term_asks_for_them():
    mag, colour = np.array([20.0, 21.0, 22.0]), np.array([0.5, np.nan, 1.0])
    np.testing.assert_allclose(in_filter(mag, colour, (0.1, 0.2, 0.4)), [20.3, np.nan, 22.7])
    np.testing.assert_allclose(in_filter(mag, colour, (0.1,)), mag + 0.1)
    np.testing.assert_allclose(in_filter(mag, colour, ()), mag)
