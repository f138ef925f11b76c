"""World coordinates: the cards of a header, and where pixels are on the sky."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from drivers.frame_error import FrameError

_CARD = re.compile(
    r"WCSAXES|CTYPE[12]|CUNIT[12]|CRVAL[12]|CRPIX[12]|CDELT[12]|CROTA[12]|CD[12]_[12]|PC[12]_[12]"
    r"|PV[12]_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX|(?:A|B|AP|BP)_(?:ORDER|DMAX|\d_\d)"
)

_PLACE_IN_C = re.compile(r"ERROR \d+ in \w+\(\) at line \d+ of file")


def wcs_cards(header: Mapping[str, Any], *, x0: int = 0, y0: int = 0) -> dict[str, Any]:
    """Return the cards of a header's (primary) world coordinates.

    Parameters
    ----------
    header : Mapping
        The frame's keywords.
    x0, y0 : int
        Column and row, counted from 0, of the header's frame which are the first ones now: the
        reference pixel moves with them.
    """
    cards = {
        keyword: value
        for keyword, value in header.items()
        if _CARD.fullmatch(keyword) and isinstance(value, (str, int, float))
    }
    for keyword, shift in (("CRPIX1", x0), ("CRPIX2", y0)):
        if keyword in cards:
            cards[keyword] = float(cards[keyword]) - shift
    return cards


def make_wcs(cards: Mapping[str, Any]) -> WCS:
    """Return the transformation that the cards describe.

    Raises
    ------
    FrameError
        If they describe none.
    """
    header = fits.Header()
    for keyword, value in cards.items():
        header[keyword] = value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            wcs = WCS(header, naxis=2)
            wcs.wcs.set()
    except Exception as error:  # wcslib has an exception for each thing that can be wrong
        raise FrameError(f"the world coordinates are not usable: {_in_one_line(error)}") from error
    if not wcs.has_celestial:
        raise FrameError("the world coordinates are not positions on the sky")
    return wcs


def _in_one_line(error: Exception) -> str:
    """Join what wcslib says, without the places in its source."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    said = [line for line in lines if line and not _PLACE_IN_C.match(line)]
    return "; ".join(said) or type(error).__name__


def sky_positions(wcs: WCS, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right ascension and declination [deg] of pixels, counted from 0."""
    if np.size(x) == 0:
        return np.zeros(0), np.zeros(0)
    ra, dec = wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
    return np.asarray(ra), np.asarray(dec)


def sky_corners(wcs: WCS, shape: tuple[int, int]) -> list[list[float]]:
    """Return the four outer corners of an image as ``[ra, dec]`` [deg].

    They are the corners of the corner pixels, not their centres, in the order lower left, lower
    right, upper right, upper left.
    """
    rows, columns = shape
    x = np.array([-0.5, columns - 0.5, columns - 0.5, -0.5])
    y = np.array([-0.5, -0.5, rows - 0.5, rows - 0.5])
    ra, dec = sky_positions(wcs, x, y)
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise FrameError("the world coordinates do not cover the image")
    return [[float(one), float(other)] for one, other in zip(ra, dec, strict=True)]


def pixel_scale(wcs: WCS, shape: tuple[int, int]) -> float:
    """Return the side of a square as large on the sky as the central pixel [arcsec]."""
    rows, columns = shape
    x, y = (columns - 1) / 2, (rows - 1) / 2
    ra, dec = sky_positions(wcs, [x - 0.5, x + 0.5, x, x], [y, y, y - 0.5, y + 0.5])
    vectors = _unit_vectors(ra, dec)
    area = np.linalg.norm(np.cross(vectors[1] - vectors[0], vectors[3] - vectors[2]))
    return float(np.degrees(np.sqrt(area)) * 3600)


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack(
        [np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1
    )
