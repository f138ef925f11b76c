"""Which files a survey opens, as the kernel sees it: none to select, each image once per task."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

SURVEY = ("--visits", "2", "--ccds", "2", "--bands", "g", "--size", "256x512", "--calibs", "1")
OPENED = re.compile(r'openat\([^"]*"([^"]*/(?:raw|rerun)/[^"]*\.fits)", ([A-Z_|]+).*\) = \d+')


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here")
def test_each_image_is_opened_once_by_each_task_that_uses_its_pixels(tmp_path):
    repo = tmp_path / "repo"
    run("make_survey", repo, *SURVEY)
    run("ingest", repo, *(repo / "raw").glob("sim-*.fits"), "--reference", repo / "reference.fits")
    assert not opened(tmp_path, "survey", repo, "--rerun", "a", "--dry-run")
    counts = opened(tmp_path, "survey", repo, "--rerun", "a")
    raw = {path: n for path, n in counts.items() if "/raw/" in path}
    assert set(raw.values()) == {1}
    assert len(raw) == 4
    # A coadd: by detection, measurement and forced photometry.
    coadds = {path: n for path, n in counts.items() if "/coadd-" in path}
    assert coadds
    assert max(coadds.values()) == 3
    # A calibrated image: by each warp that it is in, and by forced photometry.
    patches = len(coadds)
    calexps = {path: n for path, n in counts.items() if "/calexp-" in path}
    assert len(calexps) == 4
    assert all(2 <= n <= patches + 1 for n in calexps.values())


def run(module, *arguments):
    command = [sys.executable, "-m", f"drivers.{module}", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=150)


def opened(folder, module, *arguments):
    """Run a driver; return how often it and its tasks have opened which FITS files to read."""
    trace = folder / f"trace-{len(arguments)}"
    command = ["strace", "-f", "-qq", "-e", "trace=openat", "-o", trace, sys.executable, "-m"]
    command += [f"drivers.{module}", *arguments]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=150)
    found = (OPENED.search(line) for line in trace.read_text(errors="replace").splitlines())
    return Counter(match[1] for match in found if match and "O_RDONLY" in match[2])
