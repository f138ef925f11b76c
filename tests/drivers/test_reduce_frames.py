"""Whole visits as tasks: what they leave is what single drivers go on from."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from astropy.io import fits

from drivers.sky_position import make_wcs, sky_positions


def run(module, *words):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def counted(done):
    """Return of each stage in a command's summary: tasks, done, before, failed, nothing."""
    lines = [line.split() for line in done.stdout.splitlines()]
    return {
        words[0]: tuple(map(int, words[1:]))
        for words in lines
        if len(words) == 6 and all(map(str.isdigit, words[1:]))
    }


@pytest.fixture
def repo(tmp_path, frames, survey_folder):
    """Two visits of two CCDs, of which the last one is damaged after it was ingested."""
    own = [shutil.copy2(frame, tmp_path / frame.name) for frame in frames]
    reference = survey_folder.parent / "reference.fits"
    words = [tmp_path / "repo", *own, "--reference", reference]
    done = run("drivers.ingest", *words)
    assert done.returncode == 0, done.stderr
    with open(own[-1], "r+b") as file:
        file.truncate(20_000)
    return tmp_path / "repo"


@pytest.mark.long
def test_a_visit_is_reduced_in_one_task(repo):
    done = run("drivers.reduce_frames", repo, "--rerun", "a")
    assert done.returncode == 1, done.stderr
    assert "singleFrame visit=101 ccd=1" in done.stdout
    assert counted(done) == {"exposure": (2, 2, 0, 0, 0)}
    folder = repo / "rerun" / "a" / "calexp" / "v0000100"
    with fits.open(folder / "exposure-0000100.fits") as units:
        solved = units["CCDS"].data["zero_point"]
    for ccd in (0, 1):
        header = fits.getheader(folder / f"calexp-0000100-{ccd:03d}.fits")
        assert header["WCSFROM"] == "exposure"
        assert header["MAGZERO"] == solved[ccd]
        image = fits.getheader(folder / f"calexp-0000100-{ccd:03d}.fits", "IMAGE")
        table = fits.getdata(folder / f"catalog-0000100-{ccd:03d}.fits", "SOURCES")
        ra, dec = sky_positions(make_wcs(image), table["x"], table["y"])
        assert abs(ra - table["ra"]).max() < 1e-9
        assert abs(dec - table["dec"]).max() < 1e-9
    with closing(sqlite3.connect(repo / "registry.sqlite")) as registry:
        rows = registry.execute(
            "SELECT visit, ccd, wcs_source FROM calexp ORDER BY 1, 2"
        ).fetchall()
        visits = registry.execute("SELECT visit, n_ccds, astrometry FROM visit").fetchall()
    assert rows == [(100, 0, "exposure"), (100, 1, "exposure"), (101, 0, "exposure")]
    assert visits == [(100, 2, "exposure"), (101, 1, "exposure")]
    again = run("drivers.reduce_frames", repo, "--rerun", "a")
    assert again.returncode == 1
    assert "singleFrame visit=101 ccd=1" in again.stdout
    assert counted(again) == {"exposure": (2, 2, 2, 0, 0)}
    # Those who want CCDs or visits find them done; the damaged CCD is tried again.
    later = run("drivers.survey", repo, "--rerun", "a", "--stages", "singleFrame,exposure")
    assert counted(later) == {"singleFrame": (4, 3, 3, 1, 0), "exposure": (2, 2, 1, 0, 0)}


def test_conditions_on_what_is_not_measured_yet_are_refused(repo):
    done = run("drivers.reduce_frames", repo, "--rerun", "a", "--where", "seeing < 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--where" in done.stderr
    assert not (repo / "rerun").exists()
