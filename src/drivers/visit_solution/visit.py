"""Solves a visit: from what its CCDs have found alone to what they say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.configuration.exposure import ExposureConfig
from drivers.results import CcdResult, CcdSolution, Solution, Table
from drivers.sky_position import make_wcs
from drivers.visit_solution.focus import Focus, solve_focus
from drivers.visit_solution.positions import CcdStars, FocalPlane, Positions, solve_positions
from drivers.visit_solution.zero_points import StarMagnitudes, ZeroPoints, solve_zero_points

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MAGNITUDES = 2.5 / math.log(10)


@dataclass(frozen=True, slots=True)
class FittedVisit:
    """What the CCDs of a visit say together.

    Attributes
    ----------
    ccds : tuple of CcdResult
        The CCDs, by number.
    solution : Solution
        What is passed on.
    stars : tuple of structured array of `STAR`
        The matched stars of each CCD.
    positions : Positions or None
        None where the CCDs keep their own.
    zero_points : ZeroPoints or None
        None where the CCDs keep their own.
    photometric : array of bool
        Which of the stars are in `zero_points`.
    focus : Focus or None
        None where no seeing is known.
    """

    ccds: tuple[CcdResult, ...]
    solution: Solution
    stars: tuple[Table, ...]
    positions: Positions | None
    zero_points: ZeroPoints | None
    photometric: Flags
    focus: Focus | None

    @property
    def figures(self) -> dict[str, Any]:
        """Its quality, as JSON has it."""
        return self.solution.figures


def fit_visit(results: Sequence[CcdResult], config: ExposureConfig) -> FittedVisit:
    """Solve the astrometry and photometry of a visit, and fit its seeing.

    Raises
    ------
    FrameError
        If the world coordinates of a CCD can't be used.
    """
    ccds = tuple(sorted(results, key=lambda ccd: int(ccd.row["ccd"])))
    stars = tuple(ccd.stars[ccd.stars["matched"]] for ccd in ccds)
    inputs = [_input(ccd, table) for ccd, table in zip(ccds, stars, strict=True)]
    positions = solve_positions(inputs, order=config.order, floor=config.floor, clip=config.clip)
    plane = FocalPlane.of(inputs) if positions is None else positions.plane
    magnitudes, photometric = _magnitudes(inputs, stars, plane, config)
    places = plane.middles.real / plane.reach, plane.middles.imag / plane.reach
    zero_points = solve_zero_points(
        magnitudes, places, order=config.zero_point_order, clip=config.clip
    )
    focus = solve_focus(
        np.array([_number(ccd.row["seeing"]) for ccd in ccds]),
        places,
        np.array([_height(ccd, config) for ccd in ccds]),
        order=config.seeing_order,
        clip=config.clip,
    )
    found: dict[tuple[int, int], CcdSolution] = {}
    for index, ccd in enumerate(ccds):
        zero_point = ccd.row["zero_point"] if zero_points is None else zero_points.ccds[index]
        if zero_point is not None:
            cards = positions.cards(inputs[index], index) if positions else ccd.row["wcs"]
            found[ccd.row["visit"], ccd.row["ccd"]] = CcdSolution(cards, float(zero_point))
    figures = _figures(ccds, positions, zero_points, focus)
    return FittedVisit(
        ccds, Solution(found, figures), stars, positions, zero_points, photometric, focus
    )


def _input(ccd: CcdResult, stars: Table) -> CcdStars:
    row = ccd.row
    return CcdStars(
        wcs=make_wcs(ccd.header or row["wcs"]),
        shape=(int(row["height"]), int(row["width"])),
        scale=float(row["pixel_scale"]),
        x=stars["x"],
        y=stars["y"],
        error=stars["position_err"].astype(np.float64),
        ra=stars["ra"],
        dec=stars["dec"],
    )


def _magnitudes(
    inputs: Sequence[CcdStars], stars: Sequence[Table], plane: FocalPlane, config: ExposureConfig
) -> tuple[StarMagnitudes, Flags]:
    """Return what the stars say of the zero point, and which of them say something."""
    every = np.concatenate(stars)
    ccd = np.repeat(np.arange(len(stars)), [len(table) for table in stars])
    flux, error = every["flux"], every["flux_err"].astype(np.float64)
    mag_err = np.nan_to_num(every["mag_err"].astype(np.float64))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(every["mag"]) & (flux >= config.signal_to_noise * error) & (flux > 0)
    seen = [plane.seen(one, one.x, one.y) for one in inputs]
    place = np.concatenate(seen)[good] / plane.reach
    errors = np.hypot(_MAGNITUDES * error[good] / flux[good], config.magnitude_floor)
    magnitudes = StarMagnitudes(
        zero_point=every["mag"][good].astype(np.float64) + 2.5 * np.log10(flux[good]),
        error=np.hypot(errors, mag_err[good]),
        ccd=ccd[good],
        u=place.real,
        v=place.imag,
    )
    return magnitudes, np.asarray(good)


def _figures(
    ccds: Sequence[CcdResult],
    positions: Positions | None,
    zero_points: ZeroPoints | None,
    focus: Focus | None,
) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "n_ccds": len(ccds),
        "n_matched": int(sum(ccd.stars["matched"].sum() for ccd in ccds)),
        "astrometry": "ccds" if positions is None else "exposure",
        "photometry": "ccds" if zero_points is None else "exposure",
    }
    if positions is not None:
        left = positions.fit.left[positions.fit.used]
        figures |= {
            "n_astrometric": len(left),
            "astrometric_order": positions.order,
            "scatter_ra": _spread(1000 * left.real),
            "scatter_dec": _spread(1000 * left.imag),
        }
    if zero_points is not None:
        left = 1000 * zero_points.left[zero_points.used]
        figures |= {
            "n_photometric": len(left),
            "zero_point": float(np.mean(zero_points.ccds)),
            "zero_point_spread": float(1000 * np.std(zero_points.ccds)),
            "zero_point_scatter": _spread(left),
        }
    if focus is not None:
        figures |= {
            "seeing": float(np.median(focus.surface)),
            "seeing_range": float(np.ptp(focus.surface)),
            "defocus": focus.defocus,
        }
    return figures


def _spread(values: Floats) -> float | None:
    """Return the rms, rounded to what is worth reading."""
    return round(float(np.sqrt(np.mean(values**2))), 3) if len(values) else None


def _height(ccd: CcdResult, config: ExposureConfig) -> float:
    """Return how far a detector is above the focal plane [mm]; NaN where nobody says."""
    if ccd.row["role"] == "science":
        return 0.0
    return config.focus_heights.get(str(ccd.row["ccd"]), math.nan)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
