import numpy as np
import pytest

from drivers.warping.lanczos import ORDER, lanczos, reachable, resample, shift_weights
from sky_patches import moffat


def test_a_flat_image_stays_flat():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(3, 60, (2, 1000))
    assert np.abs(resample(np.full((70, 70), 5, np.float32), x, y) - 5).max() < 1e-5


def test_whole_pixels_are_left_as_they_are():
    image = np.random.default_rng(1).normal(size=(40, 50)).astype(np.float32)
    y, x = np.mgrid[5:30, 5:40].astype(float)
    assert np.abs(resample(image, x, y) - image[5:30, 5:40]).max() < 1e-6


@pytest.mark.parametrize("fwhm", [2.5, 3.5, 5.0])
def test_a_shifted_star_is_the_star_at_its_new_place(fwhm):
    star = moffat(fwhm).astype(np.float32)
    y, x = np.mgrid[10:51, 10:51].astype(float)
    moved = resample(star, x + 0.37, y - 0.21)
    wanted = moffat(fwhm, dx=-0.37, dy=0.21)[10:51, 10:51]
    assert np.abs(moved - wanted).max() < {2.5: 0.02, 3.5: 0.006, 5.0: 0.004}[fwhm] * star.max()
    assert moved.sum() == pytest.approx(wanted.sum(), rel=3e-4)


def test_positions_are_met_to_a_thousandth_of_a_pixel():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(20, 20)).astype(np.float32)
    for x, y in rng.uniform(5, 14, (200, 2)):
        pixels = np.arange(20.0)
        across, down = lanczos(pixels - x, ORDER), lanczos(pixels - y, ORDER)
        exact = down @ image @ across / (down.sum() * across.sum())
        assert resample(image, np.array([x]), np.array([y]))[0] == pytest.approx(exact, abs=2e-3)


def test_only_where_the_whole_kernel_is_on_the_image_there_is_a_value():
    x = np.array([ORDER - 1, ORDER - 1.01, 19 - ORDER + 0.99, 20 - ORDER, 10, 10], float)
    y = np.array([10, 10, 10, 10, ORDER - 1.01, ORDER - 1], float)
    assert reachable((20, 20), x, y).tolist() == [True, False, True, False, False, True]


def test_shifting_by_a_matrix_moves_a_star():
    star = moffat(4.0, 31)
    moved = shift_weights(0.3, 31) @ star @ shift_weights(-0.4, 31).T
    assert np.abs(moved - moffat(4.0, 31, dx=-0.4, dy=0.3)).max() < 3e-3 * star.max()
