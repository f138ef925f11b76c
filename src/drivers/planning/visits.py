"""The node of a visit of which one task does all: its CCDs' single frames and its solution."""

from __future__ import annotations

from drivers.graph.node import Call, Done, Node, Outcomes
from drivers.planning import estimates
from drivers.planning.frames import ccds_of, single_frame_call, visit_job
from drivers.planning.plan import Plan, ident
from drivers.planning.stages import EXPOSURE
from drivers.stages.reduce_visit import CcdJob, ReduceJob, reduce_visit


def reduced_visit(plan: Plan, visit: int, order: tuple[float, ...]) -> Node:
    """Return the node of a visit; it has the name and the key of the visit's solution.

    What it makes of the CCDs has their keys, too: so all is done for those who want CCDs or visits.
    """

    def prepare(_: Outcomes) -> Call:
        calls = [single_frame_call(plan, ccd) for ccd in ccds_of(plan, visit)]
        ccds = [CcdJob(call.arguments[0], call.key, int(call.options["memory"])) for call in calls]
        job = ReduceJob(visit_job(plan, visit), tuple(ccds))
        alone = estimates.of_visit(len(calls))
        seconds = alone.seconds + sum(call.cost or 0.0 for call in calls)
        used = [Done(None, call.key) for call in calls]
        return plan.call(
            EXPOSURE, (visit,), reduce_visit, (job,), used,
            estimate=estimates.Estimate(seconds, alone.memory),
        )  # fmt: skip

    return Node(id=ident(EXPOSURE, visit), needs=(), prepare=prepare, order=order)
