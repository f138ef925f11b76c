import numpy as np
import pytest

from drivers.blends.shapes import Moments, adaptive_moments


def gaussian(x, y, xx, yy, xy, shape=(81, 91)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    determinant = xx * yy - xy**2
    return 1e3 * np.exp(-(yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (2 * determinant))


@pytest.mark.parametrize("moments", [(4, 4, 0), (9, 3, 1), (3, 8, -2), (60, 40, 10)])
def test_a_gaussian_has_its_moments(moments):
    found = adaptive_moments(gaussian(45.3, 40.6, *moments), np.array([45.3, 40.6]), 2.0)
    assert (found.xx, found.yy, found.xy) == pytest.approx(moments, abs=0.02 * moments[0])


def test_the_ellipse_is_that_of_the_moments():
    a, b, theta = Moments(5.0, 5.0, 3.0).ellipse()
    assert (a, b, theta) == pytest.approx((np.sqrt(8), np.sqrt(2), np.pi / 4))


@pytest.mark.parametrize("image", [np.zeros((50, 50)), -gaussian(25, 25, 4, 4, 0, (50, 50))])
def test_what_has_no_shape_has_none(image):
    assert adaptive_moments(image, np.array([25.0, 25.0]), 2.0) is None


def test_a_place_beside_the_image_has_none():
    assert adaptive_moments(np.ones((50, 50)), np.array([300.0, 20.0]), 2.0) is None


def test_a_single_pixel_is_too_small():
    image = np.zeros((50, 50))
    image[25, 25] = 100
    assert adaptive_moments(image, np.array([25.0, 25.0]), 2.0) is None
