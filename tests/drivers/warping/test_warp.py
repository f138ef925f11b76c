import numpy as np
import pytest

from drivers.exposure import bit
from drivers.sky_position import make_wcs
from drivers.warping.pixel_map import Box, map_pixels, sky_to_pixels
from drivers.warping.warp import Canvas, Pixels, put
from sky_patches import CENTRE, add_star, tan_cards

SHAPE = (300, 320)
BOX = Box(0, 0, 260, 260)


def warped(image, mask=None, variance=None, *, scale=1.0, pixels=0.2, angle=15.0):
    source = make_wcs(tan_cards(*CENTRE, SHAPE, angle=angle))
    target = make_wcs(tan_cards(*CENTRE, (260, 260), scale=pixels))
    canvas = Canvas.empty(BOX)
    planes = Pixels(
        image.astype(np.float32),
        np.zeros(SHAPE, np.int32) if mask is None else mask,
        np.full(SHAPE, 4, np.float32) if variance is None else variance,
    )
    put(canvas, planes, map_pixels(source, target, BOX), scale)
    return canvas


def place_of(x, y, *, angle=15.0, pixels=0.2):
    source = make_wcs(tan_cards(*CENTRE, SHAPE, angle=angle))
    target = make_wcs(tan_cards(*CENTRE, (260, 260), scale=pixels))
    there = sky_to_pixels(target, *source.all_pix2world([x], [y], 0))
    return float(there[0][0]), float(there[1][0])


@pytest.mark.parametrize("pixels", [0.15, 0.2, 0.25])
def test_a_star_keeps_its_flux_and_its_place(pixels):
    image = np.zeros(SHAPE)
    add_star(image, 160.3, 145.8, 1000.0, 4.0)
    canvas = warped(image, scale=2.0, pixels=pixels)
    x, y = place_of(160.3, 145.8, pixels=pixels)
    rows, columns = np.mgrid[:260, :260]
    near = np.hypot(columns - x, rows - y) < 22 * 0.2 / pixels
    wanted = np.zeros((260, 260))
    add_star(wanted, x, y, 2000.0, 4.0 * 0.2 / pixels)
    assert canvas.image[near].sum() == pytest.approx(wanted[near].sum(), rel=2e-3)
    weight = np.where(near, canvas.image, 0)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=0.01)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=0.01)


def test_the_variance_is_right_for_sums_over_many_pixels():
    rng = np.random.default_rng(5)
    sums = []
    for _ in range(60):
        canvas = warped(rng.normal(0, 2, SHAPE), pixels=0.25)
        sums.append(canvas.image[30:230, 30:230].reshape(10, 20, 10, 20).sum(axis=(1, 3)))
    wanted = warped(np.zeros(SHAPE), pixels=0.25).variance[30:230, 30:230].mean() * 400
    assert np.var(sums) == pytest.approx(wanted, rel=0.1)


def test_a_bad_pixel_spreads_over_the_core_of_the_kernel_and_no_further():
    image, mask = np.full(SHAPE, 100.0), np.zeros(SHAPE, np.int32)
    image[150, 160], mask[150, 160] = 1e5, bit("CR")
    canvas = warped(image, mask)
    marked = (canvas.mask & bit("CR")) != 0
    assert 1 <= marked.sum() <= 9
    assert np.abs(canvas.image[~marked & (canvas.mask == 0)] - 100).max() < 0.1


def test_holes_are_no_data_and_do_not_ring_into_their_neighbours():
    image, mask = np.full(SHAPE, 100.0), np.zeros(SHAPE, np.int32)
    image[140:150, 100:220], mask[140:150, 100:220] = 0, bit("NO_DATA")
    canvas = warped(image, mask)
    missing = (canvas.mask & bit("NO_DATA")) != 0
    assert 1200 <= missing[60:200, 60:200].sum() <= 1.3 * 1200
    assert (canvas.image[missing] == 0).all()
    assert np.abs(canvas.image[~missing] - 100).max() < 3


def test_interpolated_pixels_are_used_and_stay_marked():
    image, mask = np.full(SHAPE, 100.0), np.zeros(SHAPE, np.int32)
    image[150, 160], mask[150, 160] = 130.0, bit("CR", "INTRP")
    canvas = warped(image, mask)
    assert (canvas.image > 110).any()
    assert ((canvas.mask & bit("INTRP")) != 0).sum() <= 9


def test_nothing_is_made_up_beyond_the_edge():
    canvas = warped(np.full(SHAPE, 100.0), angle=45.0)
    missing = (canvas.mask & bit("NO_DATA")) != 0
    assert missing[0, 0]
    assert not missing[130, 130]
    assert np.abs(canvas.image[~missing] - 100).max() < 1e-3


def test_the_first_ccd_to_cover_a_pixel_keeps_it():
    source = make_wcs(tan_cards(*CENTRE, SHAPE))
    target = make_wcs(tan_cards(*CENTRE, (260, 260)))
    canvas = Canvas.empty(BOX)
    for value in (1.0, 2.0):
        planes = Pixels(
            np.full(SHAPE, value, np.float32), np.zeros(SHAPE, np.int32), np.ones(SHAPE, np.float32)
        )
        put(canvas, planes, map_pixels(source, target, BOX), 1.0)
    assert np.abs(canvas.image[50:200, 50:200] - 1).max() < 1e-5


def test_trimming_leaves_what_has_data():
    canvas = Canvas.empty(Box(10, 20, 110, 220))
    canvas.mask[30:40, 50:70] = 0
    assert canvas.trimmed().box == Box(60, 50, 80, 60)
    assert not Canvas.empty(Box(10, 20, 110, 220)).trimmed().box
