"""Solves a tract: corrections of its exposures' solutions, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.precise import precise_cards
from drivers.astrometry.tangent_plane import deproject
from drivers.configuration.mosaic import MosaicConfig
from drivers.global_solution.adding_up import Gang
from drivers.global_solution.least_squares import Problem, solve
from drivers.global_solution.models import (
    Layout,
    Terms,
    choose_terms,
    magnitude_problem,
    position_problem,
)
from drivers.global_solution.observations import Frame, FrameGeometry, Observations, observe
from drivers.results import CcdSolution

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stars:
    """Differences of all observations and stars, whichever rank had them.

    Attributes
    ----------
    left : array, shape (n,)
        Where observations are beside their star.
    used : array of bool, shape (n,)
        Observations which are no outliers.
    star : array, shape (stars,)
        Where stars are beside the catalogue.
    anchored : array of bool, shape (stars,)
        Stars of the catalogue which are no outliers.
    """

    left: Numbers
    used: Flags
    star: Numbers
    anchored: Flags


@dataclass(frozen=True, slots=True)
class FittedTract:
    """The solution of a tract.

    Attributes
    ----------
    seen : Observations
        What it is from.
    positions, magnitudes : Stars
        Differences [arcsec, mag].
    ccds : dict of (int, int) to CcdSolution
        By visit and ccd.
    figures : dict
        How good it is.
    """

    seen: Observations
    positions: Stars
    magnitudes: Stars
    ccds: dict[tuple[int, int], CcdSolution]
    figures: dict[str, Any]


def fit_tract(
    frames: Sequence[Frame], centre: tuple[float, float], config: MosaicConfig, gang: Gang
) -> FittedTract | str:
    """Solve a tract, or say in words why it can't be solved.

    All ranks of a gang call this together.

    Parameters
    ----------
    frames : sequence of Frame
        Those whose place is known, one exposure after the other.
    centre : (float, float)
        Where the tract's plane touches the sky [deg].
    config : MosaicConfig
        Numbers.
    gang : Gang
        Who takes part.
    """
    numbers, visits = np.unique([frame.key[0] for frame in frames], return_inverse=True)
    if len(numbers) < 2:
        return "there is one exposure only" if len(numbers) else "no exposure has a solution"
    seen = observe(
        frames, visits, centre, radius=config.match_radius, signal_to_noise=config.signal_to_noise
    )
    shared = int((np.bincount(seen.star, minlength=1) > 1).sum())
    if shared < config.least_stars:
        return f"{shared} stars are seen in two exposures, which are too few"
    _, ccds = np.unique([frame.key[1] for frame in frames], return_inverse=True)
    geometry = [FrameGeometry.of(frame, centre) for frame in frames]
    layout, most = Layout.of(geometry, visits, ccds), config.most_frames
    places = choose_terms(seen, layout, (config.order, config.ccd_order), turned=True, most=most)
    levels = choose_terms(seen, layout, (config.photometric_order, 0), turned=False, most=most)
    positions, moved = _solved(position_problem(seen, places, config), gang, config.clip)
    magnitudes, changed = _solved(magnitude_problem(seen, levels, config), gang, config.clip)
    found = {
        frame.key: _solution(frame, index, (places, moved), (levels, changed), centre)
        for index, frame in enumerate(frames)
    }
    figures = {
        "n_visits": len(numbers),
        "n_ccds": len(frames),
        "n_shared": shared,
        **_figures(seen, positions, magnitudes),
    }
    return FittedTract(seen, positions, magnitudes, found, figures)


def _solved(problem: Problem, gang: Gang, clip: float) -> tuple[Stars, Numbers]:
    """Solve together, and bring together what each rank has found about its stars."""
    solved = solve(problem.share(gang.rank, gang.size), gang, clip)
    stars = np.arange(len(problem.anchor)) % gang.size == gang.rank
    rows = stars[problem.star]

    def spread(part: Numbers, where: Flags) -> Numbers:
        whole = np.zeros(len(where), dtype=part.dtype if part.dtype != bool else np.float64)
        whole[where] = part
        return gang.total(whole)

    together = Stars(
        left=spread(solved.left, rows),
        used=spread(solved.used, rows) > 0,
        star=spread(solved.star, stars),
        anchored=spread(solved.anchored, stars) > 0,
    )
    return together, solved.parameters


def _solution(
    frame: Frame,
    index: int,
    moved: tuple[Terms, Numbers],
    changed: tuple[Terms, Numbers],
    centre: tuple[float, float],
) -> CcdSolution:
    """Return the solution of a frame: what was known before, corrected by the parameters."""
    rows, columns = frame.shape

    def correction(x: Floats, y: Floats, terms: Terms, parameters: Numbers) -> Numbers:
        place = frame.on_plane(x, y, centre)
        aside = 2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1
        which, values = terms.of_frame(index, place, *aside)
        return np.asarray(values @ parameters[which])

    def to_sky(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        place = (frame.on_plane(x, y, centre) + correction(x, y, *moved)) / 3600
        return deproject(place.real, place.imag, centre)

    middle = np.array([(columns - 1) / 2]), np.array([(rows - 1) / 2])
    zero_point = frame.solution.zero_point + float(correction(*middle, *changed)[0])
    return CcdSolution(precise_cards(to_sky, frame.shape), zero_point)


def _figures(seen: Observations, positions: Stars, magnitudes: Stars) -> dict[str, Any]:
    """Return how well exposures agree with one another, and with the catalogue."""
    return {
        "n_stars": seen.n_stars,
        "n_observations": len(seen.star),
        "n_rejected": int((~positions.used).sum()),
        "n_reference": int(positions.anchored.sum()),
        "internal_scatter": _internal(seen, positions, 1000),
        "external_scatter": _rms(positions.star[positions.anchored], 1000),
        "n_photometric": int(magnitudes.anchored.sum()),
        "internal_magnitude_scatter": _internal(seen, magnitudes, 1000),
        "external_magnitude_scatter": _rms(magnitudes.star[magnitudes.anchored], 1000),
    }


def _internal(seen: Observations, stars: Stars, unit: float) -> float | None:
    """Return the scatter per axis of an exposure's stars about the stars' places."""
    used = stars.used & np.isfinite(stars.left)
    count = np.bincount(seen.star[used], minlength=seen.n_stars)
    used &= count[seen.star] > 1
    free = int(used.sum()) - int((count > 1).sum())
    axes = 2 if np.iscomplexobj(stars.left) else 1
    if free <= 0:
        return None
    return round(unit * float(np.sqrt((np.abs(stars.left[used]) ** 2).sum() / (axes * free))), 3)


def _rms(values: Numbers, unit: float) -> float | None:
    values = values[np.isfinite(values)]
    axes = 2 if np.iscomplexobj(values) else 1
    if not len(values):
        return None
    return round(unit * float(np.sqrt((np.abs(values) ** 2).mean() / axes)), 3)
