"""The CCDs of a visit are put where they are, in a small image and a picture."""

import struct
import zlib

import numpy as np
import pytest

from drivers.focal_plane_image import assemble, binned, plane_of, png, shades, tile_of
from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs, sky_corners, sky_positions

SHAPE = (64, 32)


def cards(x, y, turn=0.0):
    """A CCD with its middle at some pixels from the middle of the field, turned [deg]."""
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    scale = 1 / 3600
    one = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.0, "CRVAL2": 60.0}
    matrix = np.array([[-cosine, sine], [sine, cosine]]) * scale
    pixel = np.linalg.inv(matrix) @ (np.array([-x, y]) * scale)
    return {
        **one, "CRPIX1": 16.5 - pixel[0], "CRPIX2": 32.5 - pixel[1],
        "CD1_1": matrix[0, 0], "CD1_2": matrix[0, 1], "CD2_1": matrix[1, 0], "CD2_2": matrix[1, 1],
    }  # fmt: skip


def image_of(wcs):
    """An image whose pixels say how far north of the middle they are [arcsec]."""
    y, x = np.indices(SHAPE)
    _, dec = sky_positions(make_wcs(wcs), x.ravel(), y.ravel())
    return ((dec - 60) * 3600).reshape(SHAPE).astype(np.float32)


@pytest.mark.parametrize("turn", [0, 90, 180, 30])
def test_ccds_are_put_where_they_are_however_they_are_turned(turn):
    ccds = [cards(-40, 0, turn), cards(40, 25, 180)]
    plane = plane_of([sky_corners(make_wcs(wcs), SHAPE) for wcs in ccds], 2.0)
    tiles = [
        tile_of(binned(image_of(wcs), np.zeros(SHAPE, bool), 2), 2, wcs, plane) for wcs in ccds
    ]
    image = assemble(tiles, plane)
    rows, columns = np.indices(plane.shape)
    ra, dec = sky_positions(make_wcs(plane.wcs), columns.ravel(), rows.ravel())
    north = ((dec - 60) * 3600).reshape(plane.shape)
    seen = np.isfinite(image)
    assert np.abs(image - north)[seen].max() < 2.1
    # As large as the two CCDs: in squares of 2 x 2 pixels.
    assert seen.sum() == pytest.approx(2 * 64 * 32 / 4, rel=0.1)
    east = ((ra + 180) % 360 - 180).reshape(plane.shape)
    assert (east[seen] > 0).any()
    assert np.all(np.diff(east, axis=1) < 0)


def test_an_image_of_ccds_all_over_the_sky_is_refused():
    far = {**cards(0, 0), "CRVAL2": 0.0}
    corners = [sky_corners(make_wcs(wcs), SHAPE) for wcs in (cards(0, 0), far)]
    with pytest.raises(FrameError, match="too far apart"):
        plane_of(corners, 0.5)


def test_bad_pixels_are_not_averaged_and_edges_fill_no_square():
    image = np.arange(5 * 7, dtype=np.float32).reshape(5, 7)
    unusable = np.zeros((5, 7), bool)
    unusable[0, 0] = True
    unusable[2:4, 2:4] = True
    small = binned(image, unusable, 2)
    assert small.shape == (2, 3)
    assert small[0, 0] == pytest.approx((1 + 7 + 8) / 3)
    assert np.isnan(small[1, 1])
    assert small[0, 1] == pytest.approx((2 + 3 + 9 + 10) / 4)


def test_the_picture_has_the_first_row_at_its_bottom_and_nothing_is_black():
    image = np.full((40, 30), 100.0, np.float32)
    image += np.random.default_rng(1).normal(0, 2, image.shape).astype(np.float32)
    image[2, 3] = 5000
    image[:, 20:] = np.nan
    grey = shades(image)
    assert grey[37, 3] == 255
    assert (grey[:, 20:] == 0).all()
    assert (grey[:, :20] > 0).all()
    assert grey[:, :20].std() > 10


def test_a_picture_of_nothing_is_black():
    assert not shades(np.full((3, 4), np.nan, np.float32)).any()


def test_the_png_is_read_as_it_was_written():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    data = png(grey)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            name + body
        )
        chunks[name], at = body, at + 12 + length
    assert struct.unpack(">II5B", chunks[b"IHDR"]) == (4, 3, 8, 0, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(3, 5)
    assert np.array_equal(lines[:, 1:], grey)
    assert not lines[:, 0].any()
