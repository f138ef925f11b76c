"""A file is checked at ingest: whether it is FITS, and whole."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from drivers.fits_layout import read_layout
from drivers.frame_error import FrameError


def write(path, *, compressed=False):
    data = np.arange(100 * 120, dtype=np.float32).reshape(100, 120)
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    units = [fits.PrimaryHDU(), kind(data, name="S1"), kind(data, name="S2")]
    fits.HDUList(units).writeto(path)
    return path


def write_gzip(path):
    plain = write(path.with_suffix(""))
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


WRITERS = {
    "a.fits": write,
    "a.fits.fz": lambda path: write(path, compressed=True),
    "a.fits.gz": write_gzip,
}


@pytest.fixture(params=WRITERS)
def whole(request, tmp_path):
    return WRITERS[request.param](tmp_path / request.param)


def test_the_images_of_a_whole_file_are_found(whole):
    units = read_layout(whole)
    assert [(unit.index, unit.shape) for unit in units] == [
        (0, ()),
        (1, (100, 120)),
        (2, (100, 120)),
    ]
    assert units[2].header["EXTNAME"] == "S2"


@pytest.mark.parametrize("part", [0.999, 0.8, 0.5, 0.1])
def test_a_file_cut_short_is_truncated_wherever_it_is_cut(whole, part):
    content = whole.read_bytes()
    # The padding behind the last data holds no pixel: cut before it.
    end = len(content) if whole.suffix == ".gz" else len(content) - 2880
    whole.write_bytes(content[: int(end * part)])
    with pytest.raises(FrameError, match="is truncated"):
        read_layout(whole)


def test_a_damaged_gzip_stream_is_noticed_by_its_checksum(tmp_path):
    path = write_gzip(tmp_path / "a.fits.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FrameError, match="is damaged"):
        read_layout(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello", "is not FITS"),
        (b"\x89PNG" + bytes(9000), "is not FITS"),
        (b"SIMPLE  =                    T" + b" " * 3000, "is truncated"),
        ((b"SIMPLE  =                    T".ljust(80) + b"END").ljust(2880), "how large"),
        ((b"SIMPLE  =                    T".ljust(80) + b"A\xff".ljust(80) + b"END").ljust(2880),
         "not legal"),
    ],
)  # fmt: skip
def test_what_is_not_fits_is_refused_with_a_reason(tmp_path, content, says):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=says):
        read_layout(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(FrameError, match="is not a file"):
        read_layout(tmp_path)
    with pytest.raises(FrameError, match="does not exist"):
        read_layout(tmp_path / "none.fits")
