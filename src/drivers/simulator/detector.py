"""What a detector makes of the light: response, dark current, cosmic rays, saturation, read-out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.simulator.focal_plane import Detector
from drivers.simulator.optics import smooth_image
from drivers.simulator.photometry import detector_step
from drivers.simulator.survey import BANDS, Floats, Image, Survey

OVERSCAN = 16
"""Columns of overscan of each of the two amplifiers."""

SATURATION = 60_000
"""Counts at and above which a pixel is saturated, as the header says."""

READ_NOISE = 6.0
"""Electrons."""

_WELL = 61_000.0
"""Counts above the bias level which a pixel can hold."""

_PIXEL_RESPONSE = 0.006
_DARK = 0.02
"""Electrons per pixel and second."""

_COSMICS = 0.25
"""Cosmic rays per second on 512 x 1024 pixels."""

_TYPICAL_AREA = 512 * 1024


def gains(survey: Survey, ccd: int) -> tuple[float, float]:
    """Return the electrons per count of the two amplifiers."""
    left, right = survey.random("gain", ccd).normal(0, 0.03, 2)
    return round(1.6 * (1 + left), 4), round(1.9 * (1 + right), 4)


def response(survey: Survey, detector: Detector, band: str) -> Image:
    """Return the part of the light that is detected: 1 on average in the middle of the field."""
    image = smooth_response(survey, detector, band)
    if survey.has("flat"):
        random = survey.random("pixel response", detector.ccd)
        image *= 1 + _PIXEL_RESPONSE * random.standard_normal(image.shape, dtype=np.float32)
    return _dead(survey, detector.ccd, image)


def smooth_response(survey: Survey, detector: Detector, band: str) -> Image:
    """Return `response` without what differs from pixel to pixel."""
    if not survey.has("flat"):
        return np.ones((survey.height, survey.width), np.float32)
    step = 10 ** (-0.4 * detector_step(survey, band, detector.ccd))
    smooth = smooth_image(survey, detector, lambda u, v: step * vignetting(u, v, band))
    return np.asarray(smooth, dtype=np.float32)


def vignetting(u: Floats, v: Floats, band: str) -> Floats:
    """Return the part of the light that is not vignetted, at places in units of the field."""
    square = u**2 + v**2
    return np.asarray(1 - (0.10 + 0.01 * BANDS.index(band)) * square - 0.05 * square**2)


def _dead(survey: Survey, ccd: int, image: Image) -> Image:
    """Take away what defects don't see: dead pixels, and a dark column in part."""
    if survey.has("defects"):
        rows, columns = _defective_pixels(survey, ccd, "dead", 15)
        image[rows, columns] = 0.05
        column, first, last = _defective_column(survey, ccd, "dark column")
        image[first:last, column] *= 0.1
    return image


def dark_rate(survey: Survey, ccd: int) -> Image:
    """Return the electrons that a pixel makes by itself in a second."""
    shape = (survey.height, survey.width)
    rate = np.zeros(shape, np.float32)
    if survey.has("dark"):
        glow = np.linspace(1, 0, survey.height, dtype=np.float32)[:, None] ** 8
        rate += _DARK * (1 + 5 * glow)
    if survey.has("defects"):
        random = survey.random("hot", ccd)
        rows, columns = _defective_pixels(survey, ccd, "hot pixels", 25)
        rate[rows, columns] += random.uniform(5, 200, len(rows))
        column, first, last = _defective_column(survey, ccd, "hot column")
        rate[first:last, column] += 20.0
    return rate


def _defective_pixels(survey: Survey, ccd: int, kind: str, usual: int) -> Any:
    random = survey.random(kind, ccd)
    count = max(1, round(usual * survey.width * survey.height / _TYPICAL_AREA))
    return random.integers(0, survey.height, count), random.integers(0, survey.width, count)


