"""The nodes of tracts, and the best that is known of where a CCD is and what its fluxes mean."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from drivers.graph.node import Call, Done, Empty, Node, NodeId, Outcomes
from drivers.planning import estimates
from drivers.planning.frames import accepted
from drivers.planning.inputs import CcdId
from drivers.planning.plan import Plan, done, ident
from drivers.planning.stages import EXPOSURE, MOSAIC, SINGLE_FRAME
from drivers.results import CcdSolution
from drivers.stages.mosaic import TractJob, TractVisit, solve_tract


def mosaic(plan: Plan, tract: int, band: str, ccds: list[CcdId], order: tuple[float, ...]) -> Node:
    """Return the node of a tract's global solution in one filter."""
    visits = {visit: list(those) for visit, those in groupby(ccds, key=lambda ccd: ccd[0])}

    def prepare(outcomes: Outcomes) -> Call | Empty:
        there = accepted(plan, outcomes, ccds)
        solved = {visit: done(outcomes, ident(EXPOSURE, visit)) for visit in visits}
        used = [*there.values(), *filter(None, solved.values())]
        parts = [
            TractVisit(
                visit=visit,
                ccds=[there[ccd].value for ccd in those if ccd in there],
                solution=outcome.value if (outcome := solved[visit]) else None,
            )
            for visit, those in visits.items()
            if any(ccd in there for ccd in those)
        ]
        if not parts:
            return Empty("no CCD can be used in it")
        job = TractJob(
            root=plan.root,
            output=plan.rerun.relative(plan.rerun.mosaic(tract, band)),
            tract=tract,
            filter=band,
            wcs=plan.inputs.skymap.tract(tract).wcs,
            configuration=plan.config.mosaic,
        )
        most = plan.config.mosaic.ranks
        options = {"ranks": (1, most)} if most > 1 else {}
        place = (tract, band)
        return plan.call(
            MOSAIC, place, solve_tract, (job, parts), used,
            estimate=estimates.mosaic(len(there)), **options,
        )  # fmt: skip

    needs = [ident(SINGLE_FRAME, *ccd) for ccd in ccds]
    if plan.has(EXPOSURE):
        needs += [ident(EXPOSURE, visit) for visit in visits]
    return Node(id=ident(MOSAIC, tract, band), needs=tuple(needs), prepare=prepare, order=order)


def solution_nodes(plan: Plan, ccds: Iterable[CcdId], tracts: Iterable[int]) -> list[NodeId]:
    """Return the nodes which find out where some CCDs are."""
    visits = sorted({visit for visit, _ in ccds})
    nodes = [ident(EXPOSURE, visit) for visit in visits] if plan.has(EXPOSURE) else []
    if plan.has(MOSAIC):
        bands = sorted({plan.inputs.filter_of(visit) for visit in visits})
        nodes += [ident(MOSAIC, tract, band) for tract in tracts for band in bands]
    return nodes


def best_solution(
    plan: Plan, outcomes: Outcomes, ccd: CcdId, tracts: Iterable[int]
) -> tuple[CcdSolution | None, Done | None]:
    """Return the best solution of a CCD, and what it is from.

    It is the mosaic's, or the exposure's, or what the CCD alone has said; None if that has no zero
    point.
    """
    band = plan.inputs.filter_of(ccd[0])
    nodes = [*(ident(MOSAIC, tract, band) for tract in tracts), ident(EXPOSURE, ccd[0])]
    for node in nodes:
        outcome = done(outcomes, node)
        if outcome and ccd in outcome.value.ccds:
            return outcome.value.ccds[ccd], outcome
    own = done(outcomes, ident(SINGLE_FRAME, *ccd))
    if own is None or own.value.row["zero_point"] is None:
        return None, None
    return CcdSolution(own.value.row["wcs"], own.value.row["zero_point"]), own
