import numpy as np
import pytest

from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs, sky_positions
from drivers.warping.pixel_map import Box, covered_box, map_pixels, sky_to_pixels
from sky_patches import CENTRE, patch_area, tan_cards

SHAPE = (500, 500)


def whole_map(pixel_map):
    parts = list(pixel_map.parts())
    return [np.concatenate([part[which] for part in parts]) for which in (1, 2, 3)]


@pytest.mark.parametrize("angle", [0.0, 37.0, 190.0])
def test_the_interpolated_map_is_the_exact_one(angle):
    source = make_wcs(tan_cards(*CENTRE, SHAPE, angle=angle, sip=3e-6))
    target = make_wcs(patch_area((400, 400)).patch_wcs)
    box = Box(30, 50, 330, 390)
    x, y, _ = whole_map(map_pixels(source, target, box))
    rows, columns = np.mgrid[50:390, 30:330].astype(float)
    ra, dec = sky_positions(target, columns.ravel(), rows.ravel())
    exact_x, exact_y = sky_to_pixels(source, ra, dec)
    assert np.abs(x.ravel() - exact_x).max() < 1e-4
    assert np.abs(y.ravel() - exact_y).max() < 1e-4


def test_the_area_says_how_many_source_pixels_a_pixel_holds():
    source = make_wcs(tan_cards(*CENTRE, SHAPE, scale=0.1, angle=10))
    target = make_wcs(tan_cards(*CENTRE, SHAPE, scale=0.2))
    _, _, area = whole_map(map_pixels(source, target, Box(100, 100, 400, 400)))
    assert np.abs(area - 4).max() < 1e-4


def test_a_ccd_covers_the_box_of_its_corners_within_the_patch():
    source = make_wcs(tan_cards(*CENTRE, SHAPE, offset=(150, 0)))
    target = make_wcs(patch_area((400, 400)).patch_wcs)
    box = covered_box(source, SHAPE, target, Box(0, 0, 400, 400))
    assert (box.y0, box.x0, box.y1) == (0, 0, 400)
    assert 300 <= box.x1 < 320


@pytest.mark.parametrize("ra", [CENTRE[0] + 1, CENTRE[0] + 180])
def test_a_ccd_elsewhere_covers_nothing(ra):
    source = make_wcs(tan_cards(ra, -CENTRE[1], SHAPE))
    target = make_wcs(patch_area().patch_wcs)
    assert not covered_box(source, SHAPE, target, Box(0, 0, 400, 400))


@pytest.mark.parametrize("dec", [0.0, 89.99])
def test_ra_zero_and_the_pole_are_places_like_others(dec):
    source = make_wcs(tan_cards(0.0, dec, SHAPE, angle=20))
    target = make_wcs(tan_cards(0.002, dec, SHAPE))
    box = covered_box(source, SHAPE, target, Box(0, 0, 500, 500))
    x, y, area = whole_map(map_pixels(source, target, box))
    assert box.shape == (500, 500)
    assert np.abs(area - 1).max() < 1e-4
    middle = sky_to_pixels(source, *sky_positions(target, np.array([249.5]), np.array([249.5])))
    assert np.hypot(x[249:251, 249:251].mean() - middle[0], y[249:251, 249:251].mean() - middle[1])


def test_a_distortion_that_cannot_be_inverted_is_said():
    cards = tan_cards(*CENTRE, SHAPE, sip=1e-6) | {"CRVAL1": CENTRE[0] + 120}
    target = make_wcs(patch_area().patch_wcs)
    with pytest.raises(FrameError, match="can't be inverted"):
        map_pixels(make_wcs(cards), target, Box(0, 0, 400, 400))
