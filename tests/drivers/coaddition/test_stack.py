import numpy as np
import pytest

from drivers.coaddition.rejection import Threshold
from drivers.coaddition.stack import StackInput, stack_warps
from drivers.exposure import bit
from drivers.results import Warp
from sky_patches import add_star

SHAPE = (120, 130)
THRESHOLD = Threshold(5.0, 0.3)
NOISE = 5.0


def exposure(seed, *, fwhm=4.0, stars=(), level=0.0, noise=NOISE, part=(0, 0, *SHAPE)):
    """A warp, which a test may spoil, and what it counts."""
    rng = np.random.default_rng(seed)
    x0, y0, *shape = part
    image = np.full(shape, float(level))
    for x, y, flux in stars:
        add_star(image, x, y, flux, fwhm)
    variance = noise**2 + np.maximum(image, 0)
    image += rng.normal(size=shape) * np.sqrt(variance)
    warp = Warp(
        image.astype(np.float32), variance.astype(np.float32), np.zeros(shape, np.int32), x0, y0, ()
    )
    return StackInput(warp, 1 / noise**2, 0.55 * fwhm)


def clipped(stacked):
    return (stacked.mask & bit("CLIPPED")) != 0


def test_the_mean_is_weighted_and_its_variance_is_that_of_the_mean():
    inputs = [exposure(1, level=100, noise=3), exposure(2, level=100, noise=6)]
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    weights = np.array([1 / 9, 1 / 36])
    wanted = sum(w * one.warp.image for w, one in zip(weights, inputs, strict=True)) / weights.sum()
    assert np.abs(stacked.image - wanted).max() < 1e-3
    assert stacked.variance.mean() == pytest.approx((wanted - 100).var(), rel=0.05)
    assert (stacked.count == 2).all()
    assert stacked.weight[5, 5] == pytest.approx(weights.sum())


@pytest.mark.parametrize(
    "seeing",
    [(2.5, 5.0, 7.0), (3.0, 6.0), (2.5, 2.6, 6.0), (4.0, 4.5, 5.0, 5.5), (3.5, 4.5, 5.5, 4, 6)],
)
def test_the_cores_of_stars_stay_whatever_the_seeing(seeing):
    stars = [(40.3, 50.2, 2e6), (90.7, 80.1, 2e4), (30.1, 95.6, 3e5), (95.2, 25.0, 5e3)]
    inputs = [exposure(n, fwhm=fwhm, stars=stars) for n, fwhm in enumerate(seeing)]
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for x, y, _ in stars:
        assert not clipped(stacked)[np.hypot(columns - x, rows - y) < 20].any()


def test_what_is_left_of_a_saturated_star_stays_too():
    inputs = [exposure(n, fwhm=fwhm, stars=[(60.3, 62.1, 3e6)]) for n, fwhm in enumerate((3, 4, 6))]
    for one in inputs:
        over = one.warp.image > 4e4
        assert over.any()
        one.warp.image[over], one.warp.mask[over] = 4e4, bit("SAT")
    assert not clipped(stack_warps(inputs, SHAPE, THRESHOLD)).any()


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_satellite_an_asteroid_and_a_cosmic_ray_are_removed(count):
    stars = [(30.0, 30.0, 1e5)]
    inputs = [exposure(n, fwhm=4 + 0.3 * n, stars=stars) for n in range(count)]
    clean = stack_warps(inputs, SHAPE, THRESHOLD)
    trail = np.zeros(SHAPE)
    for step in range(500):
        x, y = 10 + 0.22 * step, 110 - 0.1 * step
        trail[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 200
    add_star(trail, 100.0, 30.0, 8000.0, 4.0)
    trail[60, 20:24] += 3000
    inputs[0].warp.image[:] += trail
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    assert clipped(stacked)[trail > 100].all()
    assert np.abs(stacked.image - clean.image)[~clipped(stacked)].max() < 8 * NOISE / count
    left = (stacked.image - clean.image)[trail > 100]
    assert abs(left.mean()) < 0.6 * NOISE
    star = np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - 30)) < 8
    assert not clipped(stacked)[star].any()


def test_noise_alone_is_hardly_ever_rejected():
    inputs = [exposure(n, fwhm=fwhm) for n, fwhm in enumerate((3, 4, 5, 6))]
    assert clipped(stack_warps(inputs, SHAPE, THRESHOLD)).mean() < 1e-3


def test_a_dark_flaw_is_removed_from_three():
    inputs = [exposure(n, level=50) for n in range(3)]
    inputs[1].warp.image[40:44, 50:54] = -500
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    assert clipped(stacked)[40:44, 50:54].all()
    assert stacked.image[40:44, 50:54].mean() == pytest.approx(50, abs=5)


def test_one_warp_is_taken_as_it_is():
    one = exposure(1, stars=[(60, 60, 1e5)])
    one.warp.image[20, 20] += 5000
    stacked = stack_warps([one], SHAPE, THRESHOLD)
    assert np.allclose(stacked.image, one.warp.image, atol=1e-2)
    assert not clipped(stacked).any()


def test_without_warps_there_is_no_data():
    stacked = stack_warps([], SHAPE, THRESHOLD)
    assert (stacked.mask == bit("NO_DATA")).all()
    for plane in (stacked.image, stacked.variance, stacked.weight, stacked.count):
        assert not plane.any()


def test_masked_pixels_count_only_where_there_are_no_others():
    inputs = [exposure(n, level=50) for n in range(3)]
    inputs[0].warp.image[10, 10], inputs[0].warp.mask[10, 10] = 9e4, bit("CR")
    for one in inputs:
        one.warp.image[20, 20], one.warp.mask[20, 20] = 9e4, bit("SAT")
        one.warp.mask[30, 30] = bit("NO_DATA")
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    assert stacked.count[10, 10] == 2
    assert stacked.mask[10, 10] == 0
    assert stacked.image[10, 10] == pytest.approx(50, abs=20)
    assert stacked.image[20, 20] == pytest.approx(9e4)
    assert stacked.mask[20, 20] == bit("SAT")
    assert stacked.mask[30, 30] == bit("NO_DATA")


def test_a_star_saturated_in_one_of_many_is_not_saturated():
    inputs = [exposure(n) for n in range(8)]
    inputs[0].warp.mask[50, 50] = bit("SAT")
    for one in inputs[:3]:
        one.warp.mask[60, 60] = bit("SAT")
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    assert stacked.mask[50, 50] == 0
    assert stacked.mask[60, 60] == bit("SAT")


def test_parts_of_a_patch_are_put_where_they_belong():
    inputs = [exposure(1, level=10, part=(30, 40, 50, 60)), exposure(2, level=10)]
    stacked = stack_warps(inputs, SHAPE, THRESHOLD)
    assert (stacked.count[40:90, 30:90] == 2).all()
    assert (stacked.count[:40] == 1).all()
    assert stacked.image[40:90, 30:90].mean() == pytest.approx(10, abs=0.5)


def test_rows_at_a_time_give_what_all_at_once_give(monkeypatch):
    stars = [(40.3, 50.2, 2e5), (90.7, 80.1, 2e4)]
    inputs = [exposure(n, fwhm=3 + n, stars=stars) for n in range(3)]
    inputs[1].warp.image[30:100, 60:63] += 300
    whole = stack_warps(inputs, SHAPE, THRESHOLD)
    monkeypatch.setattr("drivers.coaddition.stack._ROWS", 17)
    parts = stack_warps(inputs, SHAPE, THRESHOLD)
    assert np.array_equal(whole.mask, parts.mask)
    assert np.array_equal(whole.image, parts.image)
