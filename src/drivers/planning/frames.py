"""The nodes of CCDs and of visits: single frames, exposure solutions, sky corrections."""

from __future__ import annotations

from drivers.graph.node import Call, Done, Empty, Node, Outcomes
from drivers.planning import estimates
from drivers.planning.inputs import CcdId
from drivers.planning.plan import Plan, done, ident
from drivers.planning.stages import EXPOSURE, SINGLE_FRAME, SKY_CORRECTION
from drivers.results import CcdResult
from drivers.stages.exposure import VisitJob, solve_visit
from drivers.stages.single_frame import SingleFrameJob
from drivers.stages.single_frame import single_frame as process
from drivers.stages.sky_correction import SkyJob, correct_sky


def single_frame(plan: Plan, ccd: CcdId, order: tuple[float, ...]) -> Node:
    """Return the node of a CCD."""
    return Node(
        id=ident(SINGLE_FRAME, *ccd),
        needs=(),
        prepare=lambda _: single_frame_call(plan, ccd),
        order=order,
    )


def single_frame_call(plan: Plan, ccd: CcdId) -> Call:
    """Return the call of a CCD's task; its argument is a `SingleFrameJob`."""
    frame = plan.inputs.frames[ccd]
    calibs = plan.calibs(frame)
    job = SingleFrameJob(
        frame=frame,
        root=plan.root,
        image=plan.rerun.relative(plan.rerun.calexp(*ccd)),
        catalog=plan.rerun.relative(plan.rerun.catalog(*ccd)),
        configuration=plan.config.single_frame,
        calibs=tuple(calibs.values()),
        reference=plan.reference(frame),
        camera=plan.cameras.own(frame.instrument),
    )
    described = plan.cameras.digest(frame.instrument)
    used = sorted((kind, calib.path, calib.hdu) for kind, calib in calibs.items())
    return plan.call(
        SINGLE_FRAME, ccd, process, (job,), [],
        facts=[frame.key["input"], used, plan.reference_digest, described],
        estimate=estimates.single_frame(frame.width * frame.height),
    )  # fmt: skip


def accepted(plan: Plan, outcomes: Outcomes, ccds: list[CcdId]) -> dict[CcdId, Done]:
    """Return those of some CCDs which are done, and good enough to be used."""
    there = {ccd: done(outcomes, ident(SINGLE_FRAME, *ccd)) for ccd in ccds}
    return {
        ccd: outcome
        for ccd, outcome in there.items()
        if outcome and plan.accepts(outcome.value.row)
    }


def ccds_of(plan: Plan, visit: int) -> list[CcdId]:
    """Return the CCDs of a visit whose single frames are in the graph."""
    return plan.inputs.visits[visit]


def exposure(plan: Plan, visit: int, order: tuple[float, ...]) -> Node:
    """Return the node of a visit's astrometric and photometric solution."""
    ccds = ccds_of(plan, visit)

    def prepare(outcomes: Outcomes) -> Call | Empty:
        there = accepted(plan, outcomes, ccds)
        if not there:
            return Empty("none of its CCDs can be used")
        job = visit_job(plan, visit)
        results: list[CcdResult] = [outcome.value for outcome in there.values()]
        used = list(there.values())
        estimate = estimates.of_visit(len(there))
        return plan.call(EXPOSURE, (visit,), solve_visit, (job, results), used, estimate=estimate)

    needs = tuple(ident(SINGLE_FRAME, *ccd) for ccd in ccds)
    return Node(id=ident(EXPOSURE, visit), needs=needs, prepare=prepare, order=order)


def visit_job(plan: Plan, visit: int) -> VisitJob:
    """Return what the task of a visit's solution gets beside the CCDs."""
    return VisitJob(
        root=plan.root,
        output=plan.rerun.relative(plan.rerun.exposure(visit)),
        visit=visit,
        filter=plan.inputs.filter_of(visit),
        configuration=plan.config.exposure,
    )


def sky_correction(plan: Plan, visit: int, order: tuple[float, ...]) -> Node:
    """Return the node of a visit's sky over the whole focal plane."""
    ccds = ccds_of(plan, visit)

    def prepare(outcomes: Outcomes) -> Call | Empty:
        there = accepted(plan, outcomes, ccds)
        if not there:
            return Empty("none of its CCDs can be used")
        frames = {ccd: plan.calibs(plan.inputs.frames[visit, ccd]) for _, ccd in there}
        sky = {ccd: calibs["sky"] for ccd, calibs in frames.items() if "sky" in calibs}
        job = SkyJob(
            root=plan.root,
            output=plan.rerun.relative(plan.rerun.sky_correction(visit)),
            visit=visit,
            filter=plan.inputs.filter_of(visit),
            configuration=plan.config.sky_correction,
            sky_frames=sky,
        )
        results: list[CcdResult] = [outcome.value for outcome in there.values()]
        return plan.call(
            SKY_CORRECTION, (visit,), correct_sky, (job, results), list(there.values()),
            facts=sorted((ccd, calib.path) for ccd, calib in sky.items()),
            estimate=estimates.of_visit(len(there)),
        )  # fmt: skip

    needs = tuple(ident(SINGLE_FRAME, *ccd) for ccd in ccds)
    return Node(id=ident(SKY_CORRECTION, visit), needs=needs, prepare=prepare, order=order)
