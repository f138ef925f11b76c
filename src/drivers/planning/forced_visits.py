"""The nodes of forced photometry on single frames: one for each visit, which leads its CCDs."""

from __future__ import annotations

import math

import numpy as np

from drivers.graph.node import Call, Empty, Node, Outcomes
from drivers.planning import estimates
from drivers.planning.inputs import PatchId
from drivers.planning.overlaps import warp_inputs
from drivers.planning.plan import Plan, done, ident
from drivers.planning.stages import FORCED_CCD, MERGE_MEASUREMENTS, SINGLE_FRAME, SKY_CORRECTION
from drivers.planning.tracts import solution_nodes
from drivers.results import Reference, Table
from drivers.stages.forced_ccd import PLACE, ForcedCcdJob, forced_ccd


def forced_ccds(plan: Plan, visit: int, patches: list[PatchId], order: tuple[float, ...]) -> Node:
    """Return the node of a visit, in which the sources of some patches are measured."""
    ccds = plan.inputs.visits[visit]
    tracts = sorted({patch[0] for patch in patches})
    references = [ident(MERGE_MEASUREMENTS, *patch) for patch in patches]

    def prepare(outcomes: Outcomes) -> Call | Empty:
        known = [there for node in references if (there := done(outcomes, node))]
        if not known:
            return Empty("no patch that it covers has been measured")
        inputs, used = warp_inputs(plan, outcomes, ccds, tracts, None)
        if not inputs:
            return Empty("none of its CCDs can be used")
        job = ForcedCcdJob(
            visit=visit,
            filter=plan.inputs.filter_of(visit),
            root=plan.root,
            catalog=plan.rerun.relative(plan.rerun.forced_ccds(visit)),
            ccds=tuple(inputs),
            places=_places([each.value for each in known]),
            config=plan.config.forced_ccd,
        )
        pixels = float(math.prod(inputs[0].shape))
        return plan.call(
            FORCED_CCD, (visit,), forced_ccd, (job,), [*known, *used],
            estimate=estimates.forced_visit(len(inputs), pixels),
        )  # fmt: skip

    needs = [*references, *(ident(SINGLE_FRAME, *ccd) for ccd in ccds)]
    needs += solution_nodes(plan, ccds, tracts)
    if plan.has(SKY_CORRECTION):
        needs.append(ident(SKY_CORRECTION, visit))
    return Node(id=ident(FORCED_CCD, visit), needs=tuple(needs), prepare=prepare, order=order)


def _places(references: list[Reference]) -> Table:
    """Return where the primary sources of some patches are."""
    primary = [each.sources[each.sources["primary"]] for each in references]
    places = np.zeros(sum(map(len, primary)), PLACE)
    for name in PLACE.names or ():
        places[name] = np.concatenate([sources[name] for sources in primary])
    return places
