"""The nodes of patches: coadds, detection, and measurement in several bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from drivers.configuration.coadd import DeblendConfig
from drivers.graph.node import Call, Done, Empty, Node, NodeId, Outcomes, Place
from drivers.planning import estimates
from drivers.planning.identity import key_of
from drivers.planning.inputs import PatchId
from drivers.planning.overlaps import warp_inputs
from drivers.planning.plan import Plan, done, ident
from drivers.planning.stages import (
    COADD,
    DETECT,
    FORCED,
    MEASURE,
    MERGE_DETECTIONS,
    MERGE_MEASUREMENTS,
    SINGLE_FRAME,
    SKY_CORRECTION,
    Stage,
)
from drivers.planning.tracts import solution_nodes
from drivers.results import PatchArea, WarpInput
from drivers.stages.coadd import CoaddJob
from drivers.stages.detect import DetectJob, detect
from drivers.stages.forced import ForcedJob, forced
from drivers.stages.measure import MeasureJob, measure
from drivers.stages.merge_detections import MergeDetectionsJob, merge_detections
from drivers.stages.merge_measurements import MergeMeasurementsJob, merge_measurements
from drivers.stages.patch_coadd import PatchCoaddJob, coadd_patch
from drivers.stages.warp import WarpJob

Order = tuple[float, ...]
APART = "apart"
"""In the key of what was measured: a digest like ``inputs``, but for the limit of areas.

A patch on which nothing was over the limit comes out the same with a larger one.
"""


def coadd_node(plan: Plan, patch: PatchId, band: str, order: Order) -> Node:
    """Return the node of a coadd: its task leads the warps of its visits."""
    ccds = plan.inputs.patches[patch][band]

    def prepare(outcomes: Outcomes) -> Call | Empty:
        region = plan.inputs.patch(patch).polygon
        inputs, used = warp_inputs(plan, outcomes, ccds, [patch[0]], region)
        if not any(done(outcomes, ident(SINGLE_FRAME, *ccd)) for ccd in ccds):
            return Empty("the single frames on it are not done: singleFrameDriver makes them")
        if not inputs:
            return Empty("no CCD that can be used overlaps it")
        job = _coadd_job(plan, plan.inputs.patch(patch).area(), band, inputs)
        pixels = math.prod(job.coadd.area.shape)
        return plan.call(
            COADD, (*patch, band), coadd_patch, (job,), used,
            estimate=estimates.coadd(pixels, len(job.warps)),
        )  # fmt: skip

    needs = [ident(SINGLE_FRAME, *ccd) for ccd in ccds]
    needs += solution_nodes(plan, ccds, [patch[0]])
    if plan.has(SKY_CORRECTION):
        needs += [ident(SKY_CORRECTION, visit) for visit in sorted({ccd[0] for ccd in ccds})]
    node = ident(COADD, *patch, band)
    return Node(id=node, needs=tuple(needs), prepare=prepare, order=order)


def _coadd_job(plan: Plan, area: PatchArea, band: str, inputs: list[WarpInput]) -> PatchCoaddJob:
    image = plan.rerun.relative(plan.rerun.coadd(area, band))
    warps = tuple(
        WarpJob(
            area=area,
            filter=band,
            visit=visit,
            inputs=tuple(those),
            root=plan.root,
            config=plan.config.warp,
            scratch=plan.scratch,
        )
        for visit, those in groupby(inputs, key=lambda one: one.visit)
    )
    return PatchCoaddJob(CoaddJob(area, band, plan.root, image, plan.config.coadd), warps)


Values = dict[Stage, Any]
MakeJob = Callable[[Plan, PatchArea, str, Values], Any]


def _detect_job(plan: Plan, area: PatchArea, band: str, values: Values) -> DetectJob:
    return DetectJob(area, band, plan.root, values[COADD], plan.config.detect)


def _measure_job(plan: Plan, area: PatchArea, band: str, values: Values) -> MeasureJob:
    return MeasureJob(
        area=area,
        filter=band,
        root=plan.root,
        catalog=plan.rerun.relative(plan.rerun.measurements(area, band)),
        coadd=values[COADD],
        detections=values[DETECT],
        merged=values[MERGE_DETECTIONS],
        config=plan.config.measure,
    )


def _forced_job(plan: Plan, area: PatchArea, band: str, values: Values) -> ForcedJob:
    return ForcedJob(
        area=area,
        filter=band,
        root=plan.root,
        catalog=plan.rerun.relative(plan.rerun.forced(area, band)),
        coadd=values[COADD],
        detections=values[DETECT],
        merged=values[MERGE_DETECTIONS],
        reference=values[MERGE_MEASUREMENTS],
        max_area=plan.config.measure.deblend.max_area,
        config=plan.config.forced,
    )


def _in_one_band(
    stage: Stage, needs: tuple[Stage, ...], function: Callable[..., Any], job: MakeJob
) -> Callable[[Plan, PatchId, str, Order], Node]:
    """Make nodes of a stage which works on one coadd.

    Parameters
    ----------
    stage, needs
        The stage, and those whose results it must have.
    function, job : callable
        What is called, and what makes its job.
    """

    def make(plan: Plan, patch: PatchId, band: str, order: Order) -> Node:
        nodes = {each: _node(each, patch, band) for each in needs}

        def prepare(outcomes: Outcomes) -> Call | Empty:
            there = {each: done(outcomes, node) for each, node in nodes.items()}
            used = [outcome for outcome in there.values() if outcome]
            if len(used) < len(there):
                lacking = next(each for each, outcome in there.items() if outcome is None)
                return Empty(f"there is no {lacking.name} of it")
            area = plan.inputs.patch(patch).area()
            values = {each: outcome.value for each, outcome in there.items() if outcome}
            pixels = math.prod(area.shape)
            call = plan.call(
                stage, (*patch, band), function, (job(plan, area, band, values),), used,
                estimate=estimates.on_patch(stage, pixels),
            )  # fmt: skip
            if stage is MEASURE:
                call.key[APART] = _apart_from_limit(plan, (*patch, band), used)
            return call

        node = _node(stage, patch, band)
        return Node(id=node, needs=tuple(nodes.values()), prepare=prepare, order=order)

    return make


def _apart_from_limit(plan: Plan, place: Place, used: list[Done]) -> str:
    """Return a digest like that of the inputs, for whatever limit of the footprints' areas."""
    section = plan.config.measure.model_copy(update={"deblend": DeblendConfig()})
    config = plan.config.model_copy(update={"measure": section})
    return str(key_of(MEASURE, place, config, None, used)["inputs"])


