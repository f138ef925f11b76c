"""Known defects, given as points and boxes, are masked."""

import numpy as np
import pytest
from astropy.io import fits

from drivers.defects import mask_defects
from drivers.exposure import Exposure
from drivers.frame_error import FrameError


def exposure():
    zeros = np.zeros((20, 30), np.float32)
    return Exposure(zeros, np.zeros((20, 30), np.int32), zeros.copy(), {}, {}, "adu", None)


def write(path, rows):
    kind = [("X", "f8"), ("Y", "f8"), ("SHAPE", "S16"), ("R", "f8", (2,))]
    fits.BinTableHDU(np.array(rows, dtype=kind)).writeto(path)
    return path


def test_points_and_boxes_count_from_one_and_are_cut_at_the_edge(tmp_path):
    table = write(
        tmp_path / "d.fits",
        [(1, 1, "POINT", (1, 1)), (10, 5, "BOX", (3, 1)), (20, 10.5, "BOX", (1, 4)),
         (30, 20, "BOX", (3, 3))],
    )  # fmt: skip
    target = exposure()
    mask_defects(target, table)
    expected = np.zeros((20, 30), np.int32)
    expected[0, 0] = expected[4, 8:11] = expected[8:12, 19] = 1
    expected[18:20, 28:30] = 1
    np.testing.assert_array_equal(target.mask, expected)


def test_a_file_that_is_no_table_of_defects_is_an_error(tmp_path):
    (tmp_path / "d.fits").write_text("nothing")
    with pytest.raises(FrameError, match="can't be read"):
        mask_defects(exposure(), tmp_path / "d.fits")
