"""The sky of a visit is modelled over the focal plane, and objects are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.configuration import SkyCorrectionConfig
from drivers.focal_plane_sky.cells import as_meshes, gather_cells
from drivers.focal_plane_sky.model import model_sky
from simulated_skies import CCDS, focal_plane, places, smooth


def truth(sky):
    return np.concatenate(
        [sky(*places(ccd, ccd % 2 == 1), ccd).ravel() for ccd in range(len(CCDS))]
    )


def modelled(skies, **config):
    cells = gather_cells(skies)
    return cells, model_sky(cells, SkyCorrectionConfig(**config))


def test_a_smooth_sky_is_found_across_ccds_however_they_are_turned():
    cells, model = modelled(focal_plane(smooth))
    assert np.abs(model.total - truth(smooth)).max() < 0.3
    assert model.used.mean() > 0.9
    shapes = dict.fromkeys(range(8), (10, 5))
    assert set(as_meshes(cells, model.total, shapes)) == set(range(8))


def galaxy(u, v):
    """Half of its light is outside of the CCD in the middle of whose edge it is."""
    return 400 * np.exp(-np.hypot(u - 0.3, v - 0.5) / 0.12)


def test_wings_of_a_large_galaxy_are_left_in_the_image():
    _, model = modelled(focal_plane(lambda u, v, ccd: smooth(u, v) + galaxy(u, v)))
    taken = model.total - truth(smooth)
    light = truth(lambda u, v, ccd: galaxy(u, v))
    wings = (light > 1) & (light < 50)
    assert wings.sum() > 50
    # Subtraction CCD by CCD takes all of it.
    assert abs(taken[wings].sum()) < 0.2 * light[wings].sum()
    assert np.abs(taken).max() < 3


def pattern(ccd):
    random = np.random.default_rng(100 + ccd)
    return (0.01 * random.standard_normal((10, 5))).astype(np.float32)


def test_the_sky_frame_is_scaled_to_the_visit():
    skies = focal_plane(lambda u, v, ccd: smooth(u, v) + 1500 * pattern(ccd))
    with_frames = [replace(sky, pattern=pattern(sky.ccd)) for sky in skies]
    _, model = modelled(with_frames)
    assert model.scale == pytest.approx(1500, rel=0.01)
    true = truth(lambda u, v, ccd: smooth(u, v) + 1500 * pattern(ccd))
    assert np.abs(model.total - true).max() < 1
    assert model.used.mean() > 0.9
    _, without = modelled(with_frames, sky_frame=False)
    assert without.scale is None
    assert np.abs(without.total - true).max() > 15


def test_what_is_left_is_smoothed_and_subtracted_too():
    def wavy(u, v, ccd):
        return smooth(u, v) + 5 * np.sin(5 * u)

    found = {
        residual: modelled(
            focal_plane(wavy), residual=residual, residual_scale=1.0, order=2, clip=10
        )[1]
        for residual in (True, False)
    }
    left = {key: (model.total - truth(wavy)).std() for key, model in found.items()}
    assert left[True] < 0.4 * left[False]
    assert not found[False].residual.any()


def test_without_restoring_only_what_was_left_is_modelled():
    cells, model = modelled(focal_plane(smooth), restore=False)
    assert abs(model.total.mean() - cells.residual.mean()) < 0.2
    assert np.abs(model.total).max() < 4


def test_all_turned_off_the_model_is_nothing():
    _, model = modelled(focal_plane(smooth), focal_plane=False, residual=False)
    assert not model.total.any()


def step(u, v, ccd):
    return smooth(u, v) * (1 + 0.02 * (ccd == 3))


def test_a_ccd_without_a_flat_has_a_level_of_its_own():
    _, model = modelled(focal_plane(step, is_flat=False))
    assert np.abs(model.total - truth(step)).max() < 3
    _, flat = modelled(focal_plane(step, is_flat=True))
    assert np.abs(flat.total - truth(step)).max() > 20


@pytest.mark.parametrize(("choice", "is_flat"), [("always", True), ("never", False)])
def test_the_configuration_may_say_who_has_a_level_of_its_own(choice, is_flat):
    _, model = modelled(focal_plane(step, is_flat=is_flat), ccd_levels=choice)
    assert bool(model.levels.any()) is (choice == "always")


def test_a_ccd_of_which_nothing_is_known_gets_the_others_sky():
    skies = focal_plane(smooth)
    blind = replace(skies[1].mesh, residual=np.full((10, 5), np.nan, np.float32))
    _, model = modelled([skies[0], replace(skies[1], mesh=blind), *skies[2:]])
    assert np.isfinite(model.total).all()
    assert np.abs(model.total - truth(smooth)).max() < 2


def test_a_visit_of_which_nothing_is_known_stays_as_it_is():
    nothing = [
        replace(sky, mesh=replace(sky.mesh, residual=np.full((10, 5), np.nan, np.float32)))
        for sky in focal_plane(smooth)
    ]
    _, model = modelled(nothing)
    assert not model.total.any()
    assert not model.used.any()


def test_what_is_no_sky_at_the_rim_does_not_make_the_model_go_astray():
    def uneven(u, v, ccd):
        return smooth(u, v) + 15 * np.sin(14 * v) * (u > 0)

    _, model = modelled(focal_plane(uneven))
    assert np.abs(model.total - truth(smooth)).max() < 60
