"""Stage `mergeDetections`: what was found in all bands of a patch, with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers.configuration.coadd import MergeDetectionsConfig
from drivers.footprints.merging import merge_detections as merge
from drivers.footprints.merging import source_ids
from drivers.found import Detections, Merged
from drivers.frame_error import FrameError
from drivers.results import PatchArea
from mpipool import record

STAGE = "mergeDetections"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class MergeDetectionsJob:
    """What a task gets.

    Attributes
    ----------
    area : PatchArea
        Its data ID.
    detections : Mapping of str to Detections
        By filter.
    config : MergeDetectionsConfig
        Numbers.
    """

    area: PatchArea
    detections: Mapping[str, Detections]
    config: MergeDetectionsConfig


def merge_detections(job: MergeDetectionsJob) -> Merged:
    """Merge footprints and peaks, number the peaks, and record how many there are.

    The numbers depend on nothing but the detections: the same ones get the same ids again.

    Raises
    ------
    FrameError
        If the sources can't be numbered.
    """
    bands = by_priority(job.detections, job.config.bands)
    footprints, peaks = merge(
        [job.detections[band] for band in bands], job.area.shape, job.config.match_radius
    )
    try:
        peaks["id"] = source_ids(job.area, np.arange(len(peaks)) + 1)
    except ValueError as error:
        raise FrameError(str(error)) from error
    row = {
        "tract": job.area.tract,
        "patch": list(job.area.patch),
        "bands": list(bands),
        "n_footprints": len(footprints),
        "n_peaks": len(peaks),
    }
    record(**row)
    return Merged(row, bands, footprints, peaks)


def by_priority(there: Mapping[str, object], priority: Sequence[str]) -> tuple[str, ...]:
    """Return the filters there are, those of the list first, in its order; others by name.

    A filter such as ``HSC-I`` is found in the list by its last part, too.
    """
    places = {band.lower(): place for place, band in enumerate(priority)}

    def order(band: str) -> tuple[int, str]:
        name = band.lower()
        last = name.replace("_", "-").rsplit("-", 1)[-1]
        return places.get(name, places.get(last, len(places))), band

    return tuple(sorted(there, key=order))
