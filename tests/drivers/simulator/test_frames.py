"""Frames are the same for the same survey, have all effects in them, and describe themselves."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from drivers.header_scan import scan_file
from drivers.instruments import BUILT_IN
from drivers.instruments.description import first, observation_type
from drivers.simulator.frames import exposures, make_frame
from drivers.simulator.survey import EFFECTS, Survey
from drivers.simulator.writing import make_survey

SMALL = Survey(visits=2, ccds=2, height=64, width=64, stars=5, galaxies=5, seed=9, calibs=1)
DENSE = Survey(
    visits=6, ccds=2, height=256, width=128, stars=100, galaxies=80, seed=2, bands=("r", "z"),
    calibs=1,
)  # fmt: skip


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def frame(survey, index, ccd=0):
    return make_frame(survey, exposures(survey)[index], ccd)[0].astype(float)


def test_the_same_survey_has_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        make_survey(dataclasses.replace(SMALL, seed=seed), tmp_path / name)
    first_one, again, other = (contents(tmp_path / name) for name in "abc")
    assert first_one == again
    assert first_one.keys() == other.keys()
    frames = [name for name in first_one if name.suffix == ".fits"]
    assert not [name for name in frames if first_one[name] == other[name]]


def test_a_frame_does_not_depend_on_which_others_are_made():
    one = dataclasses.replace(SMALL, visits=1)
    assert np.array_equal(frame(one, 0, 1), frame(SMALL, 0, 1))


@pytest.mark.parametrize("effect", sorted(set(EFFECTS) - {"pointing"}))
def test_each_effect_is_seen_in_the_pixels(effect):
    """With and without it; all others but noise are in both, so that they can't stand in for it."""
    quiet = dataclasses.replace(DENSE, without=frozenset({"noise"} - {effect}))
    without = dataclasses.replace(quiet, without=quiet.without | {effect})
    assert any(
        np.abs(frame(quiet, index, ccd) - frame(without, index, ccd)).max() > 1
        for index in range(quiet.visits)
        for ccd in range(quiet.ccds)
    )


def test_the_pointing_is_wrong_in_the_header_only():
    right = dataclasses.replace(DENSE, without=frozenset({"pointing"}))
    counts, header = make_frame(DENSE, exposures(DENSE)[0], 0)
    same, other = make_frame(right, exposures(right)[0], 0)
    assert np.array_equal(counts, same)
    assert 0.2 < abs(header["CRVAL2"] - other["CRVAL2"]) * 3600 < 10


def test_calibration_frames_have_what_they_are_for_and_no_stars():
    survey = dataclasses.replace(DENSE, without=frozenset({"noise", "cosmics"}))
    kinds = {e.kind + e.filter: i for i, e in enumerate(exposures(survey))}
    bias, dark, flat, red = (
        frame(survey, kinds[k])[:, :64] - np.median(frame(survey, kinds[k])[:, 64:80])
        for k in ("biasnone", "darknone", "flatr", "flatz")
    )
    assert np.ptp(bias) < 60
    assert np.median(dark - bias) == pytest.approx(300 * 0.02 / 1.6, abs=3)
    assert (dark - bias).max() > 100  # hot pixels
    assert 10_000 < np.median(flat) < 25_000
    ratio = (flat - bias) / (red - bias)  # vignetting is not the same in all filters
    assert np.ptp(np.percentile(ratio, [2, 98])) > 0.004
    assert np.percentile(flat - bias, 99) < 1.1 * np.median(flat - bias)


def test_a_frame_says_what_it_is(tmp_path):
    paths = make_survey(dataclasses.replace(SMALL, ccds=14), tmp_path)
    science = [path for path in paths if path.parent.name == "raw"]
    scans = [scan_file(str(path)) for path in science]
    assert not [problem for scan in scans for problem in scan.problems]
    frames = [scan.frames[0] for scan in scans]
    assert {(f.visit, f.ccd) for f in frames} == {(v, c) for v in (100, 101) for c in range(14)}
    assert {f.filter for f in frames} == {"g", "r"}
    found = set()
    for path in paths:
        header = fits.getheader(path)
        camera = BUILT_IN.identify(header)
        role, kind = (
            first(sources, header, path.name) for sources in (camera.role, camera.obstype)
        )
        found.add((observation_type(kind), role))
    kinds = ("science", "bias", "dark", "flat")
    assert found == {(kind, role) for kind in kinds for role in ("science", "focus")}


def test_a_file_with_all_detectors_of_a_visit_has_the_same_pixels(tmp_path):
    each = make_survey(SMALL, tmp_path / "each")
    whole = make_survey(dataclasses.replace(SMALL, per_visit=True), tmp_path / "whole")
    assert len(each) == 2 * len(whole)
    for path in whole:
        with fits.open(path) as units:
            for ccd in (0, 1):
                name = path.name.replace(".fits", f"-{ccd:03d}.fits")
                alone = fits.getdata(
                    (tmp_path / "each" / path.relative_to(tmp_path / "whole")).with_name(name)
                )
                assert np.array_equal(units[1 + ccd].data, alone)
    frames = scan_file(str(whole[0])).frames
    assert [(f.visit, f.ccd, f.hdu) for f in frames] == [(100, 0, 1), (100, 1, 2)]
