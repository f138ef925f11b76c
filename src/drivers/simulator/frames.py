"""Makes raw frames: the light on a detector, what it makes of it, and what the header says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from drivers.simulator import detector as chip
from drivers.simulator.focal_plane import Detector, detectors, field_radius
from drivers.simulator.light import fringes, light
from drivers.simulator.optics import header_wcs, pixel_area, smooth_image
from drivers.simulator.survey import BANDS, Image, Survey
from drivers.simulator.visits import EXPTIME, MJD0, Visit, visit_numbered, visits

_FIRST_CALIB = {"bias": 10_000, "dark": 20_000, "flat": 30_000}
_DARK_SECONDS = 300.0
_FLAT_SECONDS = 10.0
_LAMP = 25_000.0
"""Electrons of a flat exposure."""

_UNEVEN = 0.004
"""By how much the lamp lights one rim of the field more than the other, as a part."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure of all detectors: of the sky or for calibration.

    Attributes
    ----------
    number : int
        Its visit.
    kind : str
        ``science``, ``bias``, ``dark`` or ``flat``.
    filter : str
        Which was in; ``none`` where it makes no difference.
    """

    number: int
    kind: str
    filter: str

    @property
    def seconds(self) -> float:
        """How long the shutter was open, or the detector dark."""
        times = {"bias": 0.0, "dark": _DARK_SECONDS, "flat": _FLAT_SECONDS}
        return times.get(self.kind, EXPTIME)


def exposures(survey: Survey) -> list[Exposure]:
    """Return all exposures of the survey, those for calibration last."""
    made = [Exposure(visit.number, "science", visit.filter) for visit in visits(survey)]
    for kind in ("bias", "dark"):
        made += [Exposure(_FIRST_CALIB[kind] + n, kind, "none") for n in range(survey.calibs)]
    for band in survey.bands:
        first = _FIRST_CALIB["flat"] + 1000 * BANDS.index(band)
        made += [Exposure(first + n, "flat", band) for n in range(survey.calibs)]
    return made


def make_frame(survey: Survey, exposure: Exposure, ccd: int) -> tuple[NDArray[np.uint16], Any]:
    """Return the counts and the header of one detector's raw frame."""
    detector = detectors(survey)[ccd]
    random = survey.random("frame", exposure.number, ccd)
    electrons = _electrons(survey, exposure, detector, random)
    chip.saturate(survey, ccd, electrons)
    counts = chip.read_out(survey, random, ccd, exposure.number, electrons)
    return counts, _header(survey, exposure, detector)


def _electrons(
    survey: Survey, exposure: Exposure, detector: Detector, random: np.random.Generator
) -> Image:
    """Return the electrons in the pixels at the end of an exposure."""
    image = np.zeros((survey.height, survey.width), np.float32)
    if exposure.kind == "bias":
        return image
    if exposure.kind == "flat":
        image = _lamp(survey, exposure, detector, random)
    elif exposure.kind == "science":
        image = light(survey, visit_numbered(survey, exposure.number), detector)
    if exposure.filter != "none":
        image *= chip.response(survey, detector, exposure.filter)
    if exposure.kind == "science":
        image += fringes(survey, visit_numbered(survey, exposure.number), detector)
    image += chip.dark_rate(survey, detector.ccd) * np.float32(exposure.seconds)
    chip.add_noise(survey, random, image)
    chip.add_cosmics(survey, random, image, exposure.seconds)
    return image


def _lamp(
    survey: Survey, exposure: Exposure, detector: Detector, random: np.random.Generator
) -> Image:
    """Return the light of the flat lamp; its strength differs from exposure to exposure."""
    radius = field_radius(survey)
    level = _LAMP * survey.random("lamp", exposure.number).uniform(0.8, 1.2)

    def even(u: Any, v: Any) -> Any:
        area = pixel_area(survey, u * radius, v * radius) if survey.has("pixel_area") else 1.0
        return level * (1 + _UNEVEN / 2 * u) * area

    return np.asarray(smooth_image(survey, detector, even), dtype=np.float32)


def _header(survey: Survey, exposure: Exposure, detector: Detector) -> fits.Header:
    """Return the keywords of a raw frame.

    The reference pixel counts the pixels of the frame as it is read out, and is right for those of
    the first amplifier. Calibration frames have no world coordinates.
    """
    science = exposure.kind == "science"
    visit = visit_numbered(survey, exposure.number) if science else None
    first, second = chip.gains(survey, detector.ccd)
    header = fits.Header()
    header["INSTRUME"] = "SimCam"
    header["VISIT"] = (exposure.number, "number of the exposure")
    header["CCD"] = (detector.ccd, "number of the detector")
    header["ROLE"] = (detector.role, "what the detector is for")
    header["IMAGETYP"] = (exposure.kind, "science, bias, dark or flat")
    header["FILTER"] = exposure.filter
    header["EXPTIME"] = (exposure.seconds, "[s]")
    header["OBJECT"] = "simulated field" if science else exposure.kind
    header["SATURATE"] = (chip.SATURATION, "[adu] saturated from here on")
    header["FOCUSOFF"] = (detector.height, "[mm] of the detector above the focal plane")
    header["GAIN1"], header["GAIN2"] = (first, "[electron/adu]"), (second, "[electron/adu]")
    header.update(chip.sections(survey))
    _add_time_and_place(header, survey, exposure, visit, detector)
    return header


def _add_time_and_place(
    header: fits.Header, survey: Survey, exposure: Exposure, visit: Visit | None, detector: Detector
) -> None:
    # Calibration frames are taken in the afternoon before.
    mjd = visit.mjd if visit else MJD0 - 0.5 + (exposure.number % 1000) / 1440
    header["MJD-OBS"] = (mjd, "[d] when it began")
    header["DATE-OBS"] = str(Time(mjd, format="mjd").isot)
    if visit is not None:
        header["ROTANG"] = (visit.said_angle, "[deg] rotation of the camera")
        header.update(header_wcs(survey, visit, detector))
