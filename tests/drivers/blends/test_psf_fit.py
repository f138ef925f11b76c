import numpy as np
import pytest

from drivers.blends.psf_fit import Field, draw, fit_fluxes
from drivers.blends.psf_positions import fit_positions
from sky_patches import add_star, moffat

STAMP = moffat(4.0, 25)
SHAPE = (150, 160)


def field(stars, *, noise=0.0, seed=1, usable=None):
    image = np.random.default_rng(seed).normal(0, noise, SHAPE) if noise else np.zeros(SHAPE)
    for x, y, flux in stars:
        add_star(image, x, y, flux, 4.0)
    usable = np.ones(SHAPE, bool) if usable is None else usable
    return Field(image.astype(np.float32), np.full(SHAPE, noise**2, np.float32), usable)


def points(stars):
    return [draw(STAMP, np.array([x, y]), SHAPE) for x, y, _ in stars]


def crowd(count, seed, spacing):
    rng = np.random.default_rng(seed)
    places = []
    while len(places) < count:
        place = rng.uniform(10, 140, 2)
        if all(np.hypot(*(place - other)) > spacing for other in places):
            places.append(place)
    return [
        (*place, flux) for place, flux in zip(places, rng.uniform(100, 1e4, count), strict=True)
    ]


def test_a_star_by_itself_has_its_flux():
    stars = [(50.3, 60.8, 1000.0)]
    flux, _ = fit_fluxes(field(stars), points(stars))
    assert flux[0] == pytest.approx(1000, rel=1e-3)


@pytest.mark.parametrize("dense", [200, 0])
def test_stars_which_overlap_have_their_fluxes(monkeypatch, dense):
    monkeypatch.setattr("drivers.blends.psf_fit._DENSE", dense)
    stars = crowd(60, 1, 5)
    flux, _ = fit_fluxes(field(stars), points(stars))
    wanted = np.array([one[2] for one in stars])
    # What a stamp does not hold of its star lies under the others.
    assert np.abs(flux / wanted - 1)[wanted > 1000].max() < 0.03
    assert np.median(flux / wanted) == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("dense", [200, 0])
def test_errors_are_what_the_noise_does(monkeypatch, dense):
    monkeypatch.setattr("drivers.blends.psf_fit._DENSE", dense)
    stars = [(50, 60, 1000), (54, 61, 500), (58, 66, 800), (120, 100, 300)]
    fits = [fit_fluxes(field(stars, noise=5, seed=seed), points(stars)) for seed in range(200)]
    fluxes, errors = np.array([one[0] for one in fits]), fits[0][1]
    assert fluxes.std(axis=0) / errors == pytest.approx(np.ones(4), abs=0.15)
    assert errors[1] > 1.05 * errors[3]
    mean = fluxes.mean(axis=0) - [one[2] for one in stars]
    assert np.abs(mean / errors).max() < 4 / np.sqrt(200) + 0.1


def test_pixels_which_are_not_usable_do_not_count():
    stars = [(50.3, 60.8, 1000.0)]
    usable = np.ones(SHAPE, bool)
    usable[58:63, 52:] = False
    spoilt = field(stars, usable=usable)
    spoilt.image[~usable] = 1e6
    flux, _ = fit_fluxes(spoilt, points(stars))
    assert flux[0] == pytest.approx(1000, rel=2e-3)


def test_what_is_not_seen_has_no_flux():
    stars = [(50, 60, 1000), (100, 60, 1000), (-40, 60, 100), (400, 400, 100)]
    usable = np.ones(SHAPE, bool)
    usable[40:80, 30:70] = False
    flux, error = fit_fluxes(field(stars, noise=1, usable=usable), points(stars))
    assert np.isnan(flux).tolist() == [True, False, True, True]
    assert np.isnan(error).tolist() == [True, False, True, True]
    assert len(fit_fluxes(field([]), [])[0]) == 0


def test_two_at_the_same_place_share_their_light():
    stars = [(50, 60, 1000), (50, 60, 0)]
    flux, _ = fit_fluxes(field(stars), points(stars))
    assert flux == pytest.approx([500, 500], rel=2e-3)


def test_positions_are_found_together():
    stars = [(50.4, 60.3, 3000), (55.1, 62.2, 1500), (110.8, 90.1, 1000)]
    found = np.array([[50.0, 60.0], [55.6, 62.5], [111.2, 89.8]])
    places, _ = fit_positions(field(stars), [STAMP] * 3, found)
    assert places == pytest.approx(np.array([one[:2] for one in stars]), abs=0.01)


def test_errors_of_positions_are_what_the_noise_does():
    stars = [(50.4, 60.3, 2000)]
    found = np.array([[50.0, 60.0]])
    fits = [fit_positions(field(stars, noise=5, seed=s), [STAMP], found) for s in range(200)]
    places, errors = np.array([one[0][0] for one in fits]), fits[0][1][0]
    assert places.std(axis=0) / errors == pytest.approx(np.ones(2), abs=0.15)


def test_a_source_that_is_not_there_stays_where_it_was():
    found = np.array([[50.2, 60.1]])
    empty = field([])
    empty.image[:] = -1
    places, errors = fit_positions(empty, [STAMP], found)
    assert places == pytest.approx(found)
    assert np.isnan(errors).all()
