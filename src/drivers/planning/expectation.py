"""How many tasks a plan has, and what they are expected to take, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drivers.planning.estimates import (
    Estimate,
    coadd,
    forced_visit,
    mosaic,
    of_visit,
    on_patch,
    single_frame,
)
from drivers.planning.inputs import Inputs
from drivers.planning.plan import Plan
from drivers.planning.stages import (
    COADD,
    DETECT,
    EXPOSURE,
    FORCED,
    FORCED_CCD,
    MEASURE,
    MERGE_DETECTIONS,
    MERGE_MEASUREMENTS,
    MOSAIC,
    SINGLE_FRAME,
    SKY_CORRECTION,
    Stage,
)


def expected(plan: Plan, stage: Stage) -> tuple[int, Estimate]:
    """Return how many tasks a stage has at most, and what one of them takes on average."""
    return _EXPECTED[stage](plan.inputs, stage)


def _of_frames(inputs: Inputs, _: Stage) -> tuple[int, Estimate]:
    return len(inputs.frames), single_frame(_pixels(inputs))


def _of_visits(inputs: Inputs, stage: Stage) -> tuple[int, Estimate]:
    visits = len(inputs.visits)
    ccds = len(inputs.frames) / max(1, visits)
    if stage is FORCED_CCD:
        return visits, forced_visit(ccds, _pixels(inputs))
    return visits, of_visit(ccds)


def _of_tracts(inputs: Inputs, _: Stage) -> tuple[int, Estimate]:
    tracts = inputs.tracts()
    ccds = sum(map(len, tracts.values())) / max(1, len(tracts))
    return len(tracts), mosaic(ccds)


def _of_bands(inputs: Inputs, stage: Stage) -> tuple[int, Estimate]:
    every = [ccds for bands in inputs.patches.values() for ccds in bands.values()]
    visits = sum(len({visit for visit, _ in ccds}) for ccds in every) / max(1, len(every))
    pixels = _patch_pixels(inputs)
    return len(every), coadd(pixels, visits) if stage is COADD else on_patch(stage, pixels)


def _of_patches(inputs: Inputs, stage: Stage) -> tuple[int, Estimate]:
    return len(inputs.patches), on_patch(stage, _patch_pixels(inputs))


def _pixels(inputs: Inputs) -> float:
    sizes = [frame.width * frame.height for frame in inputs.frames.values()]
    return sum(sizes) / max(1, len(sizes))


def _patch_pixels(inputs: Inputs) -> float:
    grid = inputs.skymap.grid
    return float((grid.inner + 2 * grid.border) ** 2)


_EXPECTED: Final[dict[Stage, Callable[[Inputs, Stage], tuple[int, Estimate]]]] = {
    SINGLE_FRAME: _of_frames, EXPOSURE: _of_visits, SKY_CORRECTION: _of_visits,
    MOSAIC: _of_tracts, COADD: _of_bands, DETECT: _of_bands, MERGE_DETECTIONS: _of_patches,
    MEASURE: _of_bands, MERGE_MEASUREMENTS: _of_patches, FORCED: _of_bands,
    FORCED_CCD: _of_visits,
}  # fmt: skip
