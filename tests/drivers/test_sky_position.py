"""World coordinates survive the way from one header to the other."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs, pixel_scale, sky_corners, sky_positions, wcs_cards

TPV = {
    "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CRVAL1": 120.33, "CRVAL2": 5.15,
    "CRPIX1": -381.2, "CRPIX2": -9369.7, "CD1_1": -2.8e-8, "CD1_2": 7.29e-5, "CD2_1": -7.29e-5,
    "CD2_2": 1.1e-8, "PV1_0": -0.0021, "PV1_1": 1.0092, "PV1_2": -6e-4, "PV1_4": -0.0069,
    "PV2_0": 2.8e-4, "PV2_1": 1.0063, "PV2_2": -4e-4, "PV2_7": -0.0063, "RADESYS": "ICRS",
}  # fmt: skip


def header_of(cards):
    header = fits.Header()
    header.update(cards)
    return header


def test_the_cards_give_the_same_positions_as_the_header_they_come_from():
    header = header_of({**TPV, "CRVAL1A": 3.0, "FWHM": 4.0, "OBJECT": "x"})
    cards = wcs_cards(header)
    assert set(cards) == set(TPV)
    x, y = np.meshgrid(np.linspace(0, 2000, 5), np.linspace(0, 4000, 5))
    expected = WCS(header).all_pix2world(x, y, 0)
    np.testing.assert_allclose(sky_positions(make_wcs(cards), x, y), expected, atol=1e-12)
    back = make_wcs(cards).all_world2pix(*expected, 0)
    np.testing.assert_allclose(back, [x, y], atol=1e-3)


def test_the_distortion_counts():
    straight = {**TPV, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    straight = {key: value for key, value in straight.items() if not key.startswith("PV")}
    bent = sky_positions(make_wcs(TPV), 1000, 2000)
    assert np.hypot(*(np.array(bent) - sky_positions(make_wcs(straight), 1000, 2000))) > 1 / 3600


def test_trimming_moves_the_reference_pixel_and_not_the_sky():
    whole, trimmed = make_wcs(wcs_cards(TPV)), make_wcs(wcs_cards(TPV, x0=4, y0=7))
    np.testing.assert_allclose(
        sky_positions(trimmed, 10, 20), sky_positions(whole, 14, 27), atol=1e-12
    )


def test_corners_are_the_outer_ones_in_order_round_the_image():
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.0, "CRVAL2": 0.0, "CRPIX1": 1.0,
        "CRPIX2": 1.0, "CD1_1": -1e-3, "CD2_2": 1e-3, "CD1_2": 0.0, "CD2_1": 0.0,
    }  # fmt: skip
    corners = np.array(sky_corners(make_wcs(cards), (20, 10)))
    corners[:, 0] = (corners[:, 0] + 180) % 360 - 180
    half = 0.5e-3
    expected = [
        [half, -half],
        [half - 0.01, -half],
        [half - 0.01, 0.02 - half],
        [half, 0.02 - half],
    ]
    np.testing.assert_allclose(corners, expected, atol=1e-8)
    assert pixel_scale(make_wcs(cards), (20, 10)) == pytest.approx(3.6, rel=1e-5)


@pytest.mark.parametrize("ra", [0.0, 359.9999])
@pytest.mark.parametrize("dec", [0.0, 89.99, -89.99])
def test_the_scale_is_right_at_the_poles_and_where_right_ascension_begins(ra, dec):
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 50.0,
        "CRPIX2": 50.0, "CD1_1": -7e-5, "CD2_2": 7e-5, "CD1_2": 0.0, "CD2_1": 0.0,
    }  # fmt: skip
    assert pixel_scale(make_wcs(cards), (100, 100)) == pytest.approx(0.252, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"CD1_2": 0.0, "CD2_1": 0.0, "CD1_1": 0.0, "CD2_2": 0.0}, {"CTYPE1": "WAVE", "CTYPE2": "X"}],
)
def test_coordinates_that_are_none_are_refused(changes):
    with pytest.raises(FrameError, match="the world coordinates"):
        make_wcs({**TPV, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"CD1_2": 0.0, "CD2_1": 0.0, "CD1_1": 0.0, "CD2_2": 0.0},
            "Linear transformation matrix is singular; PCi_ja matrix is singular",
        ),
        ({"CTYPE1": "RA---XYZ"}, "Unrecognized projection code (XYZ in CTYPE1)"),
    ],
)
def test_what_is_wrong_with_coordinates_is_one_line(changes, says):
    with pytest.raises(FrameError) as caught:
        make_wcs({**TPV, **changes})
    assert str(caught.value) == f"the world coordinates are not usable: {says}"
