"""Cameras are recognised by what their headers say, and described where they differ."""

from pathlib import Path

import pytest

from drivers.frame_error import FrameError
from drivers.instruments import BUILT_IN, INSTRUMENTS
from drivers.instruments.decam import DECAM
from drivers.instruments.description import (
    Clue,
    Constant,
    FileName,
    Keyword,
    Numbered,
    first,
    mean,
    observation_type,
)
from drivers.instruments.obs_test import OBS_TEST
from drivers.instruments.readout import HeaderReadout, Section
from drivers.instruments.simcam import SIMCAM


@pytest.mark.parametrize(
    ("header", "camera"),
    [
        ({"INSTRUME": "DECam   ", "PROCTYPE": "InstCal"}, DECAM),
        ({"DTINSTRU": "decam"}, DECAM),
        ({"INSTRUME": "DECam", "PROCTYPE": "raw"}, None),
        ({"CREATOR": "LSST IMAGE SIMULATOR"}, OBS_TEST),
        ({"OUTFILE": "imsim_890104911_R22_S00_E000"}, OBS_TEST),
        ({"INSTRUME": "SimCam"}, SIMCAM),
        ({"INSTRUME": "ACS"}, None),
        ({}, None),
    ],
)
def test_a_camera_is_recognised_by_its_header(header, camera):
    assert BUILT_IN.identify(header) is camera


def test_the_names_in_the_registry_lead_back_to_the_descriptions():
    assert [BUILT_IN.named(camera.name) for camera in INSTRUMENTS] == list(INSTRUMENTS)
    with pytest.raises(FrameError, match="of the camera WFI, which nobody describes"):
        BUILT_IN.named("WFI")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("c4d_140818_232043_ooi_z_ls9.N12.fits", False),
        ("c4d_140818_232043_ood_z_ls9.N12.fits", True),
        ("c4d_140818_232043_oow_z_ls9.fits.fz", True),
        ("defects.fits", True),
        ("raw_v1_fg.fits.gz", False),
        ("moody_field.fits", False),
    ],
)
def test_masks_weights_and_defects_are_companions(name, expected):
    assert BUILT_IN.has_companion_named(name) is expected


def test_the_companions_of_a_decam_image_are_named_after_it():
    image = Path("/x/c4d_140818_232043_ooi_z_ls9.N12.fits")
    assert [companion.beside(image).name for companion in DECAM.companions] == [
        "c4d_140818_232043_ood_z_ls9.N12.fits",
        "c4d_140818_232043_oow_z_ls9.N12.fits",
    ]
    assert DECAM.companions[0].beside(Path("/x/other.fits")) is None


def test_the_first_source_that_has_a_value_wins():
    sources = (Keyword("A"), Keyword("B", r"^(\S+)"), FileName(r"v(\d+)"), Constant(7))
    assert first(sources, {"A": 1, "B": "z DECam"}, "v3") == 1
    assert first(sources, {"A": " ", "B": "z DECam"}, "v3") == "z"
    assert first(sources, {}, "v3") == "3"
    assert first(sources, {}, "x") == 7
    assert mean((Keyword("A"), Keyword("B")), {"A": 2.0, "B": 4.0}, "") == 3.0
    assert mean((Keyword("A"), Keyword("B")), {"A": "no", "B": 4.0}, "") == 4.0
    assert mean((Keyword("A"),), {}, "") is None


def test_a_clue_needs_its_keyword_and_not_its_case():
    assert Clue("INSTRUME", "^dec").fits({"INSTRUME": "DECam"})
    assert not Clue("INSTRUME", "^dec").fits({"TELESCOP": "DECam"})


def test_the_obs_test_detector_is_four_amplifiers_without_gap_or_overlap():
    amplifiers = OBS_TEST.readout.amplifiers({"NAXIS1": 1026, "NAXIS2": 2000})
    covered = [
        (x, y)
        for amplifier in amplifiers
        for x in (amplifier.target.x0, amplifier.target.x1 - 1)
        for y in (amplifier.target.y0, amplifier.target.y1 - 1)
    ]
    assert sorted(covered) == sorted(
        (x, y) for x in (0, 508, 509, 1017) for y in (0, 999, 1000, 1999)
    )
    assert all(amplifier.data.shape == amplifier.target.shape for amplifier in amplifiers)
    assert [amplifier.gain for amplifier in amplifiers] == [1.7741, 1.74151, 1.65881, 1.67073]


def test_an_obs_test_frame_of_another_size_is_refused():
    with pytest.raises(FrameError, match="1026 x 1000 pixels"):
        OBS_TEST.readout.amplifiers({"NAXIS1": 1026, "NAXIS2": 1000})


def test_a_section_is_read_as_fits_counts():
    assert Section.from_fits("[ 5: 513,   2:2001]") == Section(4, 513, 1, 2001)
    with pytest.raises(FrameError, match="not of the form"):
        Section.from_fits("5:513")


def test_a_header_readout_names_the_keyword_it_misses():
    with pytest.raises(FrameError, match="lacks the keyword BIASSEC1"):
        HeaderReadout(count=1).amplifiers({"DATASEC1": "[1:2,1:2]"})


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"OBSTYPE": "zero"}, "bias"),
        ({"IMAGETYP": "BIAS"}, "bias"),
        ({"OBSTYPE": "dome flat"}, "flat"),
        ({"OBSTYPE": "Dark"}, "dark"),
        ({"OBSTYPE": "object"}, "science"),
        ({"OBSTYPE": "  "}, "science"),
        ({}, "science"),
        ({"OBSTYPE": "Focus"}, "focus"),
    ],
)
def test_what_cameras_call_their_frames_is_one_name_here(header, kind):
    assert observation_type(first(DECAM.obstype, header, "a.fits")) == kind


def test_a_simulated_frame_says_what_its_detector_is_for():
    assert first(SIMCAM.role, {"ROLE": "focus"}, "a.fits") == "focus"
    assert first(SIMCAM.role, {}, "a.fits") == "science"
    assert first(DECAM.role, {}, "a.fits") == "science"


def test_a_role_may_hang_on_the_number_of_the_detector():
    role = Numbered(Keyword("DETID"), {frozenset(range(104, 112)): "focus"}, "science")
    found = [role.read({"DETID": ccd}, "a.fits") for ccd in (0, 103, "104", 111, 112)]
    assert found == ["science", "science", "focus", "focus", "science"]
    assert role.read({}, "a.fits") is None
    assert "DETID" in str(role)
