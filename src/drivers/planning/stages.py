"""The stages of a survey, in the order in which data flow through them."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from drivers.command import CommandError


class Stage(NamedTuple):
    """A kind of task.

    Attributes
    ----------
    name : str
        In records, on the command line and in the configuration.
    version : str
        Raised when its tasks change what they make, so that older results are made again.
    places : tuple of str
        Names of the values of its data ID.
    unit : str
        What one of its tasks works on, in the plural.
    sections : tuple of str
        Attributes of `SurveyConfig` on which its results depend.
    """

    name: str
    version: str
    places: tuple[str, ...]
    unit: str
    sections: tuple[str, ...]


SINGLE_FRAME: Final = Stage(
    "singleFrame", "2", ("visit", "ccd"), "CCDs", ("reference", "single_frame")
)
EXPOSURE: Final = Stage("exposure", "1", ("visit",), "visits", ("exposure",))
SKY_CORRECTION: Final = Stage("skyCorrection", "1", ("visit",), "visits", ("sky_correction",))
MOSAIC: Final = Stage("mosaic", "1", ("tract", "filter"), "tracts × filters", ("mosaic",))
_PATCH: Final = ("tract", "patch")
_PATCH_BAND: Final = ("tract", "patch", "filter")
_BANDS: Final = "patches × filters"
COADD: Final = Stage("coadd", "1", _PATCH_BAND, _BANDS, ("sky_map", "warp", "coadd"))
DETECT: Final = Stage("detect", "1", _PATCH_BAND, _BANDS, ("detect",))
MERGE_DETECTIONS: Final = Stage("mergeDetections", "1", _PATCH, "patches", ("merge_detections",))
MEASURE: Final = Stage("measure", "1", _PATCH_BAND, _BANDS, ("measure",))
MERGE_MEASUREMENTS: Final = Stage(
    "mergeMeasurements", "1", _PATCH, "patches", ("merge_measurements",)
)
FORCED: Final = Stage("forced", "1", _PATCH_BAND, _BANDS, ("forced",))
FORCED_CCD: Final = Stage("forcedCcd", "1", ("visit",), "visits", ("forced_ccd",))

STAGES: Final = (
    SINGLE_FRAME, EXPOSURE, SKY_CORRECTION, MOSAIC, COADD, DETECT, MERGE_DETECTIONS, MEASURE,
    MERGE_MEASUREMENTS, FORCED, FORCED_CCD,
)  # fmt: skip
NAMES: Final = tuple(stage.name for stage in STAGES)


class Mode(Enum):
    """What is done with the tasks of a stage."""

    RUN = "run"
    """They are run, unless they are done."""
    RECORDED = "recorded"
    """What is done is used; the others are left out."""
    ABSENT = "absent"
    """There are none: those behind them do without."""


VITAL: Final = {
    EXPOSURE.name: SINGLE_FRAME.name,
    SKY_CORRECTION.name: SINGLE_FRAME.name,
    MOSAIC.name: EXPOSURE.name,
    COADD.name: SINGLE_FRAME.name,
    DETECT.name: COADD.name,
    MERGE_DETECTIONS.name: DETECT.name,
    MEASURE.name: MERGE_DETECTIONS.name,
    MERGE_MEASUREMENTS.name: MEASURE.name,
    FORCED.name: MERGE_MEASUREMENTS.name,
    FORCED_CCD.name: MERGE_MEASUREMENTS.name,
}
"""Without what there is nothing to do. What else a stage uses it can do without."""


def read_stages(option: str, text: str) -> set[str]:
    """Read names of stages, separated by commas; ``first..last`` is a span of them.

    Raises
    ------
    CommandError
        If there is no such stage.
    """
    named: set[str] = set()
    for word in filter(None, text.replace("^", ",").split(",")):
        first, dots, last = word.partition("..")
        ends = [first or NAMES[0], (last or NAMES[-1]) if dots else first]
        for end in ends:
            if end not in NAMES:
                raise CommandError(f"{option} {end!r}: the stages are {', '.join(NAMES)}")
        span = NAMES[NAMES.index(ends[0]) : NAMES.index(ends[1]) + 1]
        if not span:
            raise CommandError(f"{option} {word!r}: {ends[1]} comes before {ends[0]}")
        named.update(span)
    return named


def modes(run: set[str], skipped: set[str]) -> dict[str, Mode]:
    """Return what is done with each stage.

    Parameters
    ----------
    run : set of str
        Stages to run.
    skipped : set of str
        Stages to do without; so is done without what is made of nothing else, and without what
        comes behind all that is run.
    """
    found: dict[str, Mode] = {}
    last = max((NAMES.index(name) for name in run), default=0)
    for place, name in enumerate(NAMES):
        behind = place > last
        if name in skipped or behind or found.get(VITAL.get(name, "")) is Mode.ABSENT:
            found[name] = Mode.ABSENT
        else:
            found[name] = Mode.RUN if name in run else Mode.RECORDED
    return found
