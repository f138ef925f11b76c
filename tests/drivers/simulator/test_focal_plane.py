"""The detectors: a disc without overlaps, focus detectors at its sides."""

import numpy as np
import pytest

from drivers.configuration import SurveyConfig, load_configuration
from drivers.simulator.focal_plane import (
    GAP,
    detectors,
    field_radius,
    sky_map_configuration,
    to_detector,
    to_focal_plane,
)
from drivers.simulator.point_spread import widths
from drivers.simulator.survey import Survey
from drivers.simulator.visits import visits


@pytest.mark.parametrize("ccds", [1, 2, 3, 4, 6, 7, 13, 30, 112])
def test_detectors_do_not_overlap_and_fill_a_disc(ccds):
    survey = Survey(ccds=ccds)
    made = detectors(survey)
    assert [detector.ccd for detector in made] == list(range(ccds))
    x, y = np.array([(d.x, d.y) for d in made]).T
    apart = (np.abs(x[:, None] - x) >= survey.width + GAP) | (
        np.abs(y[:, None] - y) >= survey.height + GAP
    )
    assert apart[~np.eye(ccds, dtype=bool)].all()
    covered = ccds * (survey.width + GAP) * (survey.height + GAP)
    assert covered > 0.45 * np.pi * field_radius(survey) ** 2
    assert np.hypot(x.mean(), y.mean()) < survey.height


def test_a_large_camera_has_as_many_science_and_focus_detectors_as_hyper_suprime_cam():
    made = detectors(Survey(ccds=112))
    roles = [detector.role for detector in made]
    assert roles == ["science"] * 104 + ["focus"] * 8
    sides = [np.sign(detector.x) for detector in made[104:]]
    assert sides == [-1] * 4 + [1] * 4
    assert all(abs(d.x) > max(abs(s.x) for s in made[:104] if s.y == d.y) for d in made[104:])


def test_places_on_a_detector_and_in_the_focal_plane_are_the_same_places():
    survey = Survey(ccds=6)
    x, y = np.array([0.0, 511.0, 100.0]), np.array([0.0, 1023.0, 700.0])
    for detector in detectors(survey):
        u, v = to_focal_plane(survey, detector, x, y)
        again = to_detector(survey, detector, u, v)
        assert np.allclose(again, (x, y))
        assert np.hypot(u - detector.x, v - detector.y).max() < 580
    assert {detector.angle for detector in detectors(survey)} == {0.0, 180.0}


def test_stars_of_focus_detectors_are_wider_and_those_near_the_focus_are_not():
    survey = Survey(visits=1, ccds=28)
    visit = visits(survey)[0]
    middle = np.array([255.5]), np.array([511.5])
    width = {d.ccd: widths(survey, visit, d, *middle)[0] for d in detectors(survey)}
    focus = [d.ccd for d in detectors(survey) if d.role == "focus"]
    science = [width[d.ccd] for d in detectors(survey) if d.role == "science"]
    assert min(science) == pytest.approx(visit.seeing, rel=0.1)
    assert min(width[ccd] for ccd in focus) > np.median(science) + 0.02


@pytest.mark.parametrize(
    ("size", "inner", "border"), [((512, 1024), 800, 60), ((2048, 4096), 3200, 240)]
)
def test_patches_are_as_large_as_detectors(tmp_path, size, inner, border):
    path = tmp_path / "survey.toml"
    path.write_text(sky_map_configuration(Survey(width=size[0], height=size[1])))
    sky_map = load_configuration(SurveyConfig, [path]).sky_map
    assert (sky_map.patch_inner, sky_map.patch_border) == (inner, border)
