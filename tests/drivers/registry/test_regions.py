"""Overlaps from the registry are those of all exact polygons, and no file is opened."""

import shutil
import subprocess
import sys
import timeit

import numpy as np
import pytest

from drivers.frame_error import FrameError
from drivers.registry import RawFrame, add_frames, open_registry, overlapping_frames
from drivers.registry.raw import RAW_COLUMNS
from drivers.sky_polygon import box_around, polygon, unit_vectors

PLACES = [(0.0, 0.3), (120.0, 89.95), (10.0, -90.0), (200.0, 60.0)]


def corners_around(ra, dec, count, seed, size=0.1, spread=1.0):
    """Squares of any angle [deg] around a place."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-spread, spread, (2, count))
    angle = np.radians([0, 90, 180, 270]) + random.uniform(0, 7, count)[:, None]
    x, y = np.radians([x[:, None] + size * np.cos(angle), y[:, None] + size * np.sin(angle)])
    a, d = np.radians([ra, dec])
    norm = np.cos(d) - y * np.sin(d)
    longitude = a + np.arctan2(x, norm)
    latitude = np.arctan2(np.sin(d) + y * np.cos(d), np.hypot(x, norm))
    return np.degrees([longitude, latitude]).transpose(1, 2, 0)


def frame(visit, corners):
    names = dict(zip(RAW_COLUMNS[-8:], np.ravel(corners).tolist(), strict=True))
    return RawFrame(visit, 0, "g", "", 1.0, 1.0, "", 1, 1, f"/no/{visit}", 0, 1, 1.0, **names)


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "registry.sqlite", create=True) as connection:
        yield connection


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize("margin", [0.0, 200.0])
def test_the_frames_of_a_region_are_those_of_all_which_overlap_it(registry, ra, dec, margin):
    corners = corners_around(ra, dec, 400, seed=1)
    add_frames(registry, [frame(visit, one) for visit, one in enumerate(corners)])
    region = polygon(corners_around(ra, dec, 1, seed=2, size=0.3, spread=0.2)[0].T)
    wide = polygon(corners_around(ra, dec, 1, seed=2, size=0.3, spread=0.2)[0].T, margin)
    expected = [(n, 0) for n, one in enumerate(corners) if polygon(one.T).intersects(wide)]
    found = overlapping_frames(registry, region, margin)
    assert set(expected) <= set(found)
    assert len(found) <= len(expected) + (margin > 0) * 3  # a margin may be a little wider
    assert 5 < len(found) < 100


def test_selecting_opens_no_file(registry):
    add_frames(registry, [frame(n, one) for n, one in enumerate(corners_around(0, 0, 50, 3))])
    opened = []
    listening = [True]
    sys.addaudithook(lambda event, args: listening and event == "open" and opened.append(args[0]))
    assert overlapping_frames(registry, polygon([[359, 1, 1, 359], [-1, -1, 1, 1]]))
    listening.clear()
    assert opened == []


def test_a_box_holds_the_bulge_of_an_edge():
    region = polygon([[0, 60, 60, 0], [50, 50, 70, 70]])
    low_x, high_x, low_y, high_y, low_z, high_z = box_around(region)
    # The great circle from 0, 70 to 60, 70 reaches farther north than its ends.
    assert high_z > np.sin(np.radians(70)) + 0.005
    vectors = unit_vectors([0, 60, 60, 0], [50, 50, 70, 70])
    assert (vectors >= np.array([low_x, low_y, low_z]) - 1e-9).all()
    assert (vectors <= np.array([high_x, high_y, high_z]) + 1e-9).all()


@pytest.mark.parametrize("corners", [[[1, 1, 1, 1], [2, 2, 2, 2]], [[1, 2, 3, 4], [0, 0, 0, 0]]])
def test_corners_which_enclose_nothing_are_no_region(registry, corners):
    with pytest.raises(FrameError, match="do not enclose"):
        polygon(corners)
    add_frames(registry, [frame(1, np.transpose(corners))])
    assert overlapping_frames(registry, polygon([[0, 5, 5, 0], [-3, -3, 3, 3]])) == []


def test_the_tree_is_asked_first(registry):
    add_frames(registry, [frame(n, one) for n, one in enumerate(corners_around(0, 0, 9, 3))])
    plans = []
    registry.set_trace_callback(plans.append)
    overlapping_frames(registry, polygon([[359, 1, 1, 359], [-1, -1, 1, 1]]))
    registry.set_trace_callback(None)
    query = next(plan for plan in plans if "raw_sky" in plan)
    steps = [row[3] for row in registry.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert "VIRTUAL TABLE INDEX" in steps[0]
    assert "INTEGER PRIMARY KEY" in steps[1]


def test_the_tree_spares_a_test_of_each_frame(registry):
    corners = corners_around(0, 0, 4000, seed=5, spread=6.0)
    add_frames(registry, [frame(visit, one) for visit, one in enumerate(corners)])
    region = polygon([[359.9, 0.1, 0.1, 359.9], [-0.1, -0.1, 0.1, 0.1]])
    positions = corners.transpose(0, 2, 1)

    def each():
        return [(n, 0) for n, one in enumerate(positions) if polygon(one).intersects(region)]

    assert overlapping_frames(registry, region) == each()
    by_tree = min(timeit.repeat(lambda: overlapping_frames(registry, region), number=1, repeat=5))
    by_each = min(timeit.repeat(each, number=1, repeat=2))
    assert by_each > 10 * by_tree


SELECT = """
import shutil
import subprocess
import sys
import timeit
from pathlib import Path
from drivers.reference import Reference, choose, open_reference
from drivers.configuration.reference import ReferenceConfig
from drivers.registry import find_calibs, find_frames, open_registry, overlapping_frames
from drivers.selection import usable_detectors, wanted
from drivers.registry import SELECTABLE
from drivers.sky_polygon import paired, polygon
from drivers.skymap import SkyMap, covered_patches