def _node(stage: Stage, patch: PatchId, band: str) -> NodeId:
    return ident(stage, *patch, band) if "filter" in stage.places else ident(stage, *patch)


detect_node = _in_one_band(DETECT, (COADD,), detect, _detect_job)
measure_node = _in_one_band(MEASURE, (COADD, DETECT, MERGE_DETECTIONS), measure, _measure_job)
forced_node = _in_one_band(
    FORCED, (COADD, DETECT, MERGE_DETECTIONS, MERGE_MEASUREMENTS), forced, _forced_job
)


def _merge_detections_job(plan: Plan, area: PatchArea, values: dict[str, Any]) -> Any:
    return MergeDetectionsJob(area, values, plan.config.merge_detections)


def _merge_measurements_job(plan: Plan, area: PatchArea, values: dict[str, Any]) -> Any:
    return MergeMeasurementsJob(
        area=area,
        root=plan.root,
        catalog=plan.rerun.relative(plan.rerun.patch_reference(area)),
        measured=values,
        bands=tuple(values),
        config=plan.config.merge_measurements,
    )


def _in_all_bands(
    stage: Stage,
    before: Stage,
    function: Callable[..., Any],
    job: Callable[[Plan, PatchArea, dict[str, Any]], Any],
) -> Callable[[Plan, PatchId, Order], Node]:
    """Make nodes of a stage which merges what another one has found in a patch's bands."""

    def make(plan: Plan, patch: PatchId, order: Order) -> Node:
        nodes = {band: ident(before, *patch, band) for band in plan.inputs.patches[patch]}

        def prepare(outcomes: Outcomes) -> Call | Empty:
            there = {band: got for band, node in nodes.items() if (got := done(outcomes, node))}
            if not there:
                return Empty(f"there is no {before.name} of it in any filter")
            area = plan.inputs.patch(patch).area()
            values = {band: outcome.value for band, outcome in there.items()}
            arguments, used = (job(plan, area, values),), list(there.values())
            estimate = estimates.on_patch(stage, float(math.prod(area.shape)))
            return plan.call(stage, patch, function, arguments, used, estimate=estimate)

        needs = tuple(nodes.values())
        return Node(id=ident(stage, *patch), needs=needs, prepare=prepare, order=order)

    return make


merge_detections_node = _in_all_bands(
    MERGE_DETECTIONS, DETECT, merge_detections, _merge_detections_job
)
merge_measurements_node = _in_all_bands(
    MERGE_MEASUREMENTS, MEASURE, merge_measurements, _merge_measurements_job
)


def of_patch(plan: Plan, patch: PatchId, order: Callable[[Stage], Order]) -> Iterator[Node]:
    """Yield all nodes of a patch, in the order in which they need one another."""
    in_band = {COADD: coadd_node, DETECT: detect_node, MEASURE: measure_node, FORCED: forced_node}
    in_all = {
        MERGE_DETECTIONS: merge_detections_node,
        MERGE_MEASUREMENTS: merge_measurements_node,
    }
    for stage in (COADD, DETECT, MERGE_DETECTIONS, MEASURE, MERGE_MEASUREMENTS, FORCED):
        if not plan.has(stage):
            continue
        if stage in in_all:
            yield in_all[stage](plan, patch, order(stage))
        else:
            bands = plan.inputs.patches[patch]
            yield from (in_band[stage](plan, patch, band, order(stage)) for band in bands)
