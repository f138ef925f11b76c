"""makeSurvey writes the same bytes on one rank, on several, and when it goes on after a stop."""

import subprocess
import sys
from pathlib import Path

from drivers.make_survey import parse
from drivers.simulator.writing import make_survey
from mpi.jobs import TIMEOUT

WORDS = [
    *("--visits", "3", "--ccds", "4", "--size", "128x96", "--stars", "20"),
    *("--galaxies", "10", "--calibs", "2", "--seed", "7"),
]
FILES = 3 * 4 + 4 * 2 * 4 + 4
"""Science, bias, dark and two flats, and the tables."""


def contents(repo):
    return {
        str(path.relative_to(repo)): path.read_bytes()
        for path in repo.rglob("*.fits")
        if path.is_file()
    }


def run(command, environment=None):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
    )


def test_the_number_of_ranks_makes_no_difference(mpi, tmp_path):
    driver = Path(mpi.python).parent / "makeSurvey"
    command = [mpi.mpiexec, "-n", "3", str(driver), str(tmp_path / "three"), *WORDS]
    done = run(command, mpi.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 frames of 3 visits x 4 CCDs" in done.stdout

    alone = [sys.executable, "-m", "drivers.make_survey", str(tmp_path / "one"), *WORDS]
    done = run(alone)
    assert done.returncode == 0, done.stdout + done.stderr
    one = contents(tmp_path / "one")
    assert len(one) == FILES
    assert contents(tmp_path / "three") == one

    make_survey(parse([str(tmp_path), *WORDS])[1], tmp_path / "none")
    assert contents(tmp_path / "none") == one

    gone = tmp_path / "one" / "raw" / "sim-000101-002.fits"
    gone.unlink()
    kept = tmp_path / "one" / "raw" / "sim-000101-001.fits"
    before = kept.stat().st_mtime_ns
    assert run(alone).returncode == 0
    assert contents(tmp_path / "one") == one
    assert kept.stat().st_mtime_ns == before

    other = run([*alone, "--stars", "21"])
    assert other.returncode == 2
    assert "stars" in other.stderr
    assert contents(tmp_path / "one") == one
