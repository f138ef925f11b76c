"""Which calibration frame is good for an exposure."""

from dataclasses import replace

import pytest

from drivers.registry import (
    Calib,
    RawFrame,
    add_calibs,
    find_calib,
    find_calibs,
    open_registry,
)

FRAME = RawFrame(1, 4, "g", "SimCam", 30.0, 60010.5, "", 3, 4, "/a", 0, 5, 1.5)
BIAS = Calib("bias", "SimCam", 4, "", 60000.0, 60020.0, "b.fits", 0, (1, 2), "calibs")
FLAT = Calib("flat", "SimCam", 4, "g", 60000.0, 60020.0, "f.fits", 1)


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "registry.sqlite", create=True) as connection:
        yield connection


def test_each_kind_is_looked_up_by_detector_filter_and_date(registry):
    others = [
        replace(BIAS, ccd=5), replace(BIAS, instrument="DECam"),
        replace(BIAS, valid_from=60011.0), replace(BIAS, valid_from=59000.0, valid_to=60010.5),
        replace(FLAT, filter="r"),
    ]  # fmt: skip
    assert add_calibs(registry, [*others, BIAS, FLAT]) == 7
    assert find_calibs(registry, FRAME) == {"bias": BIAS, "flat": FLAT}
    assert find_calibs(registry, replace(FRAME, ccd=9)) == {}


def test_the_validity_has_its_first_moment_and_not_its_last(registry):
    add_calibs(registry, [BIAS])
    assert find_calib(registry, "bias", replace(FRAME, mjd=60000.0)) == BIAS
    assert find_calib(registry, "bias", replace(FRAME, mjd=60020.0)) is None


def test_the_newest_counts_and_the_own_filter_before_any(registry):
    newer = replace(BIAS, valid_from=60005.0, path="newer.fits")
    add_calibs(registry, [newer, BIAS, replace(newer, filter="g", path="own.fits")])
    assert find_calib(registry, "bias", FRAME).path == "own.fits"
    assert find_calib(registry, "bias", replace(FRAME, filter="r")) == newer


def test_one_made_again_replaces_the_old_one(registry):
    add_calibs(registry, [BIAS])
    add_calibs(registry, [replace(BIAS, path="again.fits")])
    assert find_calib(registry, "bias", FRAME).path == "again.fits"
    assert registry.execute("SELECT count(*) FROM calib").fetchone() == (1,)


def test_a_frame_without_a_date_has_only_what_is_always_good(registry):
    always = replace(BIAS, valid_from=-1e9, valid_to=1e9, path="always.fits")
    add_calibs(registry, [BIAS, always])
    assert find_calib(registry, "bias", replace(FRAME, mjd=None)) == always
