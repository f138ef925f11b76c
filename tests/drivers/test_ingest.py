"""`ingestDriver`: what is read, what is refused, what stands in the registry afterwards."""

import gzip
import shutil
import sqlite3

import numpy as np
import pytest
from astropy.io import fits

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
        (str(frames[0]), 0, "SimCam", 30.0, 332, 400, frames[0].stat().st_size)
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
        "unknown.fits": "unknown instrument (INSTRUME = 'ACS'); known are DECam, obs_test, SimCam",
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
