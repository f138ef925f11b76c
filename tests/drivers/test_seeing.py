"""The seeing, where stars are few, many, or absent."""

import numpy as np
import pytest

from drivers.configuration import SingleFrameConfig
from drivers.exposure import Exposure, bit
from drivers.measurement.measuring import look
from drivers.seeing import most_crowded

NOISE = 10.0


def exposure_with(profiles, shape=(300, 300), seed=0):
    """Return an exposure without sky; a profile is (x, y, peak, function of x and y)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    image = np.random.default_rng(seed).normal(0, NOISE, shape)
    for x0, y0, peak, profile in profiles:
        image += peak * profile(x - x0, y - y0)
    return Exposure(
        image=image.astype(np.float32),
        mask=np.zeros(shape, np.int32),
        variance=np.full(shape, NOISE**2, np.float32),
        header={},
        wcs={},
        unit="adu",
        gain=1.0,
    )


def gaussian(fwhm):
    sigma = fwhm / 2.3548
    return lambda x, y: np.exp(-(x**2 + y**2) / (2 * sigma**2))


def moffat(fwhm, beta):
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return lambda x, y: (1 + (x**2 + y**2) / alpha**2) ** -beta


def galaxy(x, y):
    return np.exp(-np.hypot(x, y * 1.3) / 4.0)


def scattered(profile, count, seed, peaks=(400, 9000)):
    random = np.random.default_rng(seed)
    places = [(20 + 45 * (n % 6), 20 + 45 * (n // 6)) for n in range(36)]
    chosen = random.permutation(36)[:count]
    return [
        (
            places[n][0] + random.uniform(-6, 6),
            places[n][1] + random.uniform(-6, 6),
            random.uniform(*peaks),
            profile,
        )
        for n in chosen
    ]


def seeing_of(exposure):
    first = look(exposure, NOISE, SingleFrameConfig())
    return first.seeing, first.sources


@pytest.mark.parametrize("fwhm", [2.5, 4.0, 7.0])
@pytest.mark.parametrize("beta", [None, 4.5, 2.8])
def test_the_width_is_right_whatever_the_wings(fwhm, beta):
    profile = gaussian(fwhm) if beta is None else moffat(fwhm, beta)
    seeing, _ = seeing_of(exposure_with(scattered(profile, 25, seed=1)))
    # A profile of 2.5 pixels is hardly sampled.
    assert seeing.fwhm == pytest.approx(fwhm, rel=0.07 if fwhm < 3 else 0.05)


def test_galaxies_and_cosmic_rays_do_not_move_it():
    stars = scattered(gaussian(4.0), 12, seed=2)
    rays = [(45 * n + 40.0, 45 * n + 38.0, 9000, gaussian(1.3)) for n in range(6)]
    galaxies = scattered(galaxy, 8, seed=3)
    far = [
        one for one in galaxies if all(np.hypot(one[0] - s[0], one[1] - s[1]) > 25 for s in stars)
    ]
    assert len(far) >= 3
    seeing, sources = seeing_of(exposure_with(stars + far + rays))
    assert seeing.fwhm == pytest.approx(4.0, rel=0.05)
    places = np.array([star[:2] for star in stars])
    for source in sources[sources["star"]]:
        assert np.hypot(*(places - [source["x"], source["y"]]).T).min() < 2


def test_saturated_stars_are_no_stars_of_the_measurement():
    exposure = exposure_with(scattered(gaussian(4.0), 6, seed=4))
    exposure.mark(exposure.image > 500, "SAT")
    seeing, sources = seeing_of(exposure)
    assert (sources["mask"][sources["star"]] & bit("SAT") == 0).all()
    assert seeing.n_stars < 6


@pytest.mark.parametrize(
    ("profiles", "says"),
    [
        ([], "no source is bright"),
        ([(150, 150, 60, gaussian(4.0))], "no source is bright"),
        ([(150, 150, 5000, gaussian(4.0))], "no 2 sources agree"),
        ([(150, 150, 5000, gaussian(4.0)), (80, 80, 5000, gaussian(9.0))], "no 2 sources agree"),
    ],
)
def test_there_is_no_seeing_without_two_stars_that_agree(profiles, says):
    seeing, sources = seeing_of(exposure_with(profiles))
    assert seeing.fwhm is None
    assert says in seeing.reason
    assert not sources["star"].any()


def test_the_crowd_is_the_fullest_window_and_the_lower_of_equals():
    assert most_crowded(np.array([5.0, 1.0, 1.1, 9.0, 1.05]), 0.2).tolist() == [1, 2, 4]
    assert most_crowded(np.array([5.0, 5.05, 1.0, 1.1]), 0.2).tolist() == [2, 3]
