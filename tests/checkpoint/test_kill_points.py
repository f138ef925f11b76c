"""Ended at any write, and in the middle of any: nothing is lost, nothing is there twice."""

import os
import subprocess
import sys
import tempfile

import pytest

from checkpoint import disk


@pytest.fixture
def folder():
    """A folder in memory, if there is one: the harness needs no disk, only its calls."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield made


def points(folder, journal, *kinds, step=1):
    """Go through all points of these kinds; return which were the last."""
    arguments = [folder, journal, str(step), *map(str, kinds)]
    done = subprocess.run(
        [sys.executable, "-m", "checkpoint.kill_points", *arguments],
        env=disk.environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


# 8 batches of records, each of them a few writes and syncs; 6 results and 10 outputs.
MANY = 150
STEPS = [3, pytest.param(1, marks=pytest.mark.slow)]
"""Every third point in `make test`, all of them in `make soak`."""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("journal", ["rollback", "log"])
def test_a_run_that_is_ended_at_any_write_is_resumed_without_loss(folder, journal):
    assert min(points(folder, journal, disk.KILL)) > MANY


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("journal", ["rollback", "log"])
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_ended_within_a_write_is_resumed_without_loss(folder, journal, step):
    assert min(points(folder, journal, disk.TEAR, step=step)) > MANY


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("journal", ["rollback", "log"])
@pytest.mark.parametrize("step", STEPS)
def test_a_disk_that_fails_from_any_write_on_stops_the_run_with_a_sentence(folder, journal, step):
    assert min(points(folder, journal, disk.FAIL, step=step)) > MANY


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("journal", ["rollback", "log"])
@pytest.mark.parametrize("step", STEPS)
def test_any_single_write_that_fails_is_made_good_or_recorded_or_stops_the_run(
    folder, journal, step
):
    assert min(points(folder, journal, disk.FAIL_ONCE, step=step)) > MANY


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("journal", ["rollback", "log"])
@pytest.mark.parametrize("step", STEPS)
def test_when_the_power_fails_what_was_acknowledged_is_on_disk(folder, journal, step):
    """What was not synced is gone, or some of it: files' contents, and names in folders."""
    assert min(points(folder, journal, disk.NOTHING, step=step)) > MANY
