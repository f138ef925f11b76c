"""The stage singleFrame goes on with frames with nothing on them, with holes, or too small."""

import json

import numpy as np
import pytest
from astropy.io import fits

from drivers.configuration import SingleFrameConfig
from drivers.exposure import MASK_PLANES
from drivers.header_scan import scan_file
from drivers.stages.single_frame import SingleFrameJob, single_frame

WCS_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": -5.0,
    "CRPIX1": 20.0, "CRPIX2": 20.0, "CD1_1": -7e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7e-5,
}  # fmt: skip


def image_of(shape=(60, 80), level=100.0):
    return (level + np.random.default_rng(2).normal(0, 5, shape)).astype(np.float32)


def write_decam(folder, image, *, mask=None, weight=None, name="c4d_1_ooi_r_v1.fits", **cards):
    """Write a calibrated frame with as few keywords as it can have, and its companions."""
    primary = fits.PrimaryHDU()
    primary.header.update(INSTRUME="DECam", EXPNUM=7, FILTER="r DECam", GAINA=4.0, RDNOISEA=8.0)
    for part, data in (("ooi", image), ("ood", mask), ("oow", weight)):
        if data is not None:
            unit = fits.ImageHDU(data, name="N4")
            unit.header.update({**WCS_CARDS, "CCDNUM": 60, **cards})
            path = folder / name.replace("_ooi", f"_{part}")
            fits.HDUList([primary, unit]).writeto(path)
    return folder / name


def process(path, monkeypatch):
    """Process a frame as a task does; return its record and its files."""
    rows = {}
    monkeypatch.setattr("drivers.stages.single_frame.record", lambda **row: rows.update(row))
    scan = scan_file(str(path))
    assert scan.problems == ()
    out = path.parent / "out"
    single_frame(SingleFrameJob(scan.frames[0], str(out), "i.fits", "c.fits", SingleFrameConfig()))
    json.dumps(rows, allow_nan=False)
    with fits.open(out / "i.fits") as units, fits.open(out / "c.fits") as tables:
        parts = {unit.name: unit.data.copy() for unit in units[1:]}
        return rows, parts, tables["SOURCES"].data.copy()


def test_a_frame_without_mask_and_weight_gets_them_from_its_pixels(tmp_path, monkeypatch):
    image = image_of()
    image[5, 6] = 50_000
    row, parts, _ = process(write_decam(tmp_path, image, SATURATE=40_000.0), monkeypatch)
    assert row["notes"][:2] == [
        "no mask: its file is not there",
        "no weight: its file is not there",
    ]
    assert parts["MASK"][5, 6] & 2
    assert np.median(parts["VARIANCE"]) == pytest.approx(100 / 4 + (8 / 4) ** 2, rel=0.02)


def test_codes_of_the_mask_and_zero_weights_become_planes(tmp_path, monkeypatch):
    mask = np.zeros((60, 80), np.int32)
    mask[1, :6] = [1, 2, 3, 4, 5, 99]
    weight = np.full((60, 80), 0.04, np.float32)
    weight[2, 0] = 0
    row, parts, _ = process(
        write_decam(tmp_path, image_of(), mask=mask, weight=weight), monkeypatch
    )
    bad, saturated, ray, empty = 1, 2, 4, 8
    assert (parts["MASK"][1, :6] & 15).tolist() == [bad, empty, saturated, saturated, ray, bad]
    assert parts["MASK"][2, 0] & 15 == bad
    assert np.median(parts["VARIANCE"]) == pytest.approx(25)
    assert row["sky_noise"] == pytest.approx(5, rel=0.05)
    assert row["notes"] == [
        "no seeing: no source is bright, round, whole and unsaturated",
        "world coordinates of the header, and no zero point: there is no reference catalogue",
    ]


def test_a_truncated_mask_is_noted_and_done_without(tmp_path, monkeypatch):
    weight = np.full((60, 80), 0.04, np.float32)
    path = write_decam(tmp_path, image_of(), mask=np.ones((60, 80), np.int32), weight=weight)
    companion = tmp_path / "c4d_1_ood_r_v1.fits"
    companion.write_bytes(companion.read_bytes()[:8000])
    row, parts, _ = process(path, monkeypatch)
    assert row["notes"][0].startswith("no mask: its file is truncated: the data of HDU 1")
    assert (parts["MASK"] == 0).all()


