"""The detectors of the simulated camera: where they are, and what for.

Positions in the focal plane are in pixels from its middle. The detectors form a disc, as those of
Hyper Suprime-Cam do: with 112 there are 104 for science and 8 for focus, at the left and right rim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from drivers.simulator.survey import Floats, Survey

GAP = 40
"""Pixels between neighbouring detectors."""

_ONE_FOCUS_DETECTOR_PER = 14
_PISTON = 0.15
"""How far focus detectors are above or below the others [mm]."""

_MISPLACED, _TILTED = 1.0, 0.01
"""Standard deviations of a detector's place [px] and rotation [deg] from the drawings."""


@dataclass(frozen=True, slots=True)
class Detector:
    """One CCD.

    Attributes
    ----------
    ccd : int
        Its number.
    role : str
        ``science`` or ``focus``.
    x, y, angle : float
        Its middle in the focal plane [px] and its rotation [deg], by the drawings.
    true_x, true_y, true_angle : float
        The same, as it was built.
    height : float
        Above the focal plane [mm]; known for focus detectors.
    """

    ccd: int
    role: str
    x: float
    y: float
    angle: float
    true_x: float
    true_y: float
    true_angle: float
    height: float


@lru_cache(maxsize=8)
def detectors(survey: Survey) -> tuple[Detector, ...]:
    """Return the detectors, those for science first."""
    n_focus = survey.ccds // _ONE_FOCUS_DETECTOR_PER
    science, focus = _places(survey, survey.ccds - n_focus, n_focus)
    random = survey.random("focal plane")
    made = []
    for ccd, (x, y) in enumerate([*science, *focus]):
        role = "science" if ccd < len(science) else "focus"
        # Those of the upper half are turned round, as their cables leave at the rim.
        angle = 180.0 if y > 0 else 0.0
        dx, dy, turn = random.normal(0, (_MISPLACED, _MISPLACED, _TILTED))
        height = 0.0 if role == "science" else _PISTON * (1 - 2 * (ccd % 2))
        made.append(Detector(ccd, role, x, y, angle, x + dx, y + dy, angle + turn, height))
    return tuple(made)


def sky_map_configuration(survey: Survey) -> str:
    """Return patches about as large as a detector, as TOML: those of large ones would be few."""
    side = math.sqrt(survey.width * survey.height)
    inner = min(4000, max(100, 100 * round(1.1 * side / 100)))
    title = "# Sides and overlaps of patches [px].\n[skyMap]\n"
    return f"\n{title}patch_inner = {inner}\npatch_border = {round(0.075 * inner)}\n"


def focus_configuration(survey: Survey) -> str:
    """Return what an observatory would tell of its focus detectors, as TOML; may be empty."""
    heights = [f"{d.ccd} = {d.height}" for d in detectors(survey) if d.role == "focus"]
    if not heights:
        return ""
    title = "# How far focus detectors are above the others [mm].\n[exposure.focus_heights]\n"
    return "\n" + title + "\n".join(heights) + "\n"


def _places(survey: Survey, n_science: int, n_focus: int) -> tuple[list[Any], list[Any]]:
    """Return the middles of detectors: the nearest places of a grid, then those at the sides."""
    grids = [_grid(survey, odd_column, odd_row) for odd_column in (0, 1) for odd_row in (0, 1)]
    places = min(grids, key=lambda grid: round(_reach(survey, grid[:n_science]), 6))
    science = sorted(places[:n_science], key=lambda place: (place[1], place[0]))
    aside = sorted(places[n_science:], key=lambda p: (round(np.hypot(p[0], 3 * p[1]), 6), p))
    return science, sorted(aside[:n_focus], key=lambda place: (place[0] > 0, place[1]))


def _grid(survey: Survey, odd_column: int, odd_row: int) -> list[tuple[float, float]]:
    """Return places, nearest first, of a grid with one in its middle or with the middle between."""
    step_x, step_y = survey.width + GAP, survey.height + GAP
    most = 2 + int(np.sqrt(survey.ccds * max(step_x / step_y, step_y / step_x)))
    places = [
        ((column + odd_column / 2) * step_x, (row + odd_row / 2) * step_y)
        for row in range(-most, most)
        for column in range(-most, most)
    ]
    return sorted(places, key=lambda place: (round(np.hypot(*place), 6), place[1], place[0]))


def _reach(survey: Survey, places: Sequence[tuple[float, float]]) -> float:
    """Return the distance of the outermost corner of detectors at these places [px]."""
    half_x, half_y = survey.width / 2, survey.height / 2
    return float(max(np.hypot(abs(x) + half_x, abs(y) + half_y) for x, y in places))


@lru_cache(maxsize=8)
def field_radius(survey: Survey) -> float:
    """Return the distance of the outermost corner of a science detector from the middle [px]."""
    return _reach(survey, [(d.x, d.y) for d in detectors(survey) if d.role == "science"])


def to_focal_plane(
    survey: Survey, detector: Detector, x: Floats, y: Floats
) -> tuple[Floats, Floats]:
    """Return where pixels of a detector are in the focal plane, as it was built [px]."""
    cosine, sine = _turn(detector)
    dx, dy = x - (survey.width - 1) / 2, y - (survey.height - 1) / 2
    return (
        detector.true_x + cosine * dx - sine * dy,
        detector.true_y + sine * dx + cosine * dy,
    )


def to_detector(survey: Survey, detector: Detector, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return the pixels of a detector at places in the focal plane: `to_focal_plane` backwards."""
    cosine, sine = _turn(detector)
    du, dv = u - detector.true_x, v - detector.true_y
    return (
        (survey.width - 1) / 2 + cosine * du + sine * dv,
        (survey.height - 1) / 2 - sine * du + cosine * dv,
    )


def _turn(detector: Detector) -> tuple[float, float]:
    angle = np.radians(detector.true_angle)
    return float(np.cos(angle)), float(np.sin(angle))
