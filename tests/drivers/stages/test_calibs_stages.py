"""Calibration frames of a simulated CCD are what was simulated, and what can't be used is named."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from drivers.calibs.levels import Scales
from drivers.configuration import CalibsConfig, SingleFrameConfig, SkyCorrectionConfig
from drivers.frame_error import FrameError
from drivers.header_scan import scan_file
from drivers.instruments import BUILT_IN
from drivers.registry import Calib
from drivers.simulator import detector as chip
from drivers.simulator.focal_plane import detectors
from drivers.simulator.light import fringes
from drivers.simulator.survey import Survey
from drivers.simulator.visits import visits
from drivers.simulator.writing import make_survey
from drivers.stages import calibs, sky_frames
from drivers.stages.calibs import (
    CalibJob,
    build_calib,
    measure_levels,
    measure_skies,
    solve_scales,
)
from drivers.stages.sky_frames import SkyFrameJob, build_sky_frames

SURVEY = Survey(
    visits=4, ccds=2, bands=("y",), height=192, width=128, stars=5, galaxies=5, seed=9, calibs=4,
    without=frozenset({"pixel_area", "satellites"}),
)  # fmt: skip
CCD = 1


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibs")
    make_survey(SURVEY, folder)
    found = {}
    for path in sorted(folder.glob("raw/**/*.fits")):
        for frame in scan_file(str(path)).frames:
            found.setdefault((frame.obstype, frame.ccd), []).append(frame)
    return SimpleNamespace(folder=folder, frames=found)


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    rows = []
    for module in (calibs, sky_frames):
        monkeypatch.setattr(module, "record", lambda **row: rows.append(row))
    return rows


def job(survey, folder, kind, applied=(), **changes):
    ccd = changes.get("ccd", CCD)
    obstype = {"fringe": "science", "sky": "science"}.get(kind, kind)
    frames = tuple(survey.frames[obstype, ccd])
    single = SingleFrameConfig()
    values = {
        "kind": kind, "stage": kind, "digest": "0123", "ccd": ccd,
        "filter": "" if kind in ("bias", "dark") else "y", "frames": frames,
        "calibs": {frame.visit: tuple(applied) for frame in frames}, "root": str(folder),
        "output": f"{kind}-{ccd}.fits", "config": CalibsConfig(), "signature": single.signature,
        "sky": single.sky.model_copy(update={"cell": 32}),
    }  # fmt: skip
    return CalibJob(**{**values, **changes})


def calib(kind, made, ccd=CCD):
    return Calib(kind, "SimCam", ccd, "", -1e9, 1e9, made.path, made.units[ccd])


@pytest.fixture
def made(survey, tmp_path):
    """All kinds, each made with the earlier, of the first detector."""
    found = {"folder": tmp_path}
    applied = []
    for kind in ("bias", "dark", "flat", "fringe"):
        scales = []
        if kind == "flat":
            scales = [solve_scales([measure_levels(job(survey, tmp_path, kind, applied))], 5, "y")]
        found[kind] = build_calib(job(survey, tmp_path, kind, applied), *scales)
        applied.append(calib(kind, found[kind]))
    return SimpleNamespace(**found, applied=applied)


def image(made, kind):
    one = getattr(made, kind)
    return fits.getdata(made.folder / one.path, one.units[CCD])


def test_all_kinds_are_what_was_simulated(survey, made):
    gain = np.repeat(chip.gains(SURVEY, CCD), SURVEY.width // 2)
    bias = image(made, "bias") - chip.bias_structure(SURVEY, CCD) * gain
    assert abs(bias.mean()) < 0.1
    assert bias.std() == pytest.approx(6 / 2, rel=0.1)
    rate = chip.dark_rate(SURVEY, CCD)
    quiet = rate < 1
    left = (image(made, "dark") - rate)[quiet]
    assert abs(left.mean()) < 0.001
    assert left.std() == pytest.approx(np.sqrt(6**2 / 4 + 9 + 0.03 * 300 / 4) / 300, rel=0.3)
    response = chip.response(SURVEY, detectors(SURVEY)[CCD], "y")
    good = response > 0.5
    flat = (image(made, "flat") / response)[good]
    assert flat.std() / flat.mean() == pytest.approx(1 / np.sqrt(4 * 25_000), rel=0.3)
    assert (image(made, "flat")[~good] < 0.2).mean() > 0.9


def test_the_fringe_frame_has_the_strength_that_single_frames_expect(made):
    visit = visits(SURVEY)[0]
    detector = detectors(SURVEY)[CCD]
    response = chip.response(SURVEY, detector, "y")
    good = response > 0.5
    true = (fringes(SURVEY, visit, detector) / visit.sky / np.where(good, response, 1))[good]
    got = image(made, "fringe")[good]
    usable = np.isfinite(got)
    slope = np.polyfit(true[usable] - true[usable].mean(), got[usable], 1)[0]
    # The mesh of the sky takes a little of the fringes.
    assert 0.8 < slope < 1.1


def test_a_fault_of_a_single_exposure_is_not_in_the_dark(survey, made):
    rate = chip.dark_rate(SURVEY, CCD)
    quiet = rate < 1
    # A cosmic ray leaves 300 electrons and more, an average of four 0.25 electrons a second.
    assert (image(made, "dark") - rate)[quiet].max() < 0.15


def test_headers_and_records_say_what_it_was_made_of(survey, made, recorded):
    with fits.open(made.folder / made.flat.path, checksum=True) as units:
        header = units[0].header
    visits_of = [frame.visit for frame in survey.frames["flat", CCD]]
    assert header["CALIB"] == "flat"
    assert [header[f"VISIT{at:03d}"] for at in range(1, 5)] == visits_of
    assert [header["CALIB001"], header["CALIB002"]] == ["bias-1.fits", "dark-1.fits"]
    assert header["CONFDIG"] == "0123"
    assert made.flat.row["visits"] == visits_of
    assert not made.flat.row["notes"]
    assert recorded[-1]["kind"] == "fringe"


def test_flats_of_all_ccds_say_how_sensitive_they_are_to_one_another(survey, tmp_path):
    levels = [measure_levels(job(survey, tmp_path, "flat", ccd=ccd)) for ccd in (0, 1)]
    scales = solve_scales(levels, 5, "y")
    flats = [build_calib(job(survey, tmp_path, "flat", ccd=ccd), scales) for ccd in (0, 1)]
    true = [np.median(chip.response(SURVEY, one, "y")) for one in detectors(SURVEY)]
    got = [one.row["level"] for one in flats]
    # The bias, and how uneven the lamp is, are in these.
    assert got[1] / got[0] == pytest.approx(true[1] / true[0], rel=0.005)
    assert np.mean(got) == pytest.approx(1, abs=0.005)
    assert scales.scatter < 0.001


def test_a_frame_which_is_gone_is_named_and_the_others_are_used(survey, tmp_path):
    some = list(survey.frames["bias", CCD])
    some[2] = replace(some[2], path=str(tmp_path / "gone.fits"))
    found = build_calib(job(survey, tmp_path, "bias", frames=tuple(some)))
    assert found.row["visits"] == [some[0].visit, some[1].visit, some[3].visit]
    (note,) = found.row["notes"]
    assert "gone.fits: does not exist" in note


def test_too_few_exposures_are_an_error_which_names_the_lost_ones(survey, tmp_path):
    some = [
        replace(frame, path=str(tmp_path / "gone.fits")) for frame in survey.frames["bias", CCD][:2]
    ]
    frames = (*some, *survey.frames["bias", CCD][2:])
    with pytest.raises(FrameError, match=r"ccd=1: 2 of its 4 exposures .* 3 are needed; .*gone"):
        build_calib(job(survey, tmp_path, "bias", frames=frames))
    assert not list(tmp_path.iterdir())


def test_a_flat_whose_level_was_rejected_is_left_out(survey, tmp_path):
    frames = survey.frames["flat", CCD]
    scales = Scales(
        {frame.visit: 25_000.0 for frame in frames}, {CCD: 1.0}, ((frames[1].visit, CCD),), 0.0
    )
    found = build_calib(job(survey, tmp_path, "flat"), scales)
    assert frames[1].visit not in found.row["visits"]
    without, left_out = found.row["notes"]
    assert without == "made without bias, dark: there is none"
    assert "does not fit those of the other CCDs" in left_out


def test_a_dark_of_unknown_length_is_left_out(survey, tmp_path):
    first, *rest = survey.frames["dark", CCD]
    frames = (replace(first, exptime=None), *rest)
    found = build_calib(job(survey, tmp_path, "dark", frames=frames))
    assert any("nobody knows its exposure time" in note for note in found.row["notes"])


def test_a_frame_which_came_calibrated_is_no_bias(survey, tmp_path):
    calibrated = replace(BUILT_IN.named("SimCam"), readout=None)
    with pytest.raises(FrameError, match="calibrated already: a bias is made of raw frames"):
        build_calib(job(survey, tmp_path, "bias", camera=calibrated))


def test_sky_frames_of_all_ccds_are_in_one_file(survey, made):
    skies = []
    for ccd in (0, 1):
        applied = made.applied if ccd == CCD else ()
        skies.append(measure_skies(job(survey, made.folder, "sky", applied, ccd=ccd)))
    sky_job = SkyFrameJob(
        filter="y", stage="sky", digest="4567", root=str(made.folder), output="sky-y.fits",
        config=CalibsConfig(), sky_correction=SkyCorrectionConfig(order=1),
    )  # fmt: skip
    found = build_sky_frames(sky_job, skies)
    assert found.units == {0: 1, 1: 2}
    with fits.open(made.folder / "sky-y.fits", checksum=True) as units:
        assert units[2].data.shape == (6, 4)
        assert (units[2].header["CELL"], units[2].header["ROWS"]) == (32, 192)
        assert np.abs(units[2].data).max() < 0.05
    assert skies[1].visits[100].is_flat
    assert not skies[0].visits[100].is_flat
