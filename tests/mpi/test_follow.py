"""ingestDriver --follow on ranks: a signal ends it in order."""

import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey
from mpi.jobs import TIMEOUT

SURVEY = Survey(visits=1, ccds=3, height=96, width=128, stars=5, galaxies=1, seed=3, calibs=1)


def ingested(repo):
    registry = repo / "registry.sqlite"
    if not registry.exists():
        return []
    with closing(sqlite3.connect(registry)) as connection:
        return connection.execute("SELECT ccd FROM raw ORDER BY ccd").fetchall()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_night(mpi, tmp_path, number):
    make_survey(SURVEY, tmp_path / "made")
    frames = sorted((tmp_path / "made" / "raw").glob("sim-*.fits"))
    night, repo = tmp_path / "night", tmp_path / "repo"
    night.mkdir()
    command = [
        str(Path(mpi.python).parent / "ingestDriver"), str(repo), "--follow", str(night),
        "--cores", "2",
    ]  # fmt: skip
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=mpi.environment
    )
    try:
        for count, frame in enumerate(frames, start=1):
            shutil.copy(frame, night)
            end = time.monotonic() + TIMEOUT
            while len(ingested(repo)) < count and time.monotonic() < end:
                time.sleep(0.1)
        driver.send_signal(number)
        said, complained = driver.communicate(timeout=TIMEOUT)
    finally:
        driver.kill()
    assert ingested(repo) == [(0,), (1,), (2,)]
    assert "3 files: 3 images ingested" in said, said + complained
    assert driver.returncode == 0, said + complained
