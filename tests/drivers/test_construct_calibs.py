"""constructCalibsDriver, as users call it."""

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

from drivers.calib_run import Validity
from drivers.construct_calibs import date
from drivers.header_scan import scan_file
from drivers.registry import add_frames, find_calib, find_frames, open_registry
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey

SURVEY = Survey(
    visits=3, ccds=3, bands=("r",), height=96, width=64, stars=3, galaxies=3, seed=9, calibs=3
)


def test_validity_is_what_the_command_says_or_from_a_day_before_the_first_exposure():
    frames = [SimpleNamespace(mjd=60002.0), SimpleNamespace(mjd=60001.5), SimpleNamespace(mjd=None)]
    assert Validity().of(frames) == (60000.5, 1e9)
    assert Validity(59000.0, 61000.0).of(frames) == (59000.0, 61000.0)
    assert Validity(ends=61000.0).of(frames[2:]) == (-1e9, 61000.0)


@pytest.mark.parametrize(
    ("text", "mjd"),
    [("2023-02-25", 60000.0), ("60000.25", 60000.25), ("2023-02-25T12:00", 60000.5)],
)
def test_dates_are_days_or_mjds(text, mjd):
    assert date(text) == mjd


def test_what_is_no_date_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="'soon' is neither"):
        date("soon")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibs") / "repo"
    folder.mkdir()
    make_survey(SURVEY, folder)
    files = sorted(folder.glob("raw/**/*.fits"))
    with open_registry(folder / "registry.sqlite", create=True) as registry:
        add_frames(registry, [frame for path in files for frame in scan_file(str(path)).frames])
    return folder


def construct(repo, *words, rerun="c"):
    script = [sys.executable, "-m", "drivers.construct_calibs"]
    command = [*script, str(repo), "--rerun", rerun, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.long
def test_calibs_are_made_registered_and_found_by_single_frames(repo):
    said = construct(repo, "--dry-run")
    assert "flat: 3 CCDs in r from 3 exposures" in said.stdout
    assert not (repo / "rerun").exists()
    done = construct(repo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 calibration frames are in" in done.stdout
    with open_registry(repo / "registry.sqlite") as registry:
        (science,) = find_frames(registry, "visit = 100 AND ccd = 2", [])
        flat = find_calib(registry, "flat", science)
        assert (repo / flat.path).is_file()
        assert flat.filter == "r"
        assert len(flat.made_from) == 3
        assert find_calib(registry, "bias", science).filter == ""
    assert len(list((repo / "rerun" / "c" / "calib").rglob("*.fits"))) == 9
    again = construct(repo, "--valid-to", "2023-03-01")
    assert again.returncode == 0
    assert "flat              3      3      3      0       0" in again.stdout
    with open_registry(repo / "registry.sqlite") as registry:
        assert find_calib(registry, "flat", science).valid_to == 60004.0


@pytest.mark.long
def test_a_dead_ccd_is_named_and_the_others_are_made(repo):
    with open_registry(repo / "registry.sqlite") as registry:
        dead = find_frames(registry, "obstype = 'bias' AND ccd = 1", [])
    for frame in dead:
        with open(frame.path, "r+b") as file:
            file.truncate(3000)
    done = construct(repo, "--kind", "bias", "--id", "instrument=SimCam", rerun="dead")
    assert done.returncode == 1
    assert "bias ccd=1: ccd=1: 0 of its 3 exposures can be used, 3 are needed" in done.stdout
    assert "truncated" in done.stdout
    assert "2 calibration frames are in" in done.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--kind", "flat", "--id", "filter=z"], "--kind flat: --id selects no flat exposure"),
        (["--valid-from", "60001", "--valid-to", "60000"], "--valid-from is not before"),
        (["-c", "calibs.least=2"], "least"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_in_a_sentence(repo, words, reason, capsys):
    from drivers.construct_calibs import main

    assert main([str(repo), "--rerun", "c2", *words]) == 2
    assert reason in capsys.readouterr().err
    assert not (repo / "rerun" / "c2").exists()


def test_exposures_of_two_cameras_are_refused(repo, tmp_path, capsys):
    from dataclasses import replace

    from drivers.construct_calibs import main

    with open_registry(repo / "registry.sqlite") as registry:
        (one, other) = find_frames(registry, "obstype = 'bias' AND ccd = 0", [])[:2]
    with open_registry(tmp_path / "registry.sqlite", create=True) as registry:
        add_frames(registry, [one, replace(other, instrument="DECam")])
    assert main([str(tmp_path), "--rerun", "c", "--kind", "bias"]) == 2
    assert "of DECam and SimCam; take one of them" in capsys.readouterr().err
