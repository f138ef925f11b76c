"""What a survey is made of: exposures, and the patches which they cover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from drivers.registry import RawFrame
from drivers.skymap import Patch, SkyMap, covered_patches

POINTING = 30.0
"""Arcseconds by which the position in a header may be off: patches within are planned for."""

CcdId = tuple[int, int]
"""Visit and ccd."""
PatchId = tuple[int, int, int]
"""Tract, and column and row of the patch."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The frames of a survey, and where they are.

    Attributes
    ----------
    frames : Mapping of (int, int) to RawFrame
        By visit and ccd, ordered.
    visits : Mapping of int to list of (int, int)
        The CCDs of each visit.
    patches : Mapping of (int, int, int) to Mapping of str to list of (int, int)
        Of each patch (tract, column, row), by filter, the CCDs which may overlap it.
    skymap : SkyMap
        Where the patches are.
    unplaced : tuple of RawFrame
        Frames which say nothing of where they are: nothing is coadded of them.
    """

    frames: Mapping[CcdId, RawFrame]
    visits: Mapping[int, list[CcdId]]
    patches: Mapping[PatchId, Mapping[str, list[CcdId]]]
    skymap: SkyMap
    unplaced: tuple[RawFrame, ...] = ()

    def filter_of(self, visit: int) -> str:
        """Return the filter of a visit."""
        return self.frames[self.visits[visit][0]].filter

    def patch(self, patch: PatchId) -> Patch:
        """Return a patch of the sky map."""
        tract, column, row = patch
        return self.skymap.tract(tract).patch((column, row))

    def tracts(self) -> dict[tuple[int, str], list[CcdId]]:
        """Return, by tract and filter, the CCDs which may overlap any of its patches."""
        found: dict[tuple[int, str], set[CcdId]] = defaultdict(set)
        for (tract, *_), filters in self.patches.items():
            for band, ccds in filters.items():
                found[tract, band].update(ccds)
        return {place: sorted(ccds) for place, ccds in sorted(found.items())}


def find_inputs(frames: Iterable[RawFrame], skymap: SkyMap, margin: float = POINTING) -> Inputs:
    """Work out which patches the frames cover, from the corners which the registry has.

    Parameters
    ----------
    frames : iterable of RawFrame
        Of any order.
    skymap : SkyMap
        Where the patches are.
    margin : float
        How far beside a patch a CCD may be by its header [arcsec].
    """
    ordered = {
        (frame.visit, frame.ccd): frame for frame in sorted(frames, key=lambda f: (f.visit, f.ccd))
    }
    visits: dict[int, list[CcdId]] = defaultdict(list)
    for ccd in ordered:
        visits[ccd[0]].append(ccd)
    placed = [ccd for ccd, frame in ordered.items() if frame.corners and frame.role == "science"]
    corners = np.array([ordered[ccd].corners for ccd in placed], float).reshape(-1, 4, 2)
    covered = covered_patches(skymap, corners, margin)
    patches: dict[PatchId, dict[str, list[CcdId]]] = defaultdict(lambda: defaultdict(list))
    pairs = zip(covered.detector, covered.tract, covered.column, covered.row, strict=True)
    for detector, tract, column, row in pairs:
        ccd = placed[detector]
        patches[int(tract), int(column), int(row)][ordered[ccd].filter].append(ccd)
    lost = tuple(frame for frame in ordered.values() if not frame.corners)
    return Inputs(ordered, visits, {key: patches[key] for key in sorted(patches)}, skymap, lost)
