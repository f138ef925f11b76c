"""The stars of all exposures of a tract, as their own solutions see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from drivers.astrometry.tangent_plane import project
from drivers.global_solution.same_stars import number_stars
from drivers.results import CcdResult, CcdSolution, Table
from drivers.sky_position import sky_positions

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

_MAGNITUDES = 2.5 / np.log(10)


@dataclass(frozen=True, slots=True)
class Frame:
    """A CCD of an exposure, and the best that is known of it before.

    Attributes
    ----------
    result : CcdResult
        What the CCD has found alone.
    solution : CcdSolution
        The exposure's, or its own.
    placed : bool
        Whether its world coordinates are more than what its header says.
    wcs : WCS
        Those of the solution.
    """

    result: CcdResult
    solution: CcdSolution
    placed: bool
    wcs: WCS

    @property
    def key(self) -> tuple[int, int]:
        """Visit and ccd."""
        return int(self.result.row["visit"]), int(self.result.row["ccd"])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns [px]."""
        return int(self.result.row["height"]), int(self.result.row["width"])

    def on_plane(self, x: Floats, y: Floats, centre: tuple[float, float]) -> Complexes:
        """Return where pixels are on the plane that touches the sky at `centre` [arcsec]."""
        return plane_position(*sky_positions(self.wcs, x, y), centre)


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Where a frame is on the tract's plane.

    Attributes
    ----------
    middle : complex
        Its middle [arcsec].
    reach : float
        Distance of its corners from there [arcsec].
    turn : complex
        The direction of its rows, of length 1.
    """

    middle: complex
    reach: float
    turn: complex

    @classmethod
    def of(cls, frame: Frame, centre: tuple[float, float]) -> FrameGeometry:
        """Return the geometry of a frame."""
        rows, columns = frame.shape
        x = np.array([0.5, 0.5, 0, 1, 0, 1]) * (columns - 1) + np.array([0, 1.0, 0, 0, 0, 0])
        y = np.array([0.5, 0.5, 0, 0, 1, 1]) * (rows - 1)
        places = frame.on_plane(x, y, centre)
        along = complex(places[1] - places[0])
        reach = float(np.abs(places[2:] - places[0]).max())
        return cls(complex(places[0]), reach, along / abs(along))


@dataclass(frozen=True, slots=True)
class Observations:
    """The stars of some frames; arrays have a row for each detection, frame by frame.

    Attributes
    ----------
    frame, visit : array of int
        Index of the frame, and of its exposure.
    star : array of int
        Index of the star: the same in all exposures.
    place : array of complex128
        Where its frame's solution has it on the tract's plane [arcsec].
    x, y : array of float64
        Pixel, from -1 to 1 over the CCD.
    error : array of float64
        Of the position, per axis [arcsec]; noise only.
    magnitude, magnitude_error : array of float64
        By its frame's zero point [AB], noise only; NaN where the flux is none.
    reference : array of complex128
        Where the reference catalogue has it at the epoch of the exposure [arcsec]; NaN where it
        has not.
    reference_mag, reference_mag_err : array of float64
        The catalogue's magnitude in the exposure's filter; NaN where it has none.
    """

    frame: Indices
    visit: Indices
    star: Indices
    place: Complexes
    x: Floats
    y: Floats
    error: Floats
    magnitude: Floats
    magnitude_error: Floats
    reference: Complexes
    reference_mag: Floats
    reference_mag_err: Floats

    @property
    def n_stars(self) -> int:
        """How many stars there are."""
        return int(self.star.max(initial=-1)) + 1


def plane_position(ra: Any, dec: Any, centre: tuple[float, float]) -> Complexes:
    """Return positions on the plane that touches the sky at `centre` [arcsec]."""
    east, north = project(np.asarray(ra), np.asarray(dec), centre)
    return np.asarray(3600 * (east + 1j * north))


def observe(
    frames: Sequence[Frame],
    visits: Indices,
    centre: tuple[float, float],
    *,
    radius: float,
    signal_to_noise: float,
) -> Observations:
    """Gather the stars of frames, and find out which are the same.

    Parameters
    ----------
    frames : sequence of Frame
        Of a tract, one exposure after the other.
    visits : array of int
        Index of each frame's exposure.
    centre : (float, float)
        Where the tract's plane touches the sky [deg].
    radius : float
        Distance within which stars of two exposures are the same [arcsec].
    signal_to_noise : float
        Least of the stars.
    """
    chosen = [_bright(frame.result.stars, signal_to_noise) for frame in frames]
    frame = np.repeat(np.arange(len(frames)), [len(stars) for stars in chosen])
    visit = visits[frame]
    stars = np.concatenate(chosen)
    place = np.concatenate([
        one.on_plane(table["x"], table["y"], centre)
        for one, table in zip(frames, chosen, strict=True)
    ])  # fmt: skip
    exposures = np.split(place, np.searchsorted(visit, np.arange(1, int(visit.max(initial=0)) + 1)))
    shape = np.array([one.shape for one in frames], dtype=np.float64).reshape(-1, 2)[frame]
    scale = np.array([one.result.row["pixel_scale"] for one in frames], dtype=np.float64)[frame]
    zero_point = np.array([one.solution.zero_point for one in frames])[frame]
    known = stars["matched"]
    reference = np.where(known, plane_position(stars["ra"], stars["dec"], centre), np.nan)
    return Observations(
        frame=frame,
        visit=visit,
        star=np.concatenate(number_stars(exposures, radius)),
        place=place,
        x=2 * stars["x"] / (shape[:, 1] - 1) - 1,
        y=2 * stars["y"] / (shape[:, 0] - 1) - 1,
        error=stars["position_err"] * scale,
        magnitude=zero_point - 2.5 * np.log10(stars["flux"]),
        magnitude_error=_MAGNITUDES * stars["flux_err"] / stars["flux"],
        reference=reference,
        reference_mag=np.where(known, stars["mag"], np.nan).astype(np.float64),
        reference_mag_err=np.nan_to_num(stars["mag_err"]).astype(np.float64),
    )


def _bright(stars: Table, signal_to_noise: float) -> Table:
    """Return the stars which are measured well."""
    with np.errstate(invalid="ignore"):
        good = (stars["flux"] > 0) & (stars["flux"] >= signal_to_noise * stars["flux_err"])
    chosen: Table = stars[good & np.isfinite(stars["position_err"])]
    return chosen
