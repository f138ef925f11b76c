"""What the stages pass on to one another: values that are small enough to travel with the tasks.

None of these holds a whole image but `Warp`, which stays on the rank where it was made until its
coadd asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Table = NDArray[Any]
"""A structured array; its fields are those of the type named beside it."""

REFERENCE = np.dtype(
    [
        ("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("pm_ra", "f4"), ("pm_dec", "f4"),
        ("epoch", "f8"), ("mag", "f4"), ("mag_err", "f4"), ("colour", "f4"),
    ]
)  # fmt: skip
"""A star of the reference catalogue.

Position [deg] at ``epoch`` [Julian year], proper motions [mas/yr; of right ascension times
cos(dec)], magnitude [AB] and colour in the system of the reference (NaN where unknown).
"""

STAR = np.dtype(
    [
        ("id", "i8"), ("x", "f8"), ("y", "f8"), ("position_err", "f4"),
        ("flux", "f8"), ("flux_err", "f4"), ("ra", "f8"), ("dec", "f8"),
        ("mag", "f4"), ("mag_err", "f4"), ("matched", "?"),
    ]
)  # fmt: skip
"""A star measured on a CCD: pixel position and its error [px], PSF flux [image units, corrected to
the whole flux]; where it is matched, the reference's id, position [deg] at the epoch of the
exposure and magnitude [AB] in the exposure's filter; else id -1, and the position measured."""


@dataclass(frozen=True, slots=True)
class Psf:
    """The point spread function of a CCD, varying over it.

    Attributes
    ----------
    coefficients : array of float32, shape (terms, size, size)
        Of a polynomial in u, v: 1, u, v, u*u, u*v, v*v … (1, 3 or 6 terms), where u and v are the
        position from -1 to 1 over the CCD. The sum over the pixels is, at any position, the
        part of a star's flux which they hold: so the linear fit of it gives a star's whole flux.
    shape : tuple of int
        Rows and columns of the CCD [px].
    """

    coefficients: NDArray[np.float32]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SkyMesh:
    """A coarse image of a CCD's sky.

    Attributes
    ----------
    subtracted : array of float32, shape (rows, columns)
        The sky which was subtracted, in the middle of each cell [image units].
    residual : array of float32, same shape
        Median of what is left in the cell outside of sources; NaN where nothing is usable.
    cell : int
        Side of a cell [px].
    shape : tuple of int
        Rows and columns of the CCD [px].
    """

    subtracted: NDArray[np.float32]
    residual: NDArray[np.float32]
    cell: int
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CcdResult:
    """What single-frame processing found out about a CCD.

    Attributes
    ----------
    row : dict
        What the registry's table `calexp` says of it, JSON values: visit, ccd, filter, wcs,
        corners, zero_point, seeing, …
    stars : structured array of `STAR`
        The stars of good quality, matched with the reference or not.
    psf : Psf or None
        None where there were too few stars.
    sky : SkyMesh
        Its sky.
    header : dict
        Cards of the world coordinates with which the frame came, on the pixels of the calibrated
        image: where a CCD is beside the others of its visit. Empty if they are not known.
    """

    row: dict[str, Any]
    stars: Table
    psf: Psf | None
    sky: SkyMesh
    header: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CcdSolution:
    """Where a CCD's pixels are on the sky, and what its fluxes mean.

    Attributes
    ----------
    wcs : dict
        Cards.
    zero_point : float
        AB magnitude of one image unit.
    """

    wcs: dict[str, Any]
    zero_point: float


@dataclass(frozen=True, slots=True)
class Solution:
    """Solutions of CCDs, by visit and ccd, and figures of their quality.

    Attributes
    ----------
    ccds : dict of (int, int) to CcdSolution
        By visit and ccd.
    figures : dict
        JSON values: numbers of stars, scatter [mas, mmag], …
    """

    ccds: dict[tuple[int, int], CcdSolution]
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SkyCorrection:
    """What has to be subtracted from the calibrated images of a visit, by ccd.

    The value at a pixel is interpolated between the middles of the cells (bicubic); restored sky,
    focal-plane model, sky frame and residual model are all in it.

    Attributes
    ----------
    meshes : dict of int to array of float32, shape (rows, columns)
        By ccd [image units].
    cell : int
        Side of a cell [px].
    """

    meshes: dict[int, NDArray[np.float32]]
    cell: int


