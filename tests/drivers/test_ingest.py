"""`ingestDriver`: what is read, what is refused, what stands in the registry afterwards."""

import gzip
import shutil
import sqlite3
import warnings

import numpy as np
import pytest
from astropy.io import fits

from drivers.header_scan import scan_file
from drivers.ingest import expand, main


def rows(repo, query="SELECT visit, ccd, filter FROM raw ORDER BY visit, ccd"):
    connection = sqlite3.connect(repo / "registry.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_the_frames_of_the_survey_are_in_the_registry(repo, frames):
    assert rows(repo) == [(100, 0, "g"), (100, 1, "g"), (101, 0, "r"), (101, 1, "r")]
    query = "SELECT path, hdu, instrument, exptime, width, height, size FROM raw LIMIT 1"
    assert rows(repo, query) == [
        (str(frames[0]), 0, "SimCam", 60.0, 332, 400, frames[0].stat().st_size)
    ]


def test_ingesting_again_changes_nothing(repo, frames):
    everything = "SELECT * FROM raw ORDER BY visit, ccd"
    before = rows(repo, everything)
    assert main([str(repo), *map(str, frames)]) == 0
    assert rows(repo, everything) == before


def test_bad_files_are_named_with_their_reason_and_the_rest_goes_on(tmp_path, frames, pool, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "note.fits").write_text("no FITS")
    (bad / "short.fits").write_bytes(frames[1].read_bytes()[:50_000])
    (bad / "short.fits.gz").write_bytes(gzip.compress(frames[1].read_bytes())[:50_000])
    with fits.open(frames[2]) as units:
        del units[0].header["VISIT"]
        units.writeto(bad / "visitless.fits")
    with fits.open(frames[2]) as units:
        units[0].header["INSTRUME"] = "ACS"
        units.writeto(bad / "unknown.fits")
    with fits.open(frames[2]) as units:
        del units[0].header["CTYPE1"]
        units.writeto(bad / "lost.fits")
    with fits.open(frames[2]) as units:
        del units[0].header["BIASSEC2"]
        units.writeto(bad / "overscanless.fits")
    fits.PrimaryHDU().writeto(bad / "imageless.fits")
    files = [str(frames[0]), *sorted(map(str, bad.iterdir())), str(tmp_path / "none.fits")]
    assert main([str(tmp_path / "repo"), *files]) == 1
    said = capsys.readouterr().out
    for name, reason in {
        "note.fits": "is not FITS",
        "short.fits": "is truncated",
        "short.fits.gz": "is truncated",
        "visitless.fits": "lacks the visit: there is no VISIT (instrument SimCam)",
        "unknown.fits": "unknown instrument (INSTRUME = 'ACS'); known are DECam, Mosaic3, 90Prime,",
        "lost.fits": "lacks the keyword CTYPE1",
        "overscanless.fits": "lacks the keyword BIASSEC2",
        "imageless.fits": "holds no image",
        "none.fits": "does not exist",
    }.items():
        line = next(line for line in said.splitlines() if f"/{name}: " in line)
        assert reason in line
    assert rows(tmp_path / "repo") == [(100, 0, "g")]


def test_another_file_of_the_same_ccd_is_refused_until_the_first_is_gone(
    tmp_path, frames, pool, capsys
):
    repo, one, other = (tmp_path / name for name in ("repo", "one.fits", "other.fits"))
    shutil.copy(frames[0], one)
    shutil.copy(frames[0], other)
    assert main([str(repo), str(one)]) == 0
    assert main([str(repo), str(other)]) == 1
    assert f"visit=100 ccd=0 is in the registry already, from {one}" in capsys.readouterr().out
    one.unlink()
    assert main([str(repo), str(other)]) == 0
    assert rows(repo, "SELECT path FROM raw") == [(str(other),)]


def test_a_file_whose_header_was_corrected_moves_to_its_new_place(tmp_path, frames, pool):
    repo, path = tmp_path / "repo", tmp_path / "one.fits"
    shutil.copy(frames[0], path)
    main([str(repo), str(path)])
    fits.setval(path, "VISIT", value=555)
    assert main([str(repo), str(path)]) == 0
    assert rows(repo) == [(555, 0, "g")]


def test_masks_and_weights_are_skipped_and_every_extension_is_a_ccd(tmp_path, pool, capsys):
    primary = fits.PrimaryHDU()
    primary.header.update(INSTRUME="DECam", EXPNUM=12, FILTER="z DECam SDSS")
    units = [primary]
    for ccd in (3, 9):
        unit = fits.CompImageHDU(np.zeros((40, 50), np.float32), name=f"S{ccd}")
        unit.header.update(
            CCDNUM=ccd, CTYPE1="RA---TPV", CTYPE2="DEC--TPV", CRVAL1=1.0, CRVAL2=2.0, CRPIX1=0.0,
            CRPIX2=0.0, CD1_1=1e-4, CD2_2=1e-4,
        )  # fmt: skip
        units.append(unit)
    for part in ("ooi", "ood", "oow"):
        fits.HDUList(units).writeto(tmp_path / f"c4d_{part}_z.fits.fz")
    assert main([str(tmp_path / "repo"), str(tmp_path / "*.fz")]) == 0
    assert "3 files: 2 images ingested" in capsys.readouterr().out
    query = "SELECT visit, ccd, filter, width, height, hdu FROM raw ORDER BY ccd"
    assert rows(tmp_path / "repo", query) == [(12, 3, "z", 50, 40, 1), (12, 9, "z", 50, 40, 2)]


def test_a_truncated_companion_is_named(tmp_path, pool, capsys):
    path = tmp_path / "c4d_1_ood_r.fits"
    fits.PrimaryHDU(np.zeros((100, 100))).writeto(path)
    path.write_bytes(path.read_bytes()[:30_000])
    assert main([str(tmp_path / "repo"), str(path)]) == 1
    assert f"{path}: is truncated" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["missing/repo", "file"])
