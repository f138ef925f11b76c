"""A survey in which much is wrong: each thing is named, and the rest goes on.

The survey is tiny; the drivers run as users run them, from raw frames to forced photometry.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from drivers.exposure import bit
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey

pytestmark = pytest.mark.long

TIMEOUT = 600
SIZES = ["-c", "skyMap.patch_inner=1200", "skyMap.patch_border=20"]
SURVEY = Survey(
    visits=4, ccds=2, bands=("g",), height=384, width=384, stars=150, galaxies=5, seed=3, calibs=0,
    without=frozenset({"pointing", "bias", "dark", "flat", "fringe", "defects", "blends"}),
)  # fmt: skip


def driver(name, *words, timeout=TIMEOUT):
    """Run a driver as its console script does; return its exit code and what it said."""
    command = [sys.executable, "-m", f"drivers.{name}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return SimpleNamespace(code=done.returncode, said=done.stdout + done.stderr)


def rows(repo, query, *values):
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        return connection.execute(query, values).fetchall()


def change(path, pixels=None, **cards):
    """Write a frame anew with other pixels or cards."""
    with fits.open(path) as units:
        data, header = units[0].data, units[0].header.copy()
    if pixels is not None:
        data = pixels(data)
        for name in ("BSCALE", "BZERO"):
            del header[name]
    header.update(cards)
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)


def with_holes(data):
    """Return a frame with pixels that are not a number, and infinite ones."""
    holes = data.astype(np.float32)
    holes[40:50, 60:70], holes[50:60, 60:70], holes[60:70, 60:70] = np.nan, np.inf, -np.inf
    return holes


def without_stars(data):
    """Return the noise of the frame's sky."""
    noise = np.random.default_rng(1).normal(np.median(data), 20, data.shape)
    return noise.round().astype(np.uint16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The frames of a survey with nothing wrong."""
    folder = tmp_path_factory.mktemp("bad")
    make_survey(SURVEY, folder)
    return folder


@pytest.fixture(scope="module")
def ill(made, tmp_path_factory):
    """A survey with many ills, ingested and processed."""
    repo = tmp_path_factory.mktemp("ill") / "repo"
    shutil.copytree(made, repo)
    frame = {
        (v, c): repo / f"raw/sim-{v:06d}-{c:03d}.fits" for v in range(100, 104) for c in (0, 1)
    }
    shutil.copy(frame[100, 0], repo / "raw" / "sim-copy.fits")
    change(frame[101, 1], lambda data: np.full_like(data, 1000))
    change(frame[101, 0], with_holes)
    change(frame[102, 1], without_stars)
    change(frame[103, 0], FILTER="N921")
    change(frame[103, 1], lambda data: np.full_like(data, 65535), FILTER="N921")
    ingest = driver("ingest", repo, repo / "raw/*.fits", "--reference", repo / "reference.fits")
    whole = frame[100, 1].read_bytes()
    frame[100, 1].write_bytes(whole[: len(whole) // 2])
    survey = driver("survey", repo, "--rerun", "a", *SIZES)
    return SimpleNamespace(repo=repo, frame=frame, ingest=ingest, survey=survey, whole=whole)


def test_a_second_file_of_a_visit_and_ccd_is_named_at_ingest(ill):
    assert ill.ingest.code == 1
    assert "9 files: 8 images ingested" in ill.ingest.said
    assert "sim-copy.fits: visit=100 ccd=0 is in the registry already" in ill.ingest.said


def test_a_visit_with_a_dead_ccd_goes_on_without_it(ill):
    assert ill.survey.code == 1
    assert "failed (1)" in ill.survey.said
    says = "singleFrame visit=100 ccd=1: .*sim-000100-001.fits: has changed .* is truncated"
    assert re.search(says, ill.survey.said)
    done = {(visit, ccd) for visit in range(100, 104) for ccd in (0, 1)} - {(100, 1)}
    assert set(rows(ill.repo, "SELECT visit, ccd FROM calexp")) == done
    found = rows(ill.repo, "SELECT visit, n_ccds FROM visit ORDER BY visit")
    assert found == [(100, 1), (101, 2), (102, 2), (103, 2)]


@pytest.mark.parametrize(
    ("ccd", "note"),
    [
        ((101, 1), "too few to match"),  # a dead detector: the same value everywhere
        ((102, 1), "0 stars and"),  # without stars
        ((103, 1), "too few usable pixels to measure the sky"),  # saturated everywhere
        ((103, 0), "the reference has no magnitudes or colours for filter N921"),
    ],
)
def test_a_ccd_which_says_nothing_is_named_and_not_coadded(ill, ccd, note):
    query = "SELECT notes, zero_point FROM calexp WHERE visit = ? AND ccd = ?"
    ((notes, zero_point),) = rows(ill.repo, query, *ccd)
    assert note in notes
    assert zero_point is None


def test_a_frame_that_is_masked_everywhere_is_written_as_such(ill):
    ((good,),) = rows(ill.repo, "SELECT good_fraction FROM calexp WHERE visit = 103 AND ccd = 1")
    assert good == 0


def test_pixels_that_are_no_numbers_are_masked_and_the_others_used(ill):
    query = "SELECT image, zero_point FROM calexp WHERE visit = 101 AND ccd = 0"
    ((image, zero_point),) = rows(ill.repo, query)
    assert zero_point == pytest.approx(31.6, abs=0.3)
    with fits.open(ill.repo / image) as units:
        holes = units["MASK"].data[40:70, 60:70]
        assert (holes & bit("NO_DATA") != 0).all()
        for name in ("IMAGE", "VARIANCE"):
            assert np.isfinite(units[name].data).all()


def test_patches_with_one_input_or_none_are_made_of_what_there_is(ill):
    found = rows(ill.repo, "SELECT image, filter, n_visits, n_ccds FROM coadd ORDER BY patch")
    assert {band for _, band, *_ in found} == {"g"}
    assert any(ccds >= 2 for *_, ccds in found)
    for image, *_ in found:
        with fits.open(ill.repo / image) as units:
            data = units["IMAGE"].data
            assert np.isfinite(data).any()
    assert "coadd" in ill.survey.said


def copy_of(ill, folder):
    """Return a copy of the survey, of which the registry says that its frames are in the copy."""
    repo = folder / "repo"
    shutil.copytree(ill.repo, repo)
    (repo / "registry.sqlite").unlink()
    driver("ingest", repo, repo / "raw/sim-0*.fits")
    return repo


def test_a_frame_that_was_mended_is_made_by_the_same_command(ill, tmp_path):
    repo = copy_of(ill, tmp_path)
    mended = repo / "raw" / ill.frame[100, 1].name
    mended.write_bytes(ill.whole)
    assert driver("ingest", repo, mended).code == 0
    again = driver("survey", repo, "--rerun", "a", *SIZES, "--stages", "singleFrame")
    assert again.code == 0
    assert re.search(r"singleFrame +8 +8 +7 +0 +0", again.said), again.said


def test_a_product_truncated_behind_our_back_is_named_and_made_again(ill, tmp_path):
    repo = copy_of(ill, tmp_path)
    ((image,),) = rows(ill.repo, "SELECT image FROM calexp WHERE visit = 101 AND ccd = 0")
    (repo / image).write_bytes((repo / image).read_bytes()[:10_000])
    coadds = list(repo.glob("rerun/a/coadd/*/*/coadd-*.fits"))
    for coadd in coadds:
        coadd.unlink()
    # Who only uses it names it; who makes single frames makes it again.
    command = [repo, "--rerun", "a", *SIZES]
    damaged = driver("coadd", *command)
    assert damaged.code == 1
    assert re.search(r"calexp-0000101-000\.fits.*truncated", damaged.said), damaged.said
    mended = driver("survey", *command, "--stages", "..coadd")
    assert re.search(r"calexp-0000101-000\.fits is not as it was written", mended.said)
    assert re.search(r"coadd +\d+ +(\d+) +\d+ +0 ", mended.said), mended.said
    assert sorted(repo.glob("rerun/a/coadd/*/*/coadd-*.fits")) == sorted(coadds)
    with fits.open(repo / image) as units:
        assert units["IMAGE"].data.shape == (384, 384)


def test_a_rerun_of_another_configuration_is_refused(ill):
    before = (ill.repo / "rerun/a/run.db").read_bytes()
    words = [*SIZES, "singleFrame.psf.order=0"]
    other = driver("survey", ill.repo, "--rerun", "a", *words)
    assert other.code == 2
    assert "configuration" in other.said
    assert (ill.repo / "rerun/a/run.db").read_bytes() == before


def test_a_registry_of_another_version_is_refused_or_brought_up(ill, tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()
    shutil.copy(ill.repo / "registry.sqlite", repo)
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    newer = driver("survey", repo, "--rerun", "a", "--dry-run")
    assert newer.code == 2
    assert "was made by a newer version of the drivers" in newer.said


@pytest.mark.parametrize("centre", [(0.0, 0.0), (10.0, 89.99)], ids=["RA 0", "pole"])
def test_a_survey_across_ra_0_or_at_the_pole_is_made_like_any_other(tmp_path, centre):
    make_survey(replace(SURVEY, visits=2, ra=centre[0], dec=centre[1]), tmp_path)
    assert driver("ingest", tmp_path, tmp_path / "raw/*.fits").code == 0
    words = ["--reference", tmp_path / "reference.fits"]
    assert driver("ingest", tmp_path, *words).code == 0
    done = driver("survey", tmp_path, "--rerun", "a", *SIZES, "--stages", "..coadd")
    assert done.code == 0, done.said
    visits = rows(tmp_path, "SELECT max(n_visits) FROM coadd")[0][0]
    assert visits == 2, done.said


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_an_output_disk_that_fills_is_named(made, tmp_path, small_disk):
    repo = tmp_path / "repo"
    shutil.copytree(made, repo)
    (repo / "rerun").mkdir()
    (repo / "rerun" / "full").symlink_to(small_disk)
    assert driver("ingest", repo, repo / "raw/*.fits").code == 0
    done = driver("single_frame", repo, "--rerun", "full")
    assert done.code == 1, done.said
    assert "no space left on the disk of" in done.said
    assert "singleFrame              8" in done.said
