"""Fluxes and positions of stars are unbiased, also of those which overlap."""

import numpy as np
import pytest

from drawn_stars import Drawing
from drivers.measurement.psf_flux import Pixels, fit_fluxes
from drivers.psf_fitting import fit_psf
from drivers.wings import Wings

SHAPE = (512, 512)


def pixels_of(drawing):
    image, variance = drawing.observed()
    sky = np.float32(drawing.sky)
    return Pixels(image - sky, variance, np.ones(drawing.shape, dtype=bool))


@pytest.fixture(scope="module")
def psf():
    drawing = Drawing(shape=SHAPE, fwhm=3.5, seed=9)
    y, x = np.mgrid[32:512:64, 32:512:64]
    drawing.x, drawing.y = x.ravel() + 0.3, y.ravel() - 0.2
    drawing.flux = np.full(64, 3e5)
    return fit_psf(pixels_of(drawing).around(drawing.x, drawing.y), Wings(3.5), SHAPE, 2).psf


def measure(psf, drawing, error=0.1):
    random = np.random.default_rng(1)
    shift = random.normal(0, error, (2, len(drawing.x)))
    movable = np.ones(len(drawing.x), dtype=bool)
    start = drawing.x + shift[0], drawing.y + shift[1]
    return fit_fluxes(pixels_of(drawing), psf, *start, movable)


def test_stars_are_measured_without_bias_and_with_their_errors(psf):
    drawing = Drawing(shape=SHAPE, fwhm=3.5, seed=2).scatter(150, faint=5e3, margin=15)
    found = measure(psf, drawing)
    ratio = found.flux / drawing.flux
    bright = drawing.flux > 3e4
    assert np.median(ratio[bright]) == pytest.approx(1, abs=0.005)
    pulls = (found.flux - drawing.flux) / found.flux_err
    assert 0.7 < 1.48 * np.median(np.abs(pulls)) < 1.5
    for measured, true in ((found.x, drawing.x), (found.y, drawing.y)):
        pulls = (measured - true) / found.position_err
        assert 0.7 < 1.48 * np.median(np.abs(pulls)) < 1.5
        assert abs(np.median((measured - true)[bright])) < 0.01


@pytest.mark.parametrize("apart", [3.0, 5.0, 9.0])
def test_two_stars_that_overlap_share_their_light(psf, apart):
    drawing = Drawing(shape=SHAPE, fwhm=3.5, seed=4)
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[40:480:60, 40:480:60])
    drawing.x, drawing.y = np.append(x, x + apart), np.append(y, y)
    drawing.flux = np.append(np.full(64, 1e5), np.full(64, 2e4))
    found = measure(psf, drawing, error=0.05)
    assert np.mean(found.flux[:64]) == pytest.approx(1e5, rel=0.01)
    assert np.mean(found.flux[64:]) == pytest.approx(2e4, rel=0.015)
    alone = fit_fluxes(pixels_of(drawing), psf, x + apart, y, np.zeros(64, dtype=bool))
    if apart < 6:
        assert np.mean(alone.flux) > 2.2e4, "without its neighbour it takes the neighbour's light"
        assert (found.flux_err[64:] > alone.flux_err).all()


def test_what_lies_under_bad_pixels_is_not_used(psf):
    drawing = Drawing(shape=SHAPE, fwhm=3.5, seed=5).scatter(60, faint=3e4, margin=15)
    pixels = pixels_of(drawing)
    for x, y in zip(drawing.x, drawing.y, strict=True):
        pixels.usable[round(y), round(x)] = False
        pixels.image[round(y), round(x)] = 1e7
    found = fit_fluxes(pixels, psf, drawing.x, drawing.y, np.ones(60, dtype=bool))
    assert np.median(found.flux / drawing.flux) == pytest.approx(1, abs=0.01)


def test_a_star_without_usable_pixels_has_no_flux_and_disturbs_nobody(psf):
    drawing = Drawing(shape=SHAPE, fwhm=3.5, seed=6).scatter(20, faint=3e4, margin=30)
    pixels = pixels_of(drawing)
    pixels.usable[: SHAPE[0] // 2] = False
    pixels.image[: SHAPE[0] // 2] = np.nan
    image = np.nan_to_num(pixels.image)
    pixels = Pixels(image, pixels.variance, pixels.usable)
    found = fit_fluxes(pixels, psf, drawing.x, drawing.y, np.ones(20, dtype=bool))
    hidden, clear = drawing.y < 240, drawing.y > 275
    assert np.isnan(found.flux[hidden]).all()
    assert np.median(found.flux[clear] / drawing.flux[clear]) == pytest.approx(1, abs=0.01)


def test_no_sources_are_no_trouble(psf):
    found = fit_fluxes(
        pixels_of(Drawing(shape=SHAPE)), psf, np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool)
    )
    assert found.flux.shape == (0,)