@dataclass(frozen=True, slots=True)
class WarpInput:
    """A CCD that goes into a warp.

    Attributes
    ----------
    visit, ccd : int
        Its data ID.
    image : str
        Its calibrated image, below the repository.
    solution : CcdSolution
        The best that is known.
    sky : array of float32 or None, cell : int
        Its part of a `SkyCorrection`.
    psf : Psf or None
        Its point spread function.
    shape : (int, int)
        Rows and columns of the image [px].
    """

    visit: int
    ccd: int
    image: str
    solution: CcdSolution
    sky: NDArray[np.float32] | None
    cell: int
    psf: Psf | None
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PsfInput:
    """What a CCD brings to the point spread function of a coadd.

    Attributes
    ----------
    visit, ccd : int
        Its data ID.
    solution : CcdSolution
        Of the CCD.
    psf : Psf or None
        Of the CCD.
    weight : float
        Weight of its visit in the coadd.
    """

    visit: int
    ccd: int
    solution: CcdSolution
    psf: Psf | None
    weight: float


@dataclass(frozen=True, slots=True)
class PatchArea:
    """A patch of a tract: which pixels are its, and for which of them it answers.

    Attributes
    ----------
    tract : int, patch : (int, int)
        Its data ID: the tract, and column and row of the patch in it.
    wcs : dict
        Cards of the tract's pixels.
    x0, y0 : int
        The tract's pixel which is the patch's first.
    shape : (int, int)
        Rows and columns of the patch, with what it shares with its neighbours [px].
    inner : (int, int, int, int)
        x from, y from, x to, y to (not included) in the tract's pixels: sources here are the
        patch's own. These boxes tile the tract.
    inner_sky : (float, float, float, float) or None
        RA from, RA to (eastwards), declination from, to [deg]: sources here are the tract's own.
        None for the whole sky.
    """

    tract: int
    patch: tuple[int, int]
    wcs: dict[str, Any]
    x0: int
    y0: int
    shape: tuple[int, int]
    inner: tuple[int, int, int, int]
    inner_sky: tuple[float, float, float, float] | None = None

    @property
    def patch_wcs(self) -> dict[str, Any]:
        """Cards of the patch's own pixels."""
        moved = {"CRPIX1": self.wcs["CRPIX1"] - self.x0, "CRPIX2": self.wcs["CRPIX2"] - self.y0}
        return {**self.wcs, **moved}

    def __str__(self) -> str:
        return f"tract {self.tract} patch {self.patch[0]},{self.patch[1]}"


@dataclass(frozen=True, slots=True)
class Warp:
    """A visit, resampled to the pixels of a patch.

    Attributes
    ----------
    image, variance : array of float32, mask : array of int32, shape (rows, columns)
        The part of the patch that the visit covers [nJy, nJy**2]; NO_DATA elsewhere.
    x0, y0 : int
        Where this part begins in the patch.
    inputs : tuple of PsfInput
        The CCDs in it.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    x0: int
    y0: int
    inputs: tuple[PsfInput, ...]


@dataclass(frozen=True, slots=True)
class Coadd:
    """What there is to know of a coadd beside its pixels.

    Attributes
    ----------
    row : dict
        What the registry says of it, JSON values: tract, patch, filter, image (below the
        repository), n_visits, n_ccds, …
    inputs : tuple of PsfInput
        The CCDs in it.
    """

    row: dict[str, Any]
    inputs: tuple[PsfInput, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a patch in one band.

    Attributes
    ----------
    row : dict
        JSON values; ``n_skipped`` and ``largest_skipped`` [px]: footprints too large to deblend.
    sources : structured array
        The catalogue which was written (`drivers.blends.catalog`).
    """

    row: dict[str, Any]
    sources: Table


REFERENCE_SOURCE = np.dtype(
    [
        ("id", "i8"), ("parent", "i8"), ("x", "f8"), ("y", "f8"), ("ra", "f8"), ("dec", "f8"),
        ("a", "f4"), ("b", "f4"), ("theta", "f4"), ("kron_radius", "f4"), ("primary", "?"),
    ]
)  # fmt: skip
"""Where a source is measured in all bands: its id and its parent's (0 if it has none), pixel of the
patch, position [deg], ellipse [px, px, rad] and Kron radius [of the ellipse], and whether this
patch is the one that answers for it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The sources of a patch as they are measured in all bands.

    Attributes
    ----------
    row : dict
        JSON values.
    sources : structured array of `REFERENCE_SOURCE`
        By id.
    """

    row: dict[str, Any]
    sources: Table