def test_a_repository_that_can_not_be_made_is_a_sentence_and_changes_nothing(
    tmp_path, frames, pool, capsys, where
):
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    assert main([str(tmp_path / where), str(frames[0])]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the repository")
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_registry_that_is_none_is_refused_and_left_alone(tmp_path, frames, pool, capsys):
    registry = tmp_path / "registry.sqlite"
    registry.write_text("something else" * 100)
    assert main([str(tmp_path), str(frames[0])]) == 2
    assert "registry.sqlite" in capsys.readouterr().err
    assert registry.read_text() == "something else" * 100


def test_nothing_is_made_if_no_file_can_be_used(tmp_path, pool):
    (tmp_path / "note.fits").write_text("no FITS")
    assert main([str(tmp_path / "repo"), str(tmp_path / "note.fits")]) == 1
    assert not (tmp_path / "repo").exists()


def test_words_are_paths_patterns_and_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a1.fits", "a2.fits", "b[1].fits"):
        (tmp_path / name).touch()
    (tmp_path / "list").write_text("a2.fits\n\n  b[1].fits \nnone.fits\n")
    found = expand(["a*.fits", "a1.fits", "@list"])
    names = ["a1.fits", "a2.fits", "b[1].fits", "none.fits"]
    assert found.paths == [str(tmp_path / name) for name in names]


def test_a_list_that_does_not_exist_is_a_sentence(tmp_path, pool, capsys):
    assert main([str(tmp_path / "repo"), f"@{tmp_path}/none"]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cards", "says"),
    [
        ({"VISIT": 2**70}, "has visit = 1180591620717411303424, which is not from 0 to"),
        ({"VISIT": -3}, "has visit = -3, which is not from 0 to"),
        ({"CCD": -1}, "has ccd = -1, which is not from 0 to"),
        ({"CCD": 1e300}, "has ccd = 1e+300, which is not from 0 to"),
        ({"VISIT": 1.5}, "has visit = 1.5, which is not a whole number"),
        ({"GAIN1": "abc"}, "has GAIN1 = 'abc', which is not a gain"),
        ({"GAIN2": 0.0}, "has GAIN2 = 0.0, which is not a gain"),
        ({"GAIN2": "inf"}, "has GAIN2 = 'inf', which is not a gain"),
        ({"CRVAL1": 721.0}, "has CRVAL1 = 721.0, which is not from -720 to 720"),
        ({"CRVAL2": 90.5}, "has CRVAL2 = 90.5, which is not from -90 to 90"),
        ({"CRVAL2": "12.0"}, "has CRVAL2 = '12.0', which is not a number"),
        ({"CRPIX1": "nan"}, "has CRPIX1 = 'nan', which is not a number"),
    ],
)
def test_a_header_with_an_impossible_value_refuses_that_file_alone(
    tmp_path, frames, pool, capsys, cards, says
):
    bad = tmp_path / "bad.fits"
    shutil.copy(frames[1], bad)
    for keyword, value in cards.items():
        fits.setval(bad, keyword, value=value)
    assert main([str(tmp_path / "repo"), str(bad), str(frames[0])]) == 1
    said = capsys.readouterr().out
    assert f"{bad}: {says}" in said
    assert rows(tmp_path / "repo") == [(100, 0, "g")]


def test_a_visit_beyond_the_doubles_is_exact(tmp_path, frames, pool):
    path = shutil.copy(frames[0], tmp_path / "one.fits")
    fits.setval(path, "VISIT", value=2**53 + 1)
    assert main([str(tmp_path / "repo"), str(path)]) == 0
    assert rows(tmp_path / "repo") == [(2**53 + 1, 0, "g")]


def test_the_gain_of_a_calibrated_frame_is_checked_too(tmp_path):
    primary = fits.PrimaryHDU(np.zeros((40, 50), np.float32))
    primary.header.update(
        INSTRUME="DECam", EXPNUM=12, CCDNUM=1, FILTER="z DECam SDSS", GAINA=4.0, GAINB=-4.0,
    )  # fmt: skip
    primary.writeto(tmp_path / "c4d_ooi_z.fits")
    scan = scan_file(str(tmp_path / "c4d_ooi_z.fits"))
    assert scan.problems == ("has GAINB = -4.0, which is not a gain: a number above 0",)


def test_a_size_larger_than_the_registry_can_hold_is_a_problem_of_that_file(tmp_path, frames):
    header = fits.getheader(frames[0])
    header["BITPIX"], header["NAXIS1"] = 0, 2**70
    path = tmp_path / "huge.fits"
    path.write_bytes(header.tostring().encode())
    assert scan_file(str(path)).problems == (f"says that it has {2**70} x 400 pixels",)


def test_two_cameras_with_the_same_visits_are_told_to_part(tmp_path, frames, pool, capsys):
    repo, other = tmp_path / "repo", tmp_path / "c4d_ooi.fits"
    assert main([str(repo), str(frames[0])]) == 0
    with fits.open(frames[0]) as units:
        units[0].header.update(INSTRUME="DECam", EXPNUM=100, CCDNUM=0)
        units.writeto(other)
    assert main([str(repo), str(other)]) == 1
    said = capsys.readouterr().out
    assert f"already, from {frames[0]} (HDU 0, SimCam): visits of SimCam and DECam" in said
    assert "use another repository" in said


def test_what_was_there_already_is_counted(tmp_path, frames, pool, capsys):
    repo = str(tmp_path / "repo")
    assert main([repo, str(frames[0])]) == 0
    assert main([repo, str(frames[0]), str(frames[1])]) == 0
    assert f"2 files: 1 images ingested into {repo}, 1 unchanged" in capsys.readouterr().out


def test_folders_are_skipped_and_patterns_without_a_file_are_named(
    tmp_path, survey_folder, frames, pool, capsys
):
    repo = str(tmp_path / "repo")
    assert (
        main([repo, str(survey_folder / "*")]) == 0
    )  # the folder with the calibration frames is among them
    assert "4 files: 4 images ingested" in (said := capsys.readouterr().out)
    assert "1 folder skipped" in said
    assert main([repo, str(tmp_path / "no*.fits"), str(frames[0])]) == 1
    assert f"{tmp_path}/no*.fits: no file fits this pattern" in capsys.readouterr().out
    assert main([repo, str(survey_folder)]) == 2
    assert f"{survey_folder} is a folder; name the files in it" in capsys.readouterr().err


def test_warnings_without_a_file_are_not_shown(tmp_path, frames):
    path = tmp_path / "odd.fits"
    content = frames[0].read_bytes().replace(b"OBJECT  = '", b"OBJECT  =x'", 1)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan_file(str(path)).problems == ()
