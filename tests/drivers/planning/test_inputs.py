"""Which patches frames cover, by what the registry says of them."""

import pytest

from drivers.configuration.sky_map import SkyMapConfig
from drivers.planning.inputs import find_inputs
from drivers.registry import RawFrame
from drivers.sky_polygon import paired, polygon
from drivers.skymap import SkyMap

SKYMAP = SkyMap(SkyMapConfig())


def frame(visit, ccd, ra, dec, **other):
    half, placed = other.pop("half", 0.03), other.pop("placed", True)
    corners = [(ra - half, dec - half), (ra + half, dec - half),
               (ra + half, dec + half), (ra - half, dec + half)]  # fmt: skip
    where = {
        f"{axis}{index}": corner[place] if placed else None
        for index, corner in enumerate(corners)
        for place, axis in enumerate(("ra", "dec"))
    }
    return RawFrame(
        visit=visit, ccd=ccd, filter=other.pop("band", "g"), instrument="cam", exptime=30.0,
        mjd=60000.0, object="", width=2048, height=2048, path=f"/{visit}-{ccd}.fits", hdu=0,
        size=1, mtime=1.0, **where, **other,
    )  # fmt: skip


def test_a_patch_has_the_ccds_which_may_overlap_it_by_filter():
    frames = [frame(2, 0, 10.0, 0.0), frame(1, 0, 10.0, 0.0), frame(1, 1, 10.0, 0.0, band="r")]
    inputs = find_inputs(frames, SKYMAP)
    assert list(inputs.frames) == [(1, 0), (1, 1), (2, 0)]
    assert inputs.visits == {1: [(1, 0), (1, 1)], 2: [(2, 0)]}
    home = tuple(int(number) for number in SKYMAP.primary(10.0, 0.0))
    assert inputs.patches[home] == {"g": [(1, 0), (2, 0)], "r": [(1, 1)]}
    tracts = inputs.tracts()
    assert tracts[home[0], "g"] == [(1, 0), (2, 0)]


def test_every_covered_patch_is_found_and_no_other():
    ccd = frame(1, 0, 359.99, -0.02, half=0.2)
    inputs = find_inputs([ccd], SKYMAP, margin=0.0)
    region = polygon(paired(ccd.corners))
    wanted = {(p.tract.id, *p.index) for p in SKYMAP.patches_overlapping(region)}
    assert set(inputs.patches) == wanted


def test_the_margin_covers_an_error_of_the_pointing():
    without = set(find_inputs([frame(1, 0, 10.0, 0.0, half=0.001)], SKYMAP, 0.0).patches)
    within = set(find_inputs([frame(1, 0, 10.0, 0.0, half=0.001)], SKYMAP, 2000.0).patches)
    assert without < within


@pytest.mark.parametrize("lost", [{"placed": False}, {"role": "focus"}])
def test_frames_which_cover_nothing_are_processed_all_the_same(lost):
    inputs = find_inputs([frame(1, 0, 10.0, 0.0, **lost)], SKYMAP)
    assert list(inputs.frames) == [(1, 0)]
    assert not inputs.patches
    assert [str(one) for one in inputs.unplaced] == ([] if "role" in lost else ["visit=1 ccd=0"])
