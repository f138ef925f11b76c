"""The cells of the sky meshes of all CCDs of a visit, and where they are in the focal plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.tangent_plane import project
from drivers.frame_error import FrameError
from drivers.meshes import cell_middles
from drivers.results import SkyMesh
from drivers.sky_position import make_wcs, sky_positions

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CcdSky:
    """The sky of a CCD.

    Attributes
    ----------
    ccd : int
        Its number.
    mesh : SkyMesh
        What was subtracted, and what is left.
    wcs : dict
        Cards which say where it is beside the others.
    pattern : array of float32, shape of the mesh, or None
        Its part of the sky frame.
    is_flat : bool
        Whether a flat has made its sky comparable with that of the other CCDs.
    """

    ccd: int
    mesh: SkyMesh
    wcs: Mapping[str, Any]
    pattern: NDArray[np.float32] | None = None
    is_flat: bool = True


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of all CCDs, one after the other.

    Attributes
    ----------
    ccd, row, column : array of int
        Which CCD's, and which cell of its mesh.
    east, north : array of float
        Place in the focal plane, from the middle of the visit [arcmin].
    subtracted, residual : array of float
        The sky that was subtracted, and what was left [image units]; NaN where that is not known.
    pattern : array of float, or None
        The sky frame; None without one. 0 on CCDs which have none.
    is_flat : array of bool
        Whether the CCD's sky is comparable with that of the others.
    """

    ccd: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    east: Floats
    north: Floats
    subtracted: Floats
    residual: Floats
    pattern: Floats | None
    is_flat: Flags


def gather_cells(skies: Sequence[CcdSky]) -> Cells:
    """Return the cells of some CCDs, at least one.

    Raises
    ------
    FrameError
        If the world coordinates of one are not usable, or the CCDs are all over the sky.
    """
    shapes = [sky.mesh.subtracted.shape for sky in skies]
    indices = [np.indices(shape).reshape(2, -1) for shape in shapes]
    places = [_places(sky) for sky in skies]
    east, north = _focal_plane(places)
    sizes = [index.shape[1] for index in indices]
    patterns = [
        np.zeros(shape) if sky.pattern is None else sky.pattern
        for sky, shape in zip(skies, shapes, strict=True)
    ]
    return Cells(
        ccd=np.repeat([sky.ccd for sky in skies], sizes),
        row=np.concatenate([index[0] for index in indices]),
        column=np.concatenate([index[1] for index in indices]),
        east=east,
        north=north,
        subtracted=_flat([sky.mesh.subtracted for sky in skies]),
        residual=_flat([sky.mesh.residual for sky in skies]),
        pattern=None if all(sky.pattern is None for sky in skies) else _flat(patterns),
        is_flat=np.repeat([sky.is_flat for sky in skies], sizes),
    )


def as_meshes(
    cells: Cells, values: Floats, shapes: Mapping[int, tuple[int, ...]]
) -> dict[int, NDArray[np.float32]]:
    """Return values of cells as meshes of these shapes, by ccd."""
    return {
        ccd: values[cells.ccd == ccd].reshape(shape).astype(np.float32)
        for ccd, shape in shapes.items()
    }


def _places(sky: CcdSky) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of the middles of the cells."""
    rows = cell_middles(sky.mesh.cell, sky.mesh.shape[0])
    columns = cell_middles(sky.mesh.cell, sky.mesh.shape[1])
    x, y = np.meshgrid(columns, rows)
    return sky_positions(make_wcs(sky.wcs), x.ravel(), y.ravel())


def _focal_plane(places: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return places in the plane which touches the sky in the middle of the visit [arcmin]."""
    ra = np.radians(np.concatenate([place[0] for place in places]))
    dec = np.radians(np.concatenate([place[1] for place in places]))
    x, y, z = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    x, y, z = float(x.mean()), float(y.mean()), float(z.mean())
    middle = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    east, north = project(np.degrees(ra), np.degrees(dec), (float(middle[0]), float(middle[1])))
    if not (np.isfinite(east).all() and np.isfinite(north).all()):
        raise FrameError("its CCDs are not beside one another on the sky")
    return east * 60, north * 60


def _flat(meshes: Sequence[NDArray[Any]]) -> Floats:
    return np.concatenate([np.ravel(mesh) for mesh in meshes]).astype(np.float64)