def test_a_mask_of_another_size_is_noted(tmp_path, monkeypatch):
    path = write_decam(tmp_path, image_of(), mask=np.zeros((30, 30), np.int32))
    row, _, _ = process(path, monkeypatch)
    assert row["notes"][0] == "no mask: its file has 30 x 30 pixels, unlike the image"


def test_pixels_that_are_no_numbers_have_no_data(tmp_path, monkeypatch):
    image = image_of()
    image[10:20, 10:20] = np.nan
    image[30, 30] = np.inf
    row, parts, _ = process(write_decam(tmp_path, image), monkeypatch)
    assert np.isfinite(parts["IMAGE"]).all()
    assert np.isfinite(parts["VARIANCE"]).all()
    assert (parts["MASK"] & 8 != 0).sum() == 101
    assert row["sky_level"] == pytest.approx(100, abs=1)
    assert row["good_fraction"] == pytest.approx(1 - 101 / 4800)


@pytest.mark.parametrize(
    "image",
    [
        np.full((60, 80), np.nan, np.float32),
        np.zeros((60, 80), np.float32),
        image_of((3, 4)),
        image_of((1, 1)),
        image_of((41, 51)),
        np.full((60, 80), 1e30, np.float32),
        np.tile(np.float32([-1e6, 1e6]), (60, 40)),
    ],
    ids=["nan", "zero", "3x4", "1x1", "41x51", "huge", "stripes"],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_frame_with_nothing_on_it_is_processed(tmp_path, monkeypatch, image):
    row, parts, sources = process(write_decam(tmp_path, image), monkeypatch)
    assert row["seeing"] is None
    assert any(note.startswith("no seeing: ") for note in row["notes"])
    assert parts["IMAGE"].shape == image.shape
    assert len(sources) == row["n_sources"]


def test_a_frame_that_is_masked_all_over_is_processed(tmp_path, monkeypatch):
    path = write_decam(tmp_path, image_of(), mask=np.ones((60, 80), np.int32))
    row, _, sources = process(path, monkeypatch)
    assert (row["sky_level"], row["sky_noise"], len(sources)) == (None, None, 0)
    assert row["good_fraction"] == 0
    assert "too few usable pixels to measure the sky" in row["notes"]


def test_a_galaxy_that_fills_the_image_does_not_raise_the_noise(tmp_path, monkeypatch):
    y, x = np.mgrid[0:51, 0:41]
    image = image_of((51, 41)) + 400 * np.exp(-np.hypot(x - 20, y - 25) / 4).astype(np.float32)
    row, _, _ = process(write_decam(tmp_path, image), monkeypatch)
    assert row["sky_noise"] == pytest.approx(5, rel=0.25)
    assert row["sky_level"] == pytest.approx(100, abs=4)


def test_coordinates_that_can_not_be_inverted_are_the_tasks_error(tmp_path, monkeypatch):
    from drivers.frame_error import FrameError

    path = write_decam(tmp_path, image_of(), CD1_1=0.0, CD2_2=0.0)
    with pytest.raises(FrameError, match=r"c4d_1_ooi_r_v1\.fits: the world coordinates"):
        process(path, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_the_header_says_what_the_planes_are_and_where_the_image_lies(tmp_path, monkeypatch):
    process(write_decam(tmp_path, image_of()), monkeypatch)
    with fits.open(tmp_path / "out" / "i.fits") as units:
        planes = {
            keyword: units["MASK"].header[keyword]
            for keyword in units["MASK"].header
            if keyword.startswith("MP_")
        }
        assert planes == {f"MP_{plane}": place for plane, place in MASK_PLANES.items()}
        assert units[0].header["VISIT"] == 7
        assert units["IMAGE"].header["BUNIT"] == "adu"
        for name, value in WCS_CARDS.items():
            assert units["IMAGE"].header[name] == value


def test_the_same_frame_gives_the_same_bytes(tmp_path, frames, monkeypatch):
    monkeypatch.setattr("drivers.stages.single_frame.record", lambda **row: None)
    frame = scan_file(str(frames[0])).frames[0]
    for folder in ("a", "b"):
        single_frame(
            SingleFrameJob(frame, str(tmp_path / folder), "i.fits", "c.fits", SingleFrameConfig())
        )
    for name in ("i.fits", "c.fits"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
