"""Sky frames: the pattern of the sky on each CCD which all exposures of a filter have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from drivers.frame_error import FrameError
from drivers.meshes import resample_mesh
from drivers.results import SkyMesh


@dataclass(frozen=True, slots=True)
class SkyFrame:
    """The pattern on a CCD.

    Attributes
    ----------
    mesh : array of float32, shape (rows, columns)
        Relative to the visit's mean sky, in the middle of each cell.
    cell : int
        Side of a cell [px].
    shape : (int, int)
        Rows and columns of the CCD [px].
    """

    mesh: NDArray[np.float32]
    cell: int
    shape: tuple[int, int]

    def on(self, sky: SkyMesh) -> NDArray[np.float32]:
        """Return it in the cells of a CCD's sky.

        Raises
        ------
        FrameError
            If the CCD is of another size.
        """
        if self.shape != sky.shape:
            raise FrameError(
                f"the sky frame is of a CCD of {self.shape[1]} x {self.shape[0]} pixels, "
                f"not {sky.shape[1]} x {sky.shape[0]}"
            )
        return resample_mesh(self.mesh, self.cell, self.shape, sky.cell)


def read_sky_frames(path: Path, units: Mapping[int, int]) -> dict[int, SkyFrame]:
    """Return the sky frames of some CCDs.

    Parameters
    ----------
    path : Path
        The file; it is opened once.
    units : Mapping of int to int
        Number of the header-data unit, by ccd.

    Raises
    ------
    FrameError
        If one can't be read.
    """
    try:
        with fits.open(path, memmap=False) as file:
            return {ccd: _sky_frame(file[unit]) for ccd, unit in units.items()}
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise FrameError(f"the sky frame {path} can't be used: {error}") from error


def _sky_frame(unit: fits.ImageHDU) -> SkyFrame:
    mesh = np.nan_to_num(np.asarray(unit.data, dtype=np.float32))
    cell, shape = int(unit.header["CELL"]), (int(unit.header["ROWS"]), int(unit.header["COLUMNS"]))
    if mesh.shape != (-(-shape[0] // cell), -(-shape[1] // cell)):
        raise ValueError(f"a mesh of {mesh.shape} is none of cells of {cell} pixels")
    return SkyFrame(mesh, cell, shape)
