"""What `ingestDriver` does with the files: modes, chunks, roles, the reference catalogue."""

import gc
import json
import os
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from drivers import header_scan
from drivers.header_scan import Scan, scan_file
from drivers.ingest import main
from drivers.intake import CHUNK, Intake, known_files
from drivers.placing import Placement, let_go, place_file
from drivers.product import ProductError
from drivers.reference import Reference, open_reference
from drivers.registry import RawFrame, open_registry, overlapping_frames
from drivers.repository import Repository
from drivers.sky_polygon import polygon


def rows(repo, query):
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def raw(tmp_path, frames):
    """Copies of two frames, which a test may move."""
    folder = tmp_path / "night"
    folder.mkdir()
    return [Path(shutil.copy2(frame, folder)) for frame in frames[:2]]


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_files_are_brought_into_the_repository(tmp_path, raw, pool, mode):
    repo = tmp_path / "repo"
    before = [path.read_bytes() for path in raw]
    assert main([str(repo), "--mode", mode, *map(str, raw)]) == 0
    targets = [repo / "raw" / "v0000100" / path.name for path in raw]
    found = rows(repo, "SELECT path, source FROM raw ORDER BY ccd")
    assert found == [(str(t), str(p)) for t, p in zip(targets, raw, strict=True)]
    assert [target.read_bytes() for target in targets] == before
    assert [target.is_symlink() for target in targets] == [mode == "link"] * 2
    assert [path.exists() for path in raw] == [mode != "move"] * 2
    assert sorted(target.name for target in targets) == sorted(os.listdir(targets[0].parent))


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_bringing_again_changes_nothing_and_a_changed_file_is_brought_anew(
    tmp_path, raw, pool, capsys, mode
):
    repo = tmp_path / "repo"
    command = [str(repo), "--mode", mode, *map(str, raw)]
    assert main(command) == 0
    assert main(command) == 0
    assert "2 files: 0 images ingested into" in (said := capsys.readouterr().out)
    assert "2 unchanged" in said
    fits.setval(raw[0], "OBJECT", value="another")
    assert main(command) == 0
    assert rows(repo, "SELECT object FROM raw WHERE ccd = 0") == [("another",)]
    assert fits.getval(repo / "raw" / "v0000100" / raw[0].name, "OBJECT") == "another"


def test_by_default_files_stay_where_they_are(tmp_path, raw, pool):
    assert main([str(tmp_path / "repo"), *map(str, raw)]) == 0
    assert not (tmp_path / "repo" / "raw").exists()
    assert [path.exists() for path in raw] == [True, True]
    assert set(rows(tmp_path / "repo", "SELECT source FROM raw")) == {("",)}


def test_a_file_in_the_way_is_named_and_left_alone(tmp_path, raw, pool, capsys):
    repo = tmp_path / "repo"
    target = repo / "raw" / "v0000100" / raw[0].name
    target.parent.mkdir(parents=True)
    target.write_text("precious")
    assert main([str(repo), "--mode", "move", *map(str, raw)]) == 1
    said = capsys.readouterr().out
    assert f"{raw[0]}: can't be brought to {target}: another file stands there" in said
    assert target.read_text() == "precious"
    assert rows(repo, "SELECT ccd FROM raw") == [(1,)]
    assert [path.exists() for path in raw] == [True, False]


def test_a_refused_file_is_not_moved(tmp_path, raw, pool, capsys):
    repo, other = tmp_path / "repo", tmp_path / "other.fits"
    shutil.copy2(raw[0], other)
    assert main([str(repo), str(other)]) == 0
    assert main([str(repo), "--mode", "move", *map(str, raw)]) == 1
    assert f"{raw[0]}: visit=100 ccd=0 is in the registry already, from {other}" in (
        capsys.readouterr().out
    )
    assert [path.exists() for path in raw] == [True, False]


