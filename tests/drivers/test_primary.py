import numpy as np
import pytest

from drivers.primary import is_in_inner_patch, is_in_inner_tract
from sky_patches import patch_area


def test_inner_boxes_tile_what_they_share():
    left = patch_area((100, 100), margin=20)
    x = np.linspace(0, 99, 397)
    y = np.full(len(x), 50.0)
    inside = is_in_inner_patch(left, x, y)
    assert (inside == ((x >= 19.5) & (x < 79.5))).all()


def test_without_a_region_the_tract_has_all():
    assert is_in_inner_tract(patch_area(), np.array([1.0, 200]), np.array([-89.0, 89])).all()


@pytest.mark.parametrize(
    ("region", "inside", "outside"),
    [
        ((10, 20, 0, 5), [(10, 0), (19.9, 4.9)], [(20, 2), (9.9, 2), (15, 5), (15, -0.1)]),
        ((350, 10, 0, 5), [(350, 1), (0, 1), (9.9, 1)], [(10, 1), (349.9, 1), (180, 1)]),
        ((-10, 10, 0, 5), [(350, 1), (0, 1), (9.9, 1)], [(10, 1), (349.9, 1), (180, 1)]),
        ((0, 360, 88, 90), [(0, 88), (359.9, 89), (120, 90)], [(0, 87.9)]),
    ],
)
def test_a_region_may_lie_across_ra_zero_or_hold_the_pole(region, inside, outside):
    area = patch_area(inner_sky=region)
    assert is_in_inner_tract(area, *np.array(inside, float).T).all()
    assert not is_in_inner_tract(area, *np.array(outside, float).T).any()
