"""The sky is measured without the sources, and none of the sources' light is taken for it."""

import numpy as np
import pytest

from drawn_stars import Drawing
from drivers.exposure import Exposure, bit
from drivers.meshes import expand_mesh
from drivers.sky_mesh import subtract_sky


def exposure_of(image, variance=None):
    shape = image.shape
    spread = np.ones(shape, np.float32) if variance is None else variance
    mask = np.zeros(shape, np.int32)
    return Exposure(image.astype(np.float32), mask, spread, {}, {}, "electron", 1.0)


def subtract(exposure, **options):
    return subtract_sky(exposure, **{"cell": 64, "threshold": 3.5, "grow": 6} | options)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sloping_sky_is_found_to_a_hundredth_of_its_noise(seed):
    drawing = Drawing(shape=(512, 512), seed=seed).scatter(150, faint=500)
    image, variance = drawing.observed()
    y, x = np.mgrid[0:512, 0:512]
    slope = 0.05 * x + 0.1 * y
    sky = subtract(exposure_of(image + slope, variance), cell=128)
    model = expand_mesh(sky.mesh.subtracted, 128, (512, 512))
    off = model - slope - drawing.sky
    noise = np.sqrt(drawing.sky + 25)
    assert abs(np.median(off)) < 0.03 * noise
    assert np.std(off) < 0.15 * noise
    assert sky.noise == pytest.approx(noise, rel=0.05)


def test_what_is_subtracted_is_what_the_mesh_says():
    image = 100 + np.random.default_rng(1).normal(0, 5, (200, 150))
    exposure = exposure_of(image)
    sky = subtract(exposure)
    sky = subtract(exposure, before=sky)
    back = exposure.image + expand_mesh(sky.mesh.subtracted, 64, image.shape)
    np.testing.assert_allclose(back, image, atol=1e-3)
    assert sky.level == pytest.approx(100, abs=1)
    assert np.abs(sky.mesh.residual).max() < 1
    assert sky.mesh.subtracted.shape == (4, 3)


def test_cells_that_show_nothing_have_no_residual_and_a_neighbours_sky():
    exposure = exposure_of(100 + np.random.default_rng(1).normal(0, 5, (192, 192)))
    exposure.mask[:64, :64] = bit("BAD")
    sky = subtract(exposure)
    assert np.isnan(sky.mesh.residual[0, 0])
    assert np.isfinite(sky.mesh.subtracted).all()
    assert sky.mesh.subtracted[0, 0] == pytest.approx(100, abs=2)


def test_a_frame_without_usable_pixels_is_left_and_noted():
    exposure = exposure_of(np.full((60, 50), 7.0))
    exposure.mask[:] = bit("SAT")
    sky = subtract(exposure)
    assert (sky.level, sky.noise) == (None, None)
    assert (exposure.image == 7).all()
    assert exposure.notes == ["too few usable pixels to measure the sky"]