def test_a_move_which_is_killed_before_the_registry_knows_loses_nothing(
    tmp_path, raw, pool, monkeypatch
):
    repo = tmp_path / "repo"
    command = [str(repo), "--mode", "move", *map(str, raw)]
    with monkeypatch.context() as patch:
        patch.setattr("drivers.registry.add_frames", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(command)
    assert [path.exists() for path in raw] == [True, True]
    assert main(command) == 0
    assert [path.exists() for path in raw] == [False, False]
    assert len(rows(repo, "SELECT 1 FROM raw")) == 2


def test_companions_come_along_and_a_shared_one_is_not_taken_away(tmp_path):
    night, repo = tmp_path / "night", tmp_path / "repo"
    night.mkdir()
    for name in ("image.fits", "mask.fits", "defects.fits"):
        (night / name).write_text(name)
    placement = Placement(
        str(night / "image.fits"), str(repo / "image.fits"), "move", False,
        ((str(night / "mask.fits"), True), (str(night / "defects.fits"), False)),
    )  # fmt: skip
    place_file(placement)
    let_go(placement)
    assert sorted(os.listdir(repo)) == ["defects.fits", "image.fits", "mask.fits"]
    assert os.listdir(night) == ["defects.fits"]
    assert all((repo / name).read_text() == name for name in os.listdir(repo))


def test_masks_of_an_image_are_found_by_its_camera(tmp_path, pool):
    primary = fits.PrimaryHDU(np.zeros((40, 50), np.float32))
    primary.header.update(
        INSTRUME="DECam", EXPNUM=12, CCDNUM=1, FILTER="z DECam SDSS", CTYPE1="RA---TAN",
        CTYPE2="DEC--TAN", CRVAL1=1.0, CRVAL2=2.0, CRPIX1=0.0, CRPIX2=0.0, CD1_1=1e-4, CD2_2=1e-4,
    )  # fmt: skip
    for part in ("ooi", "ood"):
        primary.writeto(tmp_path / f"c4d_{part}_z.fits")
    repo = tmp_path / "repo"
    assert main([str(repo), "--mode", "copy", str(tmp_path / "c4d_ooi_z.fits")]) == 0
    assert len(os.listdir(repo / "raw" / "v0000012")) == 2


def test_a_folder_which_can_not_be_made_is_a_sentence(tmp_path, raw):
    (tmp_path / "file").touch()
    placement = Placement(str(raw[0]), str(tmp_path / "file" / "a.fits"), "copy", False)
    with pytest.raises(ProductError, match="can't be brought to"):
        place_file(placement)


def test_known_files_are_not_read_again(tmp_path, raw, pool, capsys):
    repo = tmp_path / "repo"
    assert main([str(repo), str(raw[0])]) == 0
    assert main([str(repo), "--mode", "copy", str(raw[1])]) == 0
    assert known_files(repo / "registry.sqlite") >= set(map(str, raw))
    pool.calls.clear()
    assert main([str(repo), "--ignore-ingested", *map(str, raw)]) == 0
    assert pool.calls == []
    assert "2 files: 0 images ingested into" in (said := capsys.readouterr().out)
    assert "2 files known and not read" in said


def test_roles_and_kinds_of_frames_are_in_the_registry(tmp_path, frames, pool):
    bias = tmp_path / "bias.fits"
    with fits.open(frames[0]) as units:
        header = units[0].header
        header.update(IMAGETYP="BIAS", VISIT=7)
        for keyword in ("CTYPE1", "CRVAL1"):
            header.remove(keyword)
        units.writeto(bias)
    focus = shutil.copy(frames[1], tmp_path / "focus.fits")
    fits.setval(focus, "ROLE", value="focus")
    repo = tmp_path / "repo"
    assert main([str(repo), str(bias), str(focus)]) == 0
    found = rows(repo, "SELECT visit, filter, role, obstype, ra0 IS NULL FROM raw ORDER BY visit")
    assert found == [(7, "", "science", "bias", 1), (100, "g", "focus", "science", 0)]


def test_corners_are_those_of_the_assembled_detector(tmp_path, frames):
    path = shutil.copy(frames[0], tmp_path / "one.fits")
    for keyword, section in (("DATASEC1", "[11:150,1:400]"), ("DETSEC1", "[1:140,1:400]")):
        fits.setval(path, keyword, value=section)
    frame = scan_file(str(path)).frames[0]
    header = fits.getheader(path)
    assert header["DETSEC2"].split(",")[0].endswith(":300")
    # The first pixel of the detector is the 11th of the frame.
    x, y = np.array([-0.5, 299.5, 299.5, -0.5]) + 10, [-0.5, -0.5, 399.5, 399.5]
    expected = WCS(header).all_pix2world(x, y, 0)
    np.testing.assert_allclose(np.reshape(frame.corners, (4, 2)).T, expected, atol=1e-9)
    assert json.loads(frame.wcs)["CRPIX1"] == header["CRPIX1"] - 10


def test_world_coordinates_of_no_use_are_left_for_the_processing_to_name(tmp_path, frames):
    path = shutil.copy(frames[0], tmp_path / "odd.fits")
    fits.setval(path, "CTYPE1", value="RA---XYZ")
    frame = scan_file(str(path)).frames[0]
    assert frame.corners is None
    assert "RA---XYZ" in frame.wcs


class Faked:
    """A pool whose scans are made up: a thousand of them in a millisecond or so."""

    def __init__(self):
        self.longest = 0

    def map(self, function, items, *, errors, progress):
        assert function is header_scan.scan_file
        self.longest = max(self.longest, len(items))
        progress(len(items), 0, len(items))
        return [self.scan(path) for path in items]

    def scan(self, path):
        number = int(path.rpartition("/")[2])
        if number % 1000 == 999:
            return Scan(path, problems=("is truncated",))
        ra, dec = number % 3600 / 10, number // 3600 % 160 - 80
        corners = (ra, dec, ra + 0.1, dec, ra + 0.1, dec + 0.2, ra, dec + 0.2)
        frame = RawFrame(
            number // 100, number % 100, "g", "SimCam", 1.0, 1.0, "", 1, 1, path, 0, 1, 1.0,
            "science", "science", "", "", *map(float, corners),
        )  # fmt: skip
        return Scan(path, frames=(frame,))


def peak_of(tmp_path, count, name):
    """Return the peak of memory [bytes] while `count` files are taken in."""
    files = [f"/no/{number}" for number in range(count)]
    pool, seen = Faked(), []
    intake = Intake(Repository(tmp_path / name), "skip", pool)
    gc.collect()
    tracemalloc.start()
    intake.take(files, lambda *counts: seen.append(counts))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pool.longest == min(CHUNK, count)
    assert seen[-1] == (count, 0, count)
    assert intake.outcome.new + len(intake.outcome.problems) == count
    return peak


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    small, large = peak_of(tmp_path, 2 * CHUNK, "small"), peak_of(tmp_path, 6 * CHUNK, "large")
    assert large < 1.2 * small


@pytest.mark.long
def test_a_hundred_thousand_files_are_taken_in(tmp_path):
    files = [f"/no/{number}" for number in range(100_000)]
    intake = Intake(Repository(tmp_path / "repo"), "skip", Faked())
    intake.take(files, lambda *_: None)
    outcome = intake.outcome
    assert (outcome.files, outcome.new, len(outcome.problems)) == (100_000, 99_900, 100)
    with open_registry(tmp_path / "repo" / "registry.sqlite") as connection:
        region = polygon([[10, 11, 11, 10], [-70, -70, -69.9, -69.9]])
        assert 5 < len(overlapping_frames(connection, region)) < 50


def test_stars_are_taken_into_the_reference_catalogue(
    tmp_path, survey_folder, frames, pool, capsys
):
    repo, table = tmp_path / "repo", survey_folder.parent / "reference.fits"
    assert main([str(repo), str(frames[0]), "--reference", str(table)]) == 0
    assert "stars for the reference catalogue; magnitudes: ref_g, ref_r" in capsys.readouterr().out
    with open_reference(repo / "reference.sqlite") as connection:
        assert "ref_g" in Reference(connection).magnitudes
    # Alone too, and with columns described.
    columns = tmp_path / "columns.toml"
    columns.write_text("epoch = 2015.5\n[magnitudes.ref_g]\noffset = 0.1\n")
    command = [str(tmp_path / "other"), "--reference", str(table)]
    assert main([*command, "--reference-columns", str(columns)]) == 0
    with open_reference(tmp_path / "other" / "reference.sqlite") as connection:
        assert Reference(connection).magnitudes == ["ref_g"]
        assert connection.execute("SELECT DISTINCT epoch FROM star").fetchall() == [(2015.5,)]


def test_what_is_wrong_with_a_reference_is_a_sentence(tmp_path, frames, pool, capsys):
    repo = str(tmp_path / "repo")
    assert main([repo, "--reference", str(frames[0])]) == 1
    assert f"{frames[0]}: holds no table" in capsys.readouterr().out
    assert not (tmp_path / "repo").exists()
    columns = tmp_path / "columns.toml"
    columns.write_text("raa = 'RA'")
    command = [repo, "--reference", str(frames[0]), "--reference-columns", str(columns)]
    assert main(command) == 2
    assert "raa: there is no such field; there are id, ra" in capsys.readouterr().err
    assert main([repo]) == 2
    assert "name FILES to ingest" in capsys.readouterr().err


def test_some_hundred_files_of_several_detectors_are_taken_in_by_chunks(tmp_path, pool):
    folder = tmp_path / "night"
    folder.mkdir()
    for visit in range(150):
        primary = fits.PrimaryHDU()
        primary.header.update(INSTRUME="DECam", EXPNUM=visit, FILTER="r DECam SDSS")
        units = [primary]
        for ccd in (1, 2):
            unit = fits.ImageHDU(np.zeros((40, 50), np.int16))
            unit.header.update(
                CCDNUM=ccd, CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=visit / 10, CRVAL2=ccd,
                CRPIX1=25, CRPIX2=20, CD1_1=-1e-3, CD2_2=1e-3,
            )  # fmt: skip
            units.append(unit)
        fits.HDUList(units).writeto(folder / f"c4d_{visit:03}_ooi.fits")
    repository = Repository(tmp_path / "repo")
    files = sorted(map(str, folder.iterdir()))
    seen = []
    intake = Intake(repository, "link", pool())
    intake.take(files, lambda *counts: seen.append(counts), chunk=40)
    assert seen == [(40, 0, 150), (80, 0, 150), (120, 0, 150), (150, 0, 150)]
    assert (intake.outcome.new, intake.outcome.problems) == (300, [])
    with open_registry(repository.registry) as connection:
        region = polygon([[9.99, 10.01, 10.01, 9.99], [0.98, 0.98, 1.01, 1.01]])
        assert overlapping_frames(connection, region) == [(100, 1)]
    again = Intake(repository, "link", pool())
    again.take(files, lambda *counts: None, chunk=1000)
    assert (again.outcome.new, again.outcome.unchanged) == (0, 300)