def _defective_column(survey: Survey, ccd: int, kind: str) -> tuple[int, int, int]:
    random = survey.random(kind, ccd)
    first = int(random.integers(0, survey.height // 2))
    return int(random.integers(0, survey.width)), first, survey.height


def add_cosmics(survey: Survey, random: np.random.Generator, image: Image, seconds: float) -> int:
    """Add cosmic rays: straight tracks, sharper than any star. Return how many."""
    if not survey.has("cosmics"):
        return 0
    rows, columns = image.shape
    count = int(random.poisson(_COSMICS * seconds * rows * columns / _TYPICAL_AREA))
    for _ in range(count):
        length = 1 + random.exponential(5.0)
        way, charge = random.uniform(0, 2 * np.pi), 10 ** random.uniform(2.5, 3.5)
        steps = np.arange(0, length, 0.25)
        x = np.rint(random.uniform(0, columns) + steps * np.cos(way)).astype(int)
        y = np.rint(random.uniform(0, rows) + steps * np.sin(way)).astype(int)
        hit = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        np.add.at(image, (y[hit], x[hit]), np.float32(charge / 4))
    return count


def add_noise(survey: Survey, random: np.random.Generator, image: Image) -> None:
    """Make the expected electrons counted ones; large numbers of them are as good as normal."""
    if not survey.has("noise"):
        return
    few = np.flatnonzero(image.ravel() < 50)
    counted = random.poisson(np.maximum(image.ravel()[few], 0))
    scatter = random.standard_normal(image.shape, dtype=np.float32)
    image += np.sqrt(np.maximum(image, 0)) * scatter
    image.ravel()[few] = counted


def saturate(survey: Survey, ccd: int, image: Image) -> None:
    """Let what a pixel can't hold flow up and down its column."""
    if not survey.has("saturation"):
        return
    wells = np.repeat(np.array(gains(survey, ccd)) * _WELL, survey.width // 2)
    for column in np.flatnonzero((image > wells).any(axis=0)):
        _bleed(image[:, column], float(wells[column]))


def _bleed(line: Image, well: float) -> None:
    full = np.flatnonzero(np.diff(np.concatenate(([0], line > well, [0])).astype(int)))
    runs = list(zip(full[::2], full[1::2], strict=True))
    excess = [float((line[first:end] - well).sum()) for first, end in runs]
    np.minimum(line, well, out=line)
    for (first, end), charge in zip(runs, excess, strict=True):
        for part in (line[end:], line[:first][::-1]):
            _pour(part, well, charge / 2)


def _pour(line: Image, well: float, charge: float) -> None:
    """Fill pixels one after the other; what goes over the end is lost."""
    room = np.cumsum(well - line, dtype=np.float64)
    filled = int(np.searchsorted(room, charge))
    left = charge - (room[filled - 1] if filled else 0.0)
    line[:filled] = well
    if filled < len(line):
        line[filled] += left


def bias_level(survey: Survey, ccd: int, exposure: int) -> tuple[Floats, Floats]:
    """Return the bias of each row for the two amplifiers [counts], as the overscan shows it."""
    rows = np.arange(survey.height) / survey.height
    if not survey.has("bias"):
        return np.full(survey.height, 1000.0), np.full(survey.height, 1000.0)
    random = survey.random("bias level", ccd, exposure)
    first, second, slope, other = random.normal(0, 1, 4)
    return 1000 + 5 * first + (6 + slope) * rows, 1120 + 5 * second + (4 + other) * rows


def bias_structure(survey: Survey, ccd: int) -> Image | float:
    """Return what the bias has besides the level, the same in all exposures [counts]."""
    if not survey.has("bias"):
        return 0.0
    random = survey.random("bias structure", ccd)
    columns = random.normal(0, 1.0, survey.width)
    distance = np.abs(np.arange(survey.width) - (survey.width - 1) / 2)
    near_readout = 8 * np.exp(-(survey.width / 2 - distance) / 12)
    wave = 1.5 * np.sin(np.arange(survey.height) / 40 + random.uniform(0, 6))
    return np.asarray(columns + near_readout + wave[:, None], dtype=np.float32)


def read_out(
    survey: Survey, random: np.random.Generator, ccd: int, exposure: int, electrons: Any
) -> NDArray[np.uint16]:
    """Return the raw frame [counts]: two amplifiers, each with its overscan towards the middle."""
    half = survey.width // 2
    structure = np.broadcast_to(np.float32(0), (survey.height, survey.width))
    structure = structure + bias_structure(survey, ccd)
    parts = []
    levels = bias_level(survey, ccd, exposure)
    for index, gain in enumerate(gains(survey, ccd)):
        columns = slice(0, half) if index == 0 else slice(half, None)
        empty = np.zeros((survey.height, OVERSCAN), np.float32)
        counts = electrons[:, columns] / np.float32(gain) + structure[:, columns]
        pixels = np.hstack([counts, empty] if index == 0 else [empty, counts])
        if survey.has("noise"):
            noise = random.standard_normal(pixels.shape, dtype=np.float32)
            pixels += np.float32(READ_NOISE / gain) * noise
        parts.append(pixels + levels[index].astype(np.float32)[:, None])
    return np.clip(np.rint(np.hstack(parts)), 0, 65535).astype(np.uint16)


def sections(survey: Survey) -> dict[str, str]:
    """Return the cards which say where the amplifiers are on a raw frame."""
    half, full, rows = survey.width // 2, survey.width, survey.height
    second = half + 2 * OVERSCAN
    return {
        "DATASEC1": f"[1:{half},1:{rows}]",
        "BIASSEC1": f"[{half + 1}:{half + OVERSCAN},1:{rows}]",
        "DETSEC1": f"[1:{half},1:{rows}]",
        "BIASSEC2": f"[{half + OVERSCAN + 1}:{second},1:{rows}]",
        "DATASEC2": f"[{second + 1}:{second + half},1:{rows}]",
        "DETSEC2": f"[{half + 1}:{full},1:{rows}]",
    }
