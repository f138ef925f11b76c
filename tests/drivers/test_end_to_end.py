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


@pytest.mark.long
def test_a_survey_is_ingested_processed_and_continued(tmp_path, frames):
    repo = tmp_path / "repo"
    done = run("drivers.ingest", repo, *frames)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "4 images ingested" in done.stdout
    done = run("drivers.single_frame", repo, "--rerun", "a", "--id", "visit=100")
    assert done.returncode == 0, done.stderr
    assert "2 CCDs: 2 done (0 of them before), 0 failed" in done.stdout
    shutil.rmtree(repo / "rerun" / "a" / "calexp" / "v0000100")
    done = run("drivers.single_frame", repo, "--rerun", "a")
    assert "4 CCDs: 4 done (0 of them before), 0 failed" in done.stdout, done.stdout + done.stderr
    done = run("drivers.single_frame", repo, "--rerun", "a")
    assert "4 CCDs: 4 done (4 of them before), 0 failed" in done.stdout
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        rows = connection.execute("SELECT visit, ccd, image FROM calexp ORDER BY 1, 2").fetchall()
    assert [row[:2] for row in rows] == [(100, 0), (100, 1), (101, 0), (101, 1)]
    assert all((repo / row[2]).is_file() for row in rows)
    done = run("drivers.single_frame", repo, "--rerun", "a", "--config", "detect_threshold=9")
    assert done.returncode == 2
    assert "detect_threshold" in done.stderr
    assert "Traceback" not in done.stderr
    words = ("--config", "detect_threshold=9", "apertures=2,4", "--dry-run")
    dry = run("drivers.single_frame", repo, "--rerun", "a", *words)
    wet = run("drivers.single_frame", repo, "--rerun", "a", *words[:-1])
    assert (dry.returncode, dry.stdout) == (2, "")
    assert dry.stderr == wet.stderr
    dry = run("drivers.single_frame", repo, "--rerun", "a", "--dry-run")
    assert "4 CCDs selected, 4 done already" in dry.stdout


def test_the_demo_on_real_frames_says_why_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--real"]) == 0
    assert "there are none in" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["drivers.ingest", "drivers.single_frame"])
def test_help_explains_the_exit_codes(module):
    done = run(module, "--help")
    assert done.returncode == 0
    assert "exit code: 0 all" in done.stdout
    assert "130 stopped" in done.stdout
