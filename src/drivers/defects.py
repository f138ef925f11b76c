"""Masks a detector's known defects, given as a FITS region table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from drivers.exposure import Exposure
from drivers.frame_error import FrameError


def mask_defects(exposure: Exposure, path: Path) -> None:
    """Set the BAD plane where the table has a point or a box.

    Parameters
    ----------
    exposure : Exposure
        The assembled detector.
    path : Path
        Table with columns X, Y (centre of the shape, counted from 1), SHAPE and R (full widths).
    """
    try:
        with fits.open(path, memmap=False) as units:
            table = next(unit.data for unit in units if isinstance(unit, fits.BinTableHDU))
            boxes = [_box(row) for row in table]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise FrameError(f"can't be read ({error})") from error
    bad = np.zeros(exposure.image.shape, dtype=np.bool_)
    for rows, columns in boxes:
        bad[rows, columns] = True
    exposure.mark(bad, "BAD")


def _box(row: Any) -> tuple[slice, slice]:
    width, height = (1, 1) if row["SHAPE"].strip() == "POINT" else map(float, row["R"][:2])
    return _range(row["Y"], height), _range(row["X"], width)


def _range(centre: float, width: float) -> slice:
    first = int(np.ceil(centre - 1 - width / 2))
    return slice(max(0, first), max(0, int(np.ceil(first + width))))