repo = Path(sys.argv[1])
with (
    open_registry(repo / "registry.sqlite") as registry,
    open_reference(repo / "reference.sqlite") as stars,
):
    want = wanted([["visit=100^101"]], ["exptime > 1 and filter is not null"], SELECTABLE)
    frames = find_frames(registry, *want.condition())
    assert find_frames(registry, *usable_detectors())
    covered = covered_patches(SkyMap(), [frame.corners for frame in frames])
    assert len(covered.tract)
    place = (int(covered.column[0]), int(covered.row[0]))
    patch = SkyMap().tract(int(covered.tract[0])).patch(place)
    assert overlapping_frames(registry, patch.polygon)
    catalogue = Reference(stars)
    for frame in frames:
        choice = choose(catalogue.magnitudes, ReferenceConfig(), frame.filter)
        assert len(catalogue.stars(polygon(paired(frame.corners)), choice, 60.0))
        find_calibs(registry, frame)
    if sys.argv[2:]:
        from astropy.io import fits
        fits.getheader(frames[0].path)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize("control", [(), ("open one",)])
def test_selecting_opens_no_fits_file(repo, survey_folder, tmp_path, control):
    from drivers.ingest import main

    assert main([str(repo), "--reference", str(survey_folder.parent / "reference.fits")]) == 0
    log = tmp_path / "log"
    command = ["strace", "-f", "-e", "trace=open,openat", "-o", str(log), sys.executable, "-c"]
    run = subprocess.run(
        [*command, SELECT, str(repo), *control], capture_output=True, text=True, timeout=120
    )
    if "PTRACE" in run.stderr or "ptrace" in run.stderr:
        pytest.skip(f"strace can't work here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    lines = log.read_text().splitlines()
    assert any("registry.sqlite" in line for line in lines)
    opened = [line for line in lines if ".fits" in line and "= -1" not in line]
    assert bool(opened) == bool(control), opened
