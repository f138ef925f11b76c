"""The options which select, over the tables of the registry."""

import argparse
from dataclasses import replace

import pytest

from drivers.data_id import DataIdError, condition, parse_selection
from drivers.registry import (
    SELECTABLE,
    RawFrame,
    add_frames,
    find_frames,
    find_products,
    open_registry,
    replace_products,
    selectable,
)
from drivers.selection import (
    add_selection,
    parse_patch,
    parse_patches,
    usable_detectors,
    wanted,
    wants,
)


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "registry.sqlite", create=True) as connection:
        yield connection


def calexp(visit, ccd, seeing, **row):
    return {
        "visit": visit, "ccd": ccd, "filter": "g", "instrument": "SimCam", "image": "i",
        "catalog": "c", "width": 3, "height": 4, "wcs": {}, "seeing": seeing, "n_sources": 60,
        **row,
    }  # fmt: skip


def keys(rows):
    return [(row["visit"], row["ccd"]) for row in rows]


def test_ids_and_where_are_joined(registry):
    replace_products(
        registry,
        "a",
        "calexp",
        [calexp(v, c, s) for v in (1, 2) for c in (0, 1) for s in [0.5 * v + c]],
    )
    parser = argparse.ArgumentParser()
    add_selection(parser, option="--selectId")
    options = parser.parse_args(
        ["--selectId", "visit=1", "--selectId", "visit=2", "ccd=0..5", "--where", "seeing < 1.2",
         "--where", "n_sources > 50 or ccd = 9"]
    )  # fmt: skip
    want = wanted(options.selectId, options.where, selectable("calexp"), "--selectId")
    assert keys(find_products(registry, "calexp", ["a"], *want.condition())) == [(1, 0), (2, 0)]
    everything = wanted([], [], selectable("calexp"))
    assert len(find_products(registry, "calexp", ["a"], *everything.condition())) == 4


def test_any_column_can_be_selected_by_and_the_option_is_named():
    assert {"visit", "role", "obstype", "width", "dec3"} <= set(SELECTABLE)
    assert {"zero_point", "n_matched", "notes"} <= set(selectable("calexp"))
    assert "wcs" not in selectable("calexp")
    with pytest.raises(DataIdError, match=r"--selectId 'sky=3': there is no 'sky'; there are reru"):
        wanted([["sky=3"]], [], selectable("calexp"), "--selectId")


def test_a_parent_shows_only_what_its_child_has_not(registry):
    replace_products(
        registry, "parent", "calexp", [calexp(1, 0, 0.6), calexp(2, 0, 0.6), calexp(3, 0, 2.0)]
    )
    replace_products(registry, "child", "calexp", [calexp(1, 0, 1.5)])
    want = wanted([], ["seeing < 1"], selectable("calexp"))
    found = find_products(registry, "calexp", ["child", "parent"], *want.condition())
    # Visit 1 is bad in the child: that of the parent does not come back.
    assert [(row["rerun"], row["visit"]) for row in found] == [("parent", 2)]


def test_coadds_come_in_the_order_of_their_data_id(registry):
    rows = [
        {"tract": t, "patch": p, "filter": "g", "n_skipped": 1}
        for t, p in ((2, "0,1"), (1, "3,3"), (2, "0,0"))
    ]
    replace_products(registry, "a", "coadd", rows)
    found = find_products(registry, "coadd", ["a"], "n_skipped > ?", [0])
    assert [(row["tract"], row["patch"]) for row in found] == [(1, "3,3"), (2, "0,0"), (2, "0,1")]


def test_dead_detectors_roles_and_calibration_frames_are_left_out(registry):
    base = RawFrame(1, 0, "g", "DECam", 1.0, 1.0, "", 3, 4, "/none", 0, 1, 1.0)
    frames = [
        replace(base, ccd=1), replace(base, ccd=61), replace(base, ccd=61, visit=2, instrument="X"),
        replace(base, ccd=2, role="focus"), replace(base, ccd=3, obstype="flat"),
    ]  # fmt: skip
    add_frames(registry, [replace(frame, path=f"/no/{n}") for n, frame in enumerate(frames)])

    def ccds(**options):
        return [frame.ccd for frame in find_frames(registry, *usable_detectors(**options))]

    assert ccds() == [1, 61]  # that of X is not DECam's
    assert ccds(roles=("science", "focus")) == [1, 2, 61]
    assert ccds(ignored={"DECam": ()}) == [1, 61, 61]
    assert ccds(ignored={"X": {61}, "DECam": {1}}) == [61]


def test_patches_are_selected_by_their_place():
    selections = [parse_patches(["tract=9..11", "patch=1,2^3,4"]), parse_patches(["filter=g"])]
    assert wants(selections, {"tract": 10, "patch": "3,4", "filter": "r"})
    assert not wants(selections, {"tract": 10, "patch": "3,5", "filter": "r"})
    assert wants(selections, {"tract": 1, "patch": "3,5", "filter": "g"})
    assert wants(selections[:1], {"tract": 10})
    assert wants([], {"tract": 10})
    assert parse_patch("12,0") == (12, 0)
    for text in ("1", "1,2,3", "1,-2", "a,b", "1, 2"):
        with pytest.raises(DataIdError, match="is not a patch: its column and row, such as 1,2"):
            parse_patches([f"patch={text}"])


def test_what_is_wanted_in_memory_is_what_is_selected_in_the_registry(registry):
    replace_products(
        registry, "a", "calexp", [calexp(v, c, 1.0) for v in range(12) for c in range(3)]
    )
    for words in (["visit=1^3..9:3", "ccd=1"], ["filter=g"], ["visit=20"], []):
        selection = parse_selection(words, selectable("calexp"))
        found = find_products(registry, "calexp", ["a"], *condition([selection]))
        rows = find_products(registry, "calexp", ["a"])
        assert keys(found) == keys(row for row in rows if wants([selection], row))
