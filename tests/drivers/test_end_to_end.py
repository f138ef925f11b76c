"""The console scripts' modules, run as a user runs them, without MPI."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from drivers import demo


def run(module, *words):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
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


@pytest.mark.long
def test_a_survey_is_ingested_processed_and_continued(tmp_path, frames):
    repo = tmp_path / "repo"
    done = run("drivers.ingest", repo, *frames)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "4 images ingested" in done.stdout
    process = ("drivers.single_frame", repo, "--rerun", "a")
    done = run(*process, "--id", "visit=100")
    assert done.returncode == 0, done.stderr
    assert counted(done) == {"singleFrame": (2, 2, 0, 0, 0)}
    shutil.rmtree(repo / "rerun" / "a" / "calexp" / "v0000100")
    assert counted(run(*process)) == {"singleFrame": (4, 4, 0, 0, 0)}
    assert counted(run(*process)) == {"singleFrame": (4, 4, 4, 0, 0)}
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        rows = connection.execute("SELECT visit, ccd, image FROM calexp ORDER BY 1, 2").fetchall()
    assert [row[:2] for row in rows] == [(100, 0), (100, 1), (101, 0), (101, 1)]
    assert all((repo / row[2]).is_file() for row in rows)
    wet = run(*process, "--config", "singleFrame.sky.cell=64")
    dry = run(*process, "--config", "singleFrame.sky.cell=64", "--dry-run")
    assert (wet.returncode, wet.stdout) == (dry.returncode, dry.stdout) == (2, "")
    assert dry.stderr == wet.stderr
    assert "singleFrame.sky.cell" in dry.stderr
    assert "Traceback" not in dry.stderr


def test_the_demo_on_real_frames_says_why_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--real"]) == 0
    assert "there are none in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "module",
    [
        "ingest", "survey", "single_frame", "reduce_frames", "mosaic", "sky_correction", "coadd",
        "multi_band", "forced_phot_ccd",
    ],
)  # fmt: skip
def test_help_explains_the_exit_codes(module):
    done = run(f"drivers.{module}", "--help")
    assert done.returncode == 0
    assert "exit code: 0 all" in done.stdout
    assert "130 stopped" in done.stdout
