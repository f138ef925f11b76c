"""Mosaic-3 and 90Prime as the Community Pipeline writes them: four detectors in a file, fpacked."""

import numpy as np
import pytest
from astropy.io import fits

from drivers.exposure import bit
from drivers.exposure_io import read_exposure
from drivers.header_scan import scan_file

WCS_CARDS = {
    "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 20.0,
    "CRPIX2": 15.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "PV1_0": 0.0, "PV1_1": 1.0, "PV2_0": 0.0,
    "PV2_1": 1.0,
}  # fmt: skip
MOSAIC3 = {
    "INSTRUME": "Mosaic3", "DTINSTRU": "mosaic3", "PROCTYPE": "InstCal", "EXPNUM": 90001,
    "FILTER": "zd DECam SDSS z", "EXPTIME": 80.0, "MJD-OBS": 57412.35,
}  # fmt: skip
NINETY_PRIME = {
    "INSTRUME": "90prime", "DTINSTRU": "90prime", "PROCTYPE": "InstCal", "FILTER": "bokr",
    "DTACQNAM": "/descache/bass/20160710/d7580.0144.fits", "EXPTIME": 80.0,
    "DATE-OBS": "2016-07-10T12:00:00.0",
}  # fmt: skip


def write(folder, name, cards, kinds=("ooi", "ood", "oow")):
    """Write image, mask and weight, and return the image's path."""
    rows, columns = np.mgrid[:30, :40]
    codes = np.zeros((30, 40), np.int16)
    codes[0, :9] = range(9)
    pixels = {
        "ooi": (50 + 0.01 * rows + 0.02 * columns).astype(np.float32), "ood": codes,
        "oow": np.full((30, 40), 4.0, np.float32),
    }  # fmt: skip
    products = {"ooi": "image", "ood": "dqmask", "oow": "wtmap"}
    for kind in kinds:
        primary = fits.PrimaryHDU()
        primary.header.update({**cards, "PRODTYPE": products[kind]})
        units = [primary]
        for ccd in (1, 2, 3, 4):
            unit = fits.CompImageHDU(pixels[kind], name=f"CCD{ccd}", quantize_level=1e4)
            unit.header.update(WCS_CARDS)
            units.append(unit)
        fits.HDUList(units).writeto(folder / f"{name.replace('ooi', kind)}.fits.fz")
    return folder / f"{name}.fits.fz"


@pytest.mark.parametrize(
    ("name", "cards", "expected"),
    [
        ("k4m_160125_082555_ooi_zd_v1", MOSAIC3, ("Mosaic3", 90001, "z", 57412.35)),
        ("ksb_160710_120000_ooi_r_v1", NINETY_PRIME, ("90Prime", 75800144, "r", 57579.5)),
    ],
)
def test_the_four_detectors_of_a_file_are_four_frames(tmp_path, name, cards, expected):
    scan = scan_file(str(write(tmp_path, name, cards)))
    assert scan.problems == ()
    found = [(frame.instrument, frame.visit, frame.filter, frame.mjd) for frame in scan.frames]
    assert found == [expected] * 4
    assert [frame.ccd for frame in scan.frames] == [1, 2, 3, 4]
    assert {(frame.width, frame.height, frame.obstype) for frame in scan.frames} == {
        (40, 30, "science")
    }


@pytest.mark.parametrize("blank", [{}, {"EXPNUM": ""}, {"EXPNUM": None}])
def test_a_mosaic3_frame_without_a_number_has_that_of_its_date(tmp_path, blank):
    cards = {key: value for key, value in MOSAIC3.items() if key != "EXPNUM"}
    cards |= {"OBSID": "kp4m.20160125T082555", **blank}
    frame = scan_file(str(write(tmp_path, "k4m_1_ooi_zd", cards, ["ooi"]))).frames[0]
    assert frame.visit == 160125082555


@pytest.mark.parametrize(
    ("taken", "visit"),
    [("d7390.0049.fits.fz", 73900049), ("/x/d7580.0144.fits", 75800144)],
)
def test_a_90prime_frame_has_the_number_of_the_name_it_was_taken_under(tmp_path, taken, visit):
    cards = {**NINETY_PRIME, "DTACQNAM": taken, "FILTER": "g"}
    frame = scan_file(str(write(tmp_path, "ksb_1_ooi_g", cards, ["ooi"]))).frames[0]
    assert (frame.visit, frame.filter) == (visit, "g")


def test_masks_and_weights_are_companions_also_by_their_product_type(tmp_path):
    image = write(tmp_path, "k4m_1_ooi_zd", MOSAIC3)
    others = [str(image).replace("ooi", kind) for kind in ("ood", "oow")]
    assert [scan_file(path).companion for path in others] == [True, True]
    renamed = image.with_name("mask.fits.fz")
    image.with_name("k4m_1_ood_zd.fits.fz").rename(renamed)
    assert "unknown instrument" in scan_file(str(renamed)).problems[0]


@pytest.mark.parametrize(
    ("name", "cards", "left_out"),
    [("k4m_1_ooi_zd", MOSAIC3, {7}), ("ksb_1_ooi_g", NINETY_PRIME, {7, 8})],
)
def test_electrons_per_second_and_their_weights_become_those_of_the_exposure(
    tmp_path, name, cards, left_out
):
    frame = scan_file(str(write(tmp_path, name, cards))).frames[2]
    exposure = read_exposure(frame, overscan_order=0)
    assert exposure.notes == []
    assert (exposure.unit, exposure.gain) == ("electron", 1.0)
    assert exposure.image[10, 10] == pytest.approx(50.3 * 80, rel=1e-3)
    assert exposure.variance[10, 10] == pytest.approx(80**2 / 4, rel=1e-3)
    meanings = {1: "BAD", 2: "NO_DATA", 3: "SAT", 4: "SAT", 5: "CR", 6: "BAD", 7: "CR", 8: "CR"}
    for code, plane in meanings.items():
        expected = 0 if code in left_out else bit(plane)
        assert exposure.mask[0, code] == expected
