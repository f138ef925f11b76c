"""`surveyDriver` over a tiny survey: from raw frames to forced photometry, and again."""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from astropy.io import fits

from drivers.planning.stages import NAMES
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SURVEY = Survey(
    visits=4, ccds=2, bands=("g", "r"), height=512, width=256, stars=100, galaxies=20, seed=4,
    calibs=0, without=frozenset({"flat", "bias", "dark", "fringe"}),
)  # fmt: skip
"""Two visits in each of two bands; no calibration frames, and nothing that needs them."""
BEHIND = ("coadd", "detect", "mergeDetections", "measure", "mergeMeasurements", "forced",
          "forcedCcd")  # fmt: skip


def drive(module, *words, code=0):
    """Run a driver, and return what its summary says of each stage, and all that it has said."""
    done = subprocess.run(
        [sys.executable, "-m", f"drivers.{module}", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=400,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    names = ("tasks", "done", "before", "failed", "nothing")
    rows = [line.split() for line in done.stdout.splitlines()]
    counts = {
        row[0]: dict(zip(names, map(int, row[1:]), strict=True))
        for row in rows
        if row and row[0] in NAMES and len(row) == 6
    }
    return counts, said


def fresh(counts):
    """Return how many tasks of each stage were run now."""
    return {
        name: row["done"] - row["before"]
        for name, row in counts.items()
        if row["done"] > row["before"]
    }


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """The repository, with the whole survey made in rerun `a`; and what was said of that."""
    root = tmp_path_factory.mktemp("survey") / "repo"
    paths = make_survey(SURVEY, root)
    drive("ingest", root, *paths, "--reference", root / "reference.fits")
    return root, drive("survey", root, "--rerun", "a")


@pytest.fixture
def repo(survey):
    return survey[0]


def rows(repo, table, rerun):
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT * FROM {table} WHERE rerun = ?", (rerun,)).fetchall()


def test_everything_is_made_from_raw_frames_to_forced_photometry(survey):
    repo, (counts, _) = survey
    assert list(counts) == list(NAMES)
    assert counts["singleFrame"] == {"tasks": 8, "done": 8, "before": 0, "failed": 0, "nothing": 0}
    assert all(row["done"] > 0 and row["failed"] == 0 for row in counts.values())
    folder = repo / "rerun" / "a"
    with fits.open(next(folder.glob("coadd/*/*/ref-*.fits"))) as units:
        assert len(units[1].data) > 10
    assert len(list(folder.glob("coadd/*/*/forced-*.fits"))) == counts["forced"]["done"]
    assert len(rows(repo, "calexp", "a")) == 8
    assert len(rows(repo, "visit", "a")) == 4
    coadds = rows(repo, "coadd", "a")
    assert {row["filter"] for row in coadds} == {"g", "r"}
    assert len(coadds) == counts["coadd"]["done"]


def test_the_same_command_again_runs_nothing(survey):
    repo, (before, _) = survey
    counts, _ = drive("survey", repo, "--rerun", "a")
    assert fresh(counts) == {}
    assert {name: row["done"] for name, row in counts.items()} == {
        name: row["done"] for name, row in before.items()
    }


def test_a_dry_run_knows_what_is_done(survey):
    repo, (before, _) = survey
    _, said = drive("survey", repo, "--rerun", "a", "--dry-run")
    for name, row in before.items():
        assert re.search(rf"^{name} +\d+ +{row['done']} ", said, re.MULTILINE)
    changed = ("-c", "coadd.clip_sigma=4.5", "--clobber-config")
    _, said = drive("survey", repo, "--rerun", "a", "--dry-run", *changed)
    assert re.search(r"^mosaic +2 +2 ", said, re.MULTILINE)
    assert all(re.search(rf"^{name} +\d+ +0 ", said, re.MULTILINE) for name in BEHIND)
    # A child knows what its parent has done, and is not made by looking.
    _, said = drive("survey", repo, "--rerun", "a:looked", "--dry-run", *changed)
    assert re.search(r"^mosaic +2 +2 ", said, re.MULTILINE)
    assert all(re.search(rf"^{name} +\d+ +0 ", said, re.MULTILINE) for name in BEHIND)
    assert not (repo / "rerun" / "looked").exists()


def test_a_changed_number_makes_again_exactly_its_stage_and_what_is_behind(survey):
    repo, (before, _) = survey
    # A child goes on from its parent's results: nothing is copied, and nothing is run but this.
    words = (repo, "--rerun", "a:b", "-c", "coadd.clip_sigma=4.5")
    counts, said = drive("survey", *words)
    assert fresh({name: counts[name] for name in BEHIND}) == {
        name: before[name]["done"] for name in BEHIND
    }
    assert fresh(counts) == {name: before[name]["done"] for name in BEHIND}
    assert "singleFrame: 8 taken from another run or configuration" in said
    assert not (repo / "rerun" / "b" / "calexp").exists() or not list(
        (repo / "rerun" / "b").rglob("calexp-*.fits")
    )
    other = (*words[:-1], "coadd.clip_sigma=6")
    _, said = drive("survey", *other, code=2)
    assert "coadd.clip_sigma: 4.5 → 6.0" in said
    counts, _ = drive("survey", *other, "--clobber-config", "--stages", "coadd")
    assert fresh(counts) == {"coadd": before["coadd"]["done"]}
    # Back to the first number: its coadds' files were replaced, so they are made again.
    counts, _ = drive("survey", *words, "--clobber-config", "--stages", "coadd")
    assert fresh(counts) == {"coadd": before["coadd"]["done"]}


def test_a_product_that_is_gone_is_made_again_and_nothing_else(repo):
    lost = sorted((repo / "rerun" / "a").glob("coadd/*/*/meas-*.fits"))[0]
    content = lost.read_bytes()
    lost.unlink()
    counts, _ = drive("survey", repo, "--rerun", "a")
    assert fresh(counts) == {"measure": 1}
    assert lost.read_bytes() == content


def test_a_dead_ccd_is_named_the_rest_goes_on_and_it_is_completed(repo, tmp_path):
    frame = repo / "raw" / "sim-000100-001.fits"
    words = ("survey", repo, "--rerun", "dead", "--stages", "..exposure")
    shutil.move(frame, tmp_path / "away.fits")
    try:
        counts, said = drive(*words, code=1)
    finally:
        shutil.move(tmp_path / "away.fits", frame)
    assert f"singleFrame visit=100 ccd=1: {frame}: does not exist" in said
    assert (counts["singleFrame"]["done"], counts["singleFrame"]["failed"]) == (7, 1)
    assert counts["exposure"]["done"] == 4
    counts, _ = drive(*words)
    # The visit is solved again, with all of its CCDs.
    assert fresh(counts) == {"singleFrame": 1, "exposure": 1}


def test_single_drivers_go_on_from_what_others_have_done(repo):
    counts, _ = drive("single_frame", repo, "--rerun", "steps", "--id", "filter=g")
    assert {name: row["done"] for name, row in counts.items()} == {"singleFrame": 4}
    counts, _ = drive("mosaic", repo, "--rerun", "steps", "--id", "filter=g")
    assert fresh(counts) == {"exposure": 2, "mosaic": 1}
    assert counts["singleFrame"]["before"] == 4
    _, said = drive("coadd", repo, "--rerun", "bare", code=1)
    assert "single frames on it are not done: singleFrameDriver makes them" in said
    # Without any sky correction, and without the other filter.
    counts, _ = drive("coadd", repo, "--rerun", "steps")
    assert counts["coadd"]["done"] > 0
    assert {row["filter"] for row in rows(repo, "coadd", "steps")} == {"g"}
