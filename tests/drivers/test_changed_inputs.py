"""A raw file that changes after it was ingested is not taken for the one that was."""

import os
import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from astropy.io import fits

from drivers.exposure_io import read_exposure
from drivers.frame_error import FrameError
from drivers.header_scan import scan_file
from drivers.ingest import main as ingest
from drivers.single_frame import main


def brightened(path):
    """Change the pixels, as a corrected frame has them."""
    with fits.open(path, mode="update") as units:
        units[0].data[:, :150] += 500


@pytest.fixture
def raw(tmp_path, frames):
    """A copy of one frame, which may be changed."""
    return shutil.copy2(frames[0], tmp_path / "one.fits")


@pytest.fixture
def repo(tmp_path, raw, pool):
    assert ingest([str(tmp_path / "repo"), str(raw)]) == 0
    return tmp_path / "repo"


def sky_level(repo):
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        return connection.execute("SELECT sky_level FROM calexp").fetchall()


def run(repo, *words):
    return main([str(repo), "--rerun", "a", *words])


def test_a_file_that_changed_is_refused_even_if_its_size_is_the_same(raw):
    frame = scan_file(str(raw)).frames[0]
    read_exposure(frame, overscan_order=0)
    os.utime(raw, (0, 1))
    with pytest.raises(FrameError, match="has changed since it was ingested; ingest it again"):
        read_exposure(frame, overscan_order=0)


def test_a_file_that_is_gone_is_named_so(raw):
    frame = scan_file(str(raw)).frames[0]
    os.unlink(raw)
    with pytest.raises(FrameError, match=r"^does not exist$"):
        read_exposure(frame, overscan_order=0)


def test_a_changed_file_is_made_again_once_it_is_ingested_again(repo, raw, pool, capsys):
    assert run(repo) == 0
    ((before,),) = sky_level(repo)
    brightened(raw)
    assert ingest([str(repo), str(raw)]) == 0
    assert "0 images ingested" in (said := capsys.readouterr().out)
    assert "1 changed and ingested again" in said
    assert run(repo, "--dry-run") == 0
    assert re.search(r"^singleFrame +1 +0 ", capsys.readouterr().out, re.MULTILINE)
    assert run(repo) == 0
    ((after,),) = sky_level(repo)
    assert after > before
    assert re.search(r"^singleFrame +1 +1 +0 ", capsys.readouterr().out, re.MULTILINE)


def test_an_input_that_comes_back_is_made_again_since_the_files_are_the_others(
    repo, raw, frames, pool
):
    assert run(repo) == 0
    first = sky_level(repo)
    brightened(raw)
    ingest([str(repo), str(raw)])
    assert run(repo) == 0
    assert sky_level(repo) != first
    shutil.copy2(frames[0], raw)
    ingest([str(repo), str(raw)])
    assert run(repo) == 0
    assert sky_level(repo) == first
    with fits.open(next(repo.rglob("calexp-*.fits"))) as units:
        assert units[0].header["SKYLEVEL"] == pytest.approx(first[0][0])


def test_the_files_of_another_input_stay_until_they_are_replaced(repo, raw, pool, monkeypatch):
    assert run(repo) == 0
    brightened(raw)
    ingest([str(repo), str(raw)])
    monkeypatch.setattr(pool, "submit", None)  # nothing is processed
    with pytest.raises(TypeError):
        run(repo)
    assert next(repo.rglob("calexp-*.fits")).is_file()


def test_a_ccd_whose_newest_attempt_failed_has_no_row(repo, raw):
    assert run(repo) == 0
    brightened(raw)
    ingest([str(repo), str(raw)])
    brightened(raw)
    assert run(repo) == 1
    assert sky_level(repo) == []


def test_a_survey_that_was_moved_keeps_its_state(raw, tmp_path):
    before = scan_file(str(raw)).frames[0]
    moved = shutil.move(raw, tmp_path / "elsewhere.fits")
    after = scan_file(str(moved)).frames[0]
    assert before.path != after.path
    assert before.key == after.key
    assert set(before.key) == {"visit", "ccd", "input"}
    assert len(before.key["input"]) == 8
