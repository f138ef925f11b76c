"""The point spread function is that of the stars, whatever their form, and keeps their flux."""

import numpy as np
import pytest

from drawn_stars import Drawing
from drivers.psf_fitting import fit_psf
from drivers.psf_model import SIZE, ellipticity, evaluate
from drivers.stamps import cut_stamps
from drivers.wings import Wings

SHAPE = (1024, 512)


def on_a_grid(count, **form):
    """Return a CCD of stars which stand alone."""
    random = np.random.default_rng(3)
    drawing = Drawing(shape=SHAPE, seed=count, **form)
    cells = random.permutation(128)[:count]
    drawing.x = cells % 8 * 64 + 32 + random.uniform(-8, 8, count)
    drawing.y = cells // 8 * 64 + 32 + random.uniform(-8, 8, count)
    drawing.flux = 10 ** random.uniform(4.3, 5.5, count)
    return drawing


def stamps_of(drawing, image, variance):
    usable = np.ones(SHAPE, dtype=bool)
    return cut_stamps(image, variance, usable, drawing.x, drawing.y, size=SIZE)


def fitted(drawing, order=2):
    image, variance = drawing.observed()
    stamps = stamps_of(drawing, image - np.float32(drawing.sky), variance)
    return fit_psf(stamps, Wings(drawing.fwhm * 1.05), SHAPE, order)


def fluxes_everywhere(psf, drawing):
    """Return fluxes by the function of noiseless stars of flux 1 all over the CCD."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(40, 470, 5), np.linspace(40, 980, 5)))
    drawing.x, drawing.y, drawing.flux = x + 0.37, y - 0.39, np.full(25, 1e5)
    clean = drawing.clean().astype(np.float32)
    stamps, images = stamps_of(drawing, clean, clean), evaluate(psf, drawing.x, drawing.y)
    return (images * stamps.values).sum(axis=(1, 2)) / (images**2).sum(axis=(1, 2)) / 1e5


@pytest.mark.parametrize(
    "form",
    [
        {"fwhm": 2.2},
        {"fwhm": 3.5, "ellipticity": 0.1},
        {"fwhm": 3.5, "ellipticity": 0.1, "variation": 0.1},
        {"fwhm": 5.0, "beta": 2.5, "variation": 0.05},
        {"fwhm": 3.5, "beta": 4.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [8, 60])
def test_fluxes_are_whole_wherever_the_star_is(form, count):
    drawing = on_a_grid(count, **form)
    fluxes = fluxes_everywhere(fitted(drawing).psf, drawing)
    assert np.mean(fluxes) == pytest.approx(1, abs=0.005)
    assert np.std(fluxes) < (0.015 if count < 20 and form.get("variation") else 0.01)


def test_a_function_that_does_not_vary_gets_the_fluxes_of_varying_stars_wrong():
    drawing = on_a_grid(60, fwhm=3.5, variation=0.1)
    psf = fitted(drawing, order=0).psf
    assert np.std(fluxes_everywhere(psf, drawing)) > 0.02


def test_its_sum_is_the_part_of_the_flux_that_it_holds():
    drawing = on_a_grid(40, fwhm=5.0, beta=2.5)
    psf = fitted(drawing).psf
    drawing.x, drawing.y, drawing.flux = np.array([256.0]), np.array([512.0]), np.array([1.0])
    held = stamps_of(drawing, drawing.clean().astype(np.float32), np.ones(SHAPE)).values.sum()
    for x, y in [(0, 0), (511, 0), (256, 512), (100, 1023)]:
        total = evaluate(psf, np.array([float(x)]), np.array([float(y)])).sum()
        assert total == pytest.approx(held, abs=0.005)


def test_galaxies_among_the_stars_do_not_count():
    drawing = on_a_grid(60, fwhm=3.5)
    image, variance = drawing.observed()
    wide = Drawing(
        shape=SHAPE, fwhm=8.0, x=drawing.x[:9], y=drawing.y[:9], flux=4 * drawing.flux[:9]
    )
    stamps = stamps_of(drawing, image + wide.clean().astype(np.float32) - 300, variance)
    fit = fit_psf(stamps, Wings(3.6), SHAPE, 2)
    assert not fit.kept[:9].any()
    assert fit.kept[9:].mean() > 0.9
    assert np.mean(fluxes_everywhere(fit.psf, drawing)) == pytest.approx(1, abs=0.01)


def test_one_star_is_enough_for_a_function():
    drawing = on_a_grid(1, fwhm=3.5)
    fit = fitted(drawing)
    assert fit.psf.coefficients.shape == (1, SIZE, SIZE)
    assert np.mean(fluxes_everywhere(fit.psf, drawing)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("form", [0.0, 0.1, 0.2])
def test_the_ellipticity_is_that_of_the_stars(form):
    psf = fitted(on_a_grid(60, fwhm=3.5, ellipticity=form)).psf
    assert ellipticity(psf, 3.5) == pytest.approx(form, abs=0.02)
