"""One astrometric solution for all CCDs of a visit.

The headers say where the CCDs are beside one another. What has to be added to the positions which
they give is a polynomial over the focal plane, the same for all CCDs (pointing, rotation, scale,
distortion), and a small shift, rotation and change of scale of each CCD. A CCD without matched
stars gets the polynomial alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from drivers.astrometry.precise import precise_cards
from drivers.astrometry.tangent_plane import deproject, project
from drivers.sky_position import sky_positions
from drivers.visit_solution.legendre import legendre_terms, term_orders
from drivers.visit_solution.shared_fit import Expected, SharedFit, Values, fit_shared

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_MATCHES_FOR = {1: 6, 2: 20, 3: 40, 4: 80, 5: 120, 6: 200, 7: 300, 8: 450, 9: 600}
"""Matches of the visit that a polynomial of this order takes."""

_SIZE, _OWN = 1.0, 0.3
"""Expected corrections at first, of the higher orders and of a CCD [arcsec]."""

_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class CcdStars:
    """A CCD, where its header sees it, and its stars which are matched with the reference.

    Attributes
    ----------
    wcs : WCS
        The header's.
    shape : (int, int)
        Rows and columns [px].
    scale : float
        Side of a pixel [arcsec].
    x, y, error : array of float64, shape (n,)
        Pixels and their errors per axis [px].
    ra, dec : array of float64, shape (n,)
        Where the stars are at the epoch of the exposure [deg].
    """

    wcs: WCS
    shape: tuple[int, int]
    scale: float
    x: Floats
    y: Floats
    error: Floats
    ra: Floats
    dec: Floats


@dataclass(frozen=True, slots=True)
class FocalPlane:
    """The plane that touches the sky at the middle of a visit, and its CCDs as headers see them.

    Attributes
    ----------
    centre : (float, float)
        Where it touches the sky [deg].
    reach : float
        Distance of the outermost corner [arcsec].
    middles : array of complex128, shape (ccds,)
        Middles of the CCDs [arcsec].
    sizes : array of float64, shape (ccds,)
        Their half diagonals [arcsec].
    """

    centre: tuple[float, float]
    reach: float
    middles: Complexes
    sizes: Floats

    @classmethod
    def of(cls, ccds: Sequence[CcdStars]) -> FocalPlane:
        """Return the plane of some CCDs."""
        around = [_outline(ccd) for ccd in ccds]
        ra, dec = (np.array([place[axis][0] for place in around]) for axis in (0, 1))
        centre = _middle(ra, dec)
        places = np.array([plane_position(*place, centre) for place in around])
        sizes = np.abs(places[:, 1:] - places[:, :1]).max(axis=1)
        return cls(centre, float(np.abs(places).max()), places[:, 0], sizes)

    def seen(self, ccd: CcdStars, x: Floats, y: Floats) -> Complexes:
        """Return where the header sees pixels [arcsec]."""
        return plane_position(*sky_positions(ccd.wcs, x, y), self.centre)

    def shared(self, places: Complexes, order: int) -> Floats:
        """Return the terms of the polynomial over the plane."""
        return legendre_terms(places.real / self.reach, places.imag / self.reach, order)

    def own(self, places: Complexes, ccd: int) -> Complexes:
        """Return the terms of one CCD: a shift, and a rotation with a change of scale."""
        aside = (places - self.middles[ccd]) / self.sizes[ccd]
        return np.stack([np.ones_like(aside), aside], axis=-1)


def plane_position(ra: Floats, dec: Floats, centre: tuple[float, float]) -> Complexes:
    """Return positions on the plane that touches the sky at `centre` [arcsec]."""
    east, north = project(ra, dec, centre)
    return np.asarray(3600 * (east + 1j * north))


def _middle(ra: Floats, dec: Floats) -> tuple[float, float]:
    """Return the middle of positions, wherever on the sky [deg]."""
    along = np.cos(np.radians(dec))
    east, north = along * np.sin(np.radians(ra)), np.sin(np.radians(dec))
    x, y, z = (axis.mean() for axis in (along * np.cos(np.radians(ra)), east, north))
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def _outline(ccd: CcdStars) -> tuple[Floats, Floats]:
    """Return right ascensions and declinations of the middle and the corners."""
    rows, columns = ccd.shape
    x = np.array([0.5, 0, 1, 1, 0]) * (columns - 1)
    y = np.array([0.5, 0, 0, 1, 1]) * (rows - 1)
    return sky_positions(ccd.wcs, x, y)


@dataclass(frozen=True, slots=True)
class Positions:
    """The solution.

    Attributes
    ----------
    plane : FocalPlane
        Where it is made.
    order : int
        Of the polynomial.
    fit : SharedFit
        The fit [arcsec]; its values are the CCDs' stars, one CCD after the other.
    """

    plane: FocalPlane
    order: int
    fit: SharedFit

    def to_sky(self, ccd: CcdStars, index: int, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return where pixels of a CCD are [deg]."""
        seen = self.plane.seen(ccd, x, y)
        terms = self.plane.shared(seen, self.order), self.plane.own(seen, index)
        place = (seen + self.fit.at(*terms, index)) / 3600
        return deproject(place.real, place.imag, self.plane.centre)

    def cards(self, ccd: CcdStars, index: int) -> dict[str, Any]:
        """Return the world coordinates of a CCD."""
        return precise_cards(lambda x, y: self.to_sky(ccd, index, x, y), ccd.shape)


def solve_positions(
    ccds: Sequence[CcdStars], *, order: int, floor: float, clip: float
) -> Positions | None:
    """Return the solution of a visit; None if too few stars are matched.

    Parameters
    ----------
    ccds : sequence of CcdStars
        Its CCDs.
    order : int
        Highest order of the polynomial.
    floor : float
        Error of a position besides its noise [mas].
    clip : float
        Standard deviations beyond which a star is not used.
    """
    matches = sum(len(ccd.x) for ccd in ccds)
    order = max(
        (n for n, least in _MATCHES_FOR.items() if n <= order and matches >= least), default=0
    )
    if not order:
        return None
    plane = FocalPlane.of(ccds)
    seen = [plane.seen(ccd, ccd.x, ccd.y) for ccd in ccds]
    true = [plane_position(ccd.ra, ccd.dec, plane.centre) for ccd in ccds]
    every = np.concatenate(seen)
    values = Values(
        value=np.concatenate(true) - every,
        error=np.concatenate([np.hypot(ccd.error * ccd.scale, floor / 1000) for ccd in ccds]),
        group=np.repeat(np.arange(len(ccds)), [len(ccd.x) for ccd in ccds]),
        shared=plane.shared(every, order),
        own=np.concatenate([plane.own(places, index) for index, places in enumerate(seen)]),
    )
    levels = np.maximum(term_orders(order) - 1, 0)
    expected = Expected(levels, _SIZE, np.full(2, _OWN), _LEAST)
    return Positions(plane, order, fit_shared(values, len(ccds), expected, clip))
