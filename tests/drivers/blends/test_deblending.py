import numpy as np
import pytest

from drivers.blends.deblending import divide
from drivers.blends.psf_fit import draw
from sky_patches import add_star, moffat

SHAPE = (121, 131)
STAMP = moffat(4.0, 25)


def galaxy(x, y, flux, size, *, axis_ratio=0.6):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(columns - x, (rows - y) / axis_ratio)
    light = np.exp(-radius / size)
    return flux * light / light.sum()


def star(x, y, flux):
    image = np.zeros(SHAPE)
    add_star(image, x, y, flux, 4.0)
    return image


def whole(share):
    image = np.zeros(SHAPE)
    image[share.place] = share.image
    return image


def divided(sources, fluxes, places):
    image = np.sum(sources, axis=0).astype(np.float32)
    inside = image > 1
    points = [draw(STAMP, np.array(place), SHAPE) for place in places]
    return image, divide(image, inside, points, np.array(fluxes), np.array(places, float))


def test_no_light_counts_twice_and_hardly_any_is_lost():
    sources = [galaxy(50, 60, 1e5, 5), star(66, 64, 2e4), star(75, 50, 1e4)]
    image, shares = divided(sources, [3e4, 2e4, 1e4], [(50, 60), (66, 64), (75, 50)])
    total = np.sum([whole(one) for one in shares], axis=0)
    near = image > 1
    assert (total <= image + 0.01).all()
    assert total[near].sum() == pytest.approx(image[near].sum(), rel=2e-3)


def test_a_star_beside_a_galaxy_and_the_galaxy_get_their_own():
    sources = [galaxy(50, 60, 1e5, 5), star(66, 64, 2e4)]
    _, shares = divided(sources, [3e4, 2e4], [(50, 60), (66, 64)])
    for share, source in zip(shares, sources, strict=True):
        assert whole(share).sum() == pytest.approx(source.sum(), rel=0.05)
        near = source > 0.1 * source.max()
        assert whole(share)[near].sum() == pytest.approx(source[near].sum(), rel=0.05)


def test_two_stars_are_divided_as_they_are():
    sources = [star(50.3, 60.4, 2e4), star(56.1, 62.0, 5e3)]
    _, shares = divided(sources, [2e4, 5e3], [(50.3, 60.4), (56.1, 62.0)])
    for share, source in zip(shares, sources, strict=True):
        assert np.abs(whole(share) - source).max() < 0.02 * source.max()


def test_a_crowd_does_not_get_the_light_of_others_far_away():
    rng = np.random.default_rng(1)
    places = [(x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)) for x in range(20, 120, 12)
              for y in range(20, 110, 12)]  # fmt: skip
    fluxes = rng.uniform(2e3, 2e4, len(places))
    sources = [star(*place, flux) for place, flux in zip(places, fluxes, strict=True)]
    _, shares = divided(sources, fluxes, places)
    sums = np.array([whole(one).sum() for one in shares])
    assert np.abs(sums / fluxes - 1).max() < 0.2


def test_one_source_has_all():
    image, shares = divided([galaxy(50, 60, 1e5, 5)], [3e4], [(50, 60)])
    assert (whole(shares[0]) == image).all()


def test_sources_of_which_nothing_is_known_do_no_harm():
    sources = [star(50, 60, 2e4), star(60, 60, 1e4)]
    _, shares = divided(sources, [np.nan, -5.0], [(50, 60), (60, 60)])
    assert all(np.isfinite(whole(one)).all() for one in shares)
    assert whole(shares[0]).sum() == pytest.approx(2e4, rel=0.1)
