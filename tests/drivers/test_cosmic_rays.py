"""Cosmic rays are found, and stars never are, however good the seeing is."""

import numpy as np
import pytest

from drawn_stars import Drawing
from drivers.cosmic_rays import find_cosmic_rays
from drivers.interpolation import fill_gaps


def found_on(image, variance, fwhm):
    none = np.zeros(image.shape, dtype=bool)
    return find_cosmic_rays(image, variance, none, fwhm=fwhm, threshold=6, sharpness=0.6)


@pytest.mark.parametrize("fwhm", [1.8, 2.2, 3.5, 6.0])
@pytest.mark.parametrize("beta", [2.5, 4.5])
def test_no_pixel_of_a_star_is_taken_for_a_ray(fwhm, beta):
    drawing = Drawing(fwhm=fwhm, beta=beta, ellipticity=0.1, seed=5).scatter(200, bright=1e6)
    image, variance = drawing.observed()
    found = found_on(image - np.float32(drawing.sky), variance, fwhm)
    assert found.sum() <= 1


def rays(shape, count, seed=3):
    """Return an image of tracks of charge, a little blurred, and where they are."""
    random = np.random.default_rng(seed)
    image = np.zeros(shape)
    for _ in range(count):
        y, x = random.uniform(12, shape[0] - 12), random.uniform(12, shape[1] - 12)
        angle, length = random.uniform(0, np.pi), random.uniform(0, 10)
        for along in np.arange(0, length + 0.1, 0.5):
            row, column = round(y + along * np.sin(angle)), round(x + along * np.cos(angle))
            image[row, column] += random.uniform(200, 1500)
    blurred = image.copy()
    for axis in (0, 1):
        blurred += 0.05 * (np.roll(image, 1, axis) + np.roll(image, -1, axis))
    return blurred, image > 0


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_tracks_and_points_are_found_in_spite_of_stars(fwhm):
    drawing = Drawing(fwhm=fwhm, seed=6).scatter(80)
    image, variance = drawing.observed()
    added, hit = rays(image.shape, 60)
    image += added.astype(np.float32)
    found = found_on(image - np.float32(drawing.sky), variance, fwhm)
    assert found[hit].mean() > 0.9
    near = np.zeros_like(hit)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near |= np.roll(hit, (dy, dx), (0, 1))
    assert (found & ~near).sum() <= 0.05 * found.sum()


def test_beside_bad_and_saturated_pixels_nothing_stands_out():
    drawing = Drawing(fwhm=3.0, seed=7).scatter(60)
    image, variance = drawing.observed()
    ignored = np.zeros(image.shape, dtype=bool)
    ignored[:, 100] = ignored[200] = True
    image[ignored] = 0
    found = find_cosmic_rays(
        image - np.float32(drawing.sky), variance, ignored, fwhm=3, threshold=6, sharpness=0.6
    )
    assert found.sum() <= 1


def test_as_many_are_found_as_astroscrappy_finds():
    astroscrappy = pytest.importorskip("astroscrappy")
    drawing = Drawing(fwhm=3.5, seed=8).scatter(60)
    image, variance = drawing.observed()
    added, hit = rays(image.shape, 60)
    image += added.astype(np.float32)
    ours = found_on(image - np.float32(drawing.sky), variance, 3.5)
    theirs, _ = astroscrappy.detect_cosmics(
        image, gain=1, readnoise=5, satlevel=1e9, niter=2, sigclip=6, sigfrac=0.3
    )
    assert ours[hit].mean() > theirs[hit].mean() - 0.05


def test_gaps_are_filled_across_their_narrow_side():
    y, x = np.mgrid[0:40, 0:50]
    image = (2.0 * x + 3.0 * y).astype(np.float32)
    truth = image.copy()
    bad = np.zeros(image.shape, dtype=bool)
    bad[:, 20] = bad[5:9, 30:45] = True
    bad[:, 0] = True
    image[bad] = -1e6
    filled = fill_gaps(image, bad, 10)
    assert filled[:, 20].all()
    assert filled[5:9, 30:45].all()
    assert not filled[:, 0].any(), "a gap at the edge has no other side"
    np.testing.assert_allclose(image[filled], truth[filled], atol=1e-3)


def test_wide_gaps_are_left():
    image = np.ones((40, 40), np.float32)
    bad = np.zeros(image.shape, dtype=bool)
    bad[10:30, 10:30] = True
    image[bad] = 7
    assert not fill_gaps(image, bad, 10).any()
    assert (image[bad] == 7).all()
