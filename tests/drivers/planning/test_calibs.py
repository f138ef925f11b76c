"""Which tasks make calibration frames, after what, and what decides whether they are made again."""

from collections import Counter
from dataclasses import replace

import pytest

from drivers.configuration import SurveyConfig
from drivers.graph.node import Call, Done, Empty, NodeId
from drivers.planning.calibs import CalibPlan, calib_graph
from drivers.registry import Calib, RawFrame
from drivers.repository import Repository
from drivers.stages.calibs import Made


def exposures(first, count, ccd, obstype, band="none"):
    return [
        RawFrame(
            visit=first + at, ccd=ccd, filter=band, instrument="SimCam", exptime=10.0,
            mjd=60000.0 + at, object="", width=32, height=64, path=f"/raw/{first + at}-{ccd}.fits",
            hdu=0, size=100, mtime=1.0, obstype=obstype,
        )
        for at in range(count)
    ]  # fmt: skip


def frames(**counts):
    found = {"bias": {}, "dark": {}, "flat": {}}
    for ccd in (0, 1):
        found["bias"]["", ccd] = exposures(100, counts.get("bias", 4), ccd, "bias")
        found["dark"]["", ccd] = exposures(200, 4, ccd, "dark")
        for at, band in enumerate("gr"):
            found["flat"][band, ccd] = exposures(300 + 100 * at, 4, ccd, "flat", band)
    return found


@pytest.fixture
def plan(tmp_path):
    return CalibPlan(
        rerun=Repository(tmp_path).rerun("c"), config=SurveyConfig(), frames=frames(),
        calibs=lambda frame: {}, options={},
    )  # fmt: skip


def made_by(node, call):
    """What comes of a call."""
    if call.function.__name__ == "build_calib":
        job = call.arguments[0]
        return Made({"visits": [], "notes": []}, job.output, {job.ccd: 1})
    return f"value of {node}"


def calls_of(plan, failing=()):
    """Run the graph with every task done but those which fail; return calls and empty nodes."""
    graph, calls, empty = calib_graph(plan), {}, {}
    add = graph._end

    def watched(node, outcome):
        if isinstance(outcome, Empty):
            empty[node] = outcome.reason
        add(node, outcome)

    graph._end = watched
    while started := graph.next():
        node, call = started
        calls[node] = call
        end = Empty("failed") if node in failing else Done(made_by(node, call), call.key)
        graph.end(node, end)
    assert graph.is_over
    return calls, {node: why for node, why in empty.items() if node not in failing}


def node(stage, *place):
    return NodeId(stage, place)


def test_each_kind_is_made_with_the_earlier_ones_and_flats_in_two_passes(plan):
    calls, empty = calls_of(plan)
    assert not empty
    assert Counter(name.stage for name in calls) == {
        "bias": 2, "dark": 2, "flatLevels": 4, "flatScales": 2, "flat": 4
    }  # fmt: skip
    order = list(calls)
    chain = [node("bias", 0), node("dark", 0), node("flatLevels", "g", 0), node("flatScales", "g")]
    places = [order.index(name) for name in [*chain, node("flat", "g", 0)]]
    assert places == sorted(places)
    job = calls[node("flat", "g", 1)].arguments[0]
    applied = {calib.kind: calib.path for calib in job.calibs[300]}
    assert applied == {kind: calls[node(kind, 1)].arguments[0].output for kind in ("bias", "dark")}
    assert calls[node("flat", "g", 1)].arguments[1] == f"value of {node('flatScales', 'g')}"
    assert isinstance(calls[node("bias", 0)], Call)


def test_the_name_of_a_file_tells_what_it_is_made_of(plan):
    calls, _ = calls_of(plan)
    call = calls[node("flat", "r", 0)]
    digest = call.key["inputs"]
    assert call.key == {"filter": "r", "ccd": 0, "inputs": digest}
    assert call.arguments[0].output == f"rerun/c/calib/flat/flat-r-000-{digest}.fits"
    outputs = [call.arguments[0].output for call in calls.values() if len(call.arguments) < 3]
    assert len(set(outputs)) == len(outputs)


def changed(plan, other):
    one, two = calls_of(plan)[0], calls_of(other)[0]
    return {name for name in one if one[name].key != two[name].key}


def test_another_bias_exposure_makes_anew_what_depends_on_it(plan):
    touched = frames()
    touched["bias"]["", 1][0] = replace(touched["bias"]["", 1][0], mtime=2.0)
    assert changed(plan, replace(plan, frames=touched)) == {
        node("bias", 1), node("dark", 1),
        node("flatLevels", "g", 1), node("flatScales", "g"), node("flat", "g", 0),
        node("flat", "g", 1),
        node("flatLevels", "r", 1), node("flatScales", "r"), node("flat", "r", 0),
        node("flat", "r", 1),
    }  # fmt: skip


def test_numbers_of_other_stages_make_nothing_anew(plan):
    other = SurveyConfig.model_validate({"singleFrame": {"detection": {"threshold": 7}}})
    assert not changed(plan, replace(plan, config=other))
    overscan = SurveyConfig.model_validate({"singleFrame": {"signature": {"overscan_order": 3}}})
    assert len(changed(plan, replace(plan, config=overscan))) == 14


def test_too_few_exposures_are_a_reason_and_the_rest_goes_on(plan):
    few = frames()
    few["flat"]["g", 0] = few["flat"]["g", 0][:2]
    calls, empty = calls_of(replace(plan, frames=few))
    why = "there are 2 exposures, 3 are needed"
    assert empty == {node("flatLevels", "g", 0): why, node("flat", "g", 0): why}
    assert node("flat", "g", 1) in calls


def test_without_scales_there_is_no_flat(plan):
    calls, empty = calls_of(plan, failing={node("flatScales", "r")})
    assert set(empty) == {node("flat", "r", 0), node("flat", "r", 1)}
    assert node("flat", "g", 0) in calls


def test_what_this_command_does_not_make_comes_from_the_registry(plan):
    older = Calib("bias", "SimCam", 0, "", 0, 1e9, "calib/old.fits", 1)
    only = {"dark": frames()["dark"]}
    plan = replace(plan, frames=only, calibs=lambda frame: {"bias": older, "dark": older})
    calls, _ = calls_of(plan)
    assert set(calls) == {node("dark", 0), node("dark", 1)}
    assert calls[node("dark", 0)].arguments[0].calibs[200] == (older,)
    newer = replace(older, path="calib/new.fits")
    assert changed(plan, replace(plan, calibs=lambda frame: {"bias": newer})) == set(calls)


def test_a_bias_that_failed_is_replaced_by_the_registrys(plan):
    older = Calib("bias", "SimCam", 0, "", 0, 1e9, "calib/old.fits", 1)
    plan = replace(plan, calibs=lambda frame: {"bias": older})
    calls, _ = calls_of(plan, failing={node("bias", 0)})
    assert calls[node("dark", 0)].arguments[0].calibs[200] == (older,)
    assert calls[node("dark", 1)].arguments[0].calibs[200][0].path.startswith("rerun/c/calib/bias")
