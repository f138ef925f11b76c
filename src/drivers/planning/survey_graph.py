"""The graph of a whole survey.

Of what may start, that of the latest stage goes first, and within a stage what stands together on
the sky: so tracts are finished one by one, coadds begin long before the last single frame has
ended, and little has to be kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from drivers.graph.graph import Graph
from drivers.graph.node import Node
from drivers.planning.forced_visits import forced_ccds
from drivers.planning.frames import exposure, single_frame, sky_correction
from drivers.planning.inputs import PatchId
from drivers.planning.patches import of_patch
from drivers.planning.plan import Plan
from drivers.planning.stages import (
    EXPOSURE,
    FORCED_CCD,
    MOSAIC,
    NAMES,
    SKY_CORRECTION,
    Stage,
)
from drivers.planning.tracts import mosaic
from drivers.planning.visits import reduced_visit


def survey_graph(plan: Plan) -> Graph:
    """Return the graph of all that a plan may need; each stage's nodes have its mode."""
    graph = Graph()
    for node in _whole_visits(plan) if plan.by_visit else _nodes(plan):
        graph.add(node)
    return graph


def _whole_visits(plan: Plan) -> Iterator[Node]:
    """Yield the nodes of visits of which one task does all."""
    visits = _in_order(plan, _patches_of_visits(plan))
    return (reduced_visit(plan, visit, (0.0, at)) for at, visit in enumerate(visits))


def _nodes(plan: Plan) -> Iterator[Node]:
    """Yield all nodes, each behind those which it needs."""
    patches_of = _patches_of_visits(plan)
    visits = _in_order(plan, patches_of)
    for at, visit in enumerate(visits):
        for ccd in plan.inputs.visits[visit]:
            yield single_frame(plan, ccd, (0.0, at))
    yield from _of_visits(plan, visits)
    if plan.has(MOSAIC):
        for at, ((tract, band), ccds) in enumerate(plan.inputs.tracts().items()):
            yield mosaic(plan, tract, band, ccds, _order(at)(MOSAIC))
    for at, patch in enumerate(plan.inputs.patches):
        yield from of_patch(plan, patch, _order(at))
    if plan.has(FORCED_CCD):
        covering = [visit for visit in visits if visit in patches_of]
        for at, visit in enumerate(covering):
            yield forced_ccds(plan, visit, patches_of[visit], _order(at)(FORCED_CCD))


def _of_visits(plan: Plan, visits: list[int]) -> Iterator[Node]:
    for stage, make in ((EXPOSURE, exposure), (SKY_CORRECTION, sky_correction)):
        if plan.has(stage):
            yield from (make(plan, visit, _order(at)(stage)) for at, visit in enumerate(visits))


def _order(place: int) -> Callable[[Stage], tuple[float, ...]]:
    return lambda stage: (-float(NAMES.index(stage.name)), float(place))


def _patches_of_visits(plan: Plan) -> dict[int, list[PatchId]]:
    found: dict[int, list[PatchId]] = defaultdict(list)
    for patch, bands in plan.inputs.patches.items():
        for visit in sorted({visit for ccds in bands.values() for visit, _ in ccds}):
            found[visit].append(patch)
    return found


def _in_order(plan: Plan, patches_of: dict[int, list[PatchId]]) -> list[int]:
    """Return the visits so that those of a tract and filter stand together."""

    def place(visit: int) -> tuple[object, ...]:
        patches = patches_of.get(visit)
        return patches[0][:1] if patches else (), plan.inputs.filter_of(visit), visit

    return sorted(plan.inputs.visits, key=place)
