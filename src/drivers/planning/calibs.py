"""The graph of tasks which make calibration frames: the later kinds are made with the earlier.

Flats take two passes: the levels of all CCDs in all exposures are gathered, how bright each
exposure was is solved from them, and with that the CCDs' flats are made. So they say how sensitive
the CCDs are to one another, too. The skies are measured CCD by CCD, and gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from drivers.configuration import SurveyConfig
from drivers.graph.graph import Graph
from drivers.graph.node import Call, Done, Empty, Node, NodeId, Outcomes, Place
from drivers.instruments import BUILT_IN, Cameras
from drivers.planning.estimates import BASE, Estimate
from drivers.planning.identity import key_of
from drivers.planning.stages import Stage
from drivers.registry import Calib, RawFrame
from drivers.repository import Rerun
from drivers.stages.calibs import (
    CalibJob,
    Made,
    build_calib,
    measure_levels,
    measure_skies,
    solve_scales,
)
from drivers.stages.sky_frames import SkyFrameJob, build_sky_frames

KINDS: Final = ("bias", "dark", "flat", "fringe", "sky")
"""In the order in which they are made."""
APPLIED: Final[Mapping[str, tuple[str, ...]]] = {
    "bias": ("defects",), "dark": ("bias", "defects"), "flat": ("bias", "dark", "defects"),
    "fringe": ("bias", "dark", "flat", "defects"),
    "sky": ("bias", "dark", "flat", "fringe", "defects"),
}  # fmt: skip
"""What is applied to the exposures of which a kind is made."""
OBSTYPES: Final = {"fringe": "science", "sky": "science"}
"""What the exposures are called of which a kind is made, where that is not its own name."""
OF_ANY_FILTER: Final = frozenset({"bias", "dark"})

_CCD: Final = ("filter", "ccd")
_BAND: Final = ("filter",)
LEVELS: Final = Stage("flatLevels", "1", _CCD, "CCDs", ("calibs",))
SCALES: Final = Stage("flatScales", "1", _BAND, "filters", ("calibs",))
SKIES: Final = Stage("skies", "1", _CCD, "CCDs", ("calibs",))
SKY: Final = Stage("sky", "1", _BAND, "filters", ("calibs", "sky_correction"))
_OF_CCDS: Final = {
    kind: Stage(kind, "1", ("ccd",) if kind in OF_ANY_FILTER else _CCD, "CCDs", ("calibs",))
    for kind in ("bias", "dark", "flat", "fringe")
}
CALIB_STAGES: Final = {
    stage.name: stage for stage in (*_OF_CCDS.values(), LEVELS, SCALES, SKIES, SKY)
}
"""By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibPlan:
    """What is to be made of which exposures.

    Attributes
    ----------
    rerun : Rerun
        Where it goes.
    config : SurveyConfig
        Numbers.
    frames : Mapping of str to Mapping of (str, int) to list of RawFrame
        The exposures of each kind, in their order, by filter (empty for any) and ccd.
    calibs : callable
        Finds what the registry has for a frame, by kind.
    options : Mapping
        Of every call: retries.
    cameras : Cameras
        Descriptions of the cameras.
    """

    rerun: Rerun
    config: SurveyConfig
    frames: Mapping[str, Mapping[tuple[str, int], list[RawFrame]]]
    calibs: Callable[[RawFrame], Mapping[str, Calib]]
    options: Mapping[str, Any]
    cameras: Cameras = BUILT_IN


@dataclass(frozen=True, slots=True)
class _Task:
    """A task which reads the exposures of a CCD."""

    kind: str
    band: str
    ccd: int
    stage: Stage
    function: Callable[..., Any]

    @property
    def place(self) -> Place:
        """Its data ID."""
        return (self.band, self.ccd) if len(self.stage.places) > 1 else (self.ccd,)


def calib_graph(plan: CalibPlan) -> Graph:
    """Return the graph of all kinds that a plan has exposures of."""
    graph = Graph()
    for kind in KINDS:
        for node in _nodes(plan, kind, sorted(plan.frames.get(kind, {}))):
            graph.add(node)
    return graph


def _nodes(plan: CalibPlan, kind: str, places: list[tuple[str, int]]) -> Iterator[Node]:
    """Yield the nodes of a kind, each behind those which it needs."""
    bands = sorted({band for band, _ in places})

    def of_ccds(stage: Stage, function: Callable[..., Any]) -> Iterator[Node]:
        for band, ccd in places:
            yield _ccd_node(plan, _Task(kind, band, ccd, stage, function))

    if kind == "sky":
        yield from of_ccds(SKIES, measure_skies)
        yield from (_sky_node(plan, band) for band in bands)
        return
    if kind == "flat":
        yield from of_ccds(LEVELS, measure_levels)
        yield from (_scales_node(plan, band) for band in bands)
    yield from of_ccds(_OF_CCDS[kind], build_calib)


def _ccd_node(plan: CalibPlan, task: _Task) -> Node:
    """Return the node of a task which reads the exposures of a CCD."""
    needs = _earlier(plan, task)
    if task.stage.name == "flat":
        needs.append(NodeId(SCALES.name, (task.band,)))
    return Node(
        id=NodeId(task.stage.name, task.place),
        needs=tuple(needs),
        prepare=lambda outcomes: _ccd_call(plan, task, outcomes),
        order=(float(KINDS.index(task.kind)),),
    )


def _ccd_call(plan: CalibPlan, task: _Task, outcomes: Outcomes) -> Call | Empty:
    frames = plan.frames[task.kind][task.band, task.ccd]
    least, config = plan.config.calibs.least_frames, plan.config.single_frame
    if len(frames) < least:
        return Empty(f"there are {len(frames)} exposures, {least} are needed")
    done = {node.stage: one for node, one in outcomes.items() if isinstance(one, Done)}
    if task.stage.name == "flat" and SCALES.name not in done:
        return Empty("nothing says how bright the exposures are")
    made = {stage: one.value for stage, one in done.items() if isinstance(one.value, Made)}
    calibs = {frame.visit: _applied(plan, task.kind, frame, made) for frame in frames}
    facts = [
        [frame.key for frame in frames],
        [[one.kind, one.path, one.hdu] for some in calibs.values() for one in some],
        config.signature.digest(),
        plan.cameras.digest(frames[0].instrument),
        config.sky.digest() if task.kind in OBSTYPES else "",
    ]
    key = key_of(task.stage, task.place, plan.config, facts, done.values())
    digest = str(key["inputs"])
    output = plan.rerun.calib(task.kind, task.band, task.ccd, digest)
    job = CalibJob(
        kind=task.kind, stage=task.stage.name, digest=digest, ccd=task.ccd, filter=task.band,
        frames=tuple(frames), calibs=calibs, root=str(plan.rerun.repository.root),
        output=plan.rerun.relative(output), config=plan.config.calibs,
        signature=config.signature, sky=config.sky,
        camera=plan.cameras.own(frames[0].instrument),
    )  # fmt: skip
    scales = [done[SCALES.name].value] if SCALES.name in done else []
    return _call(plan, task.function, (job, *scales), key, _estimate(frames))


def _earlier(plan: CalibPlan, task: _Task) -> list[NodeId]:
    """Return the nodes of this command which make what is applied."""
    found = []
    for kind in APPLIED[task.kind]:
        band = "" if kind in OF_ANY_FILTER else task.band
        if (band, task.ccd) in plan.frames.get(kind, {}):
            stage = _OF_CCDS[kind]
            found.append(NodeId(kind, (task.ccd,) if len(stage.places) == 1 else (band, task.ccd)))
    return found


def _applied(
    plan: CalibPlan, kind: str, frame: RawFrame, made: Mapping[str, Made]
) -> tuple[Calib, ...]:
    """Return what is applied to an exposure: what this command has made, or the registry has."""
    there = plan.calibs(frame)
    found = []
    for other in APPLIED[kind]:
        if other in made:
            one = made[other]
            found.append(
                Calib(
                    other,
                    frame.instrument,
                    frame.ccd,
                    "",
                    -1e9,
                    1e9,
                    one.path,
                    one.units[frame.ccd],
                )
            )
        elif other in there:
            found.append(there[other])
    return tuple(found)


def _scales_node(plan: CalibPlan, band: str) -> Node:
    """Return the node which gathers the levels of a filter's flat exposures."""
    needs = tuple(NodeId(LEVELS.name, where) for where in plan.frames["flat"] if where[0] == band)

    def prepare(outcomes: Outcomes) -> Call | Empty:
        used = [one for one in outcomes.values() if isinstance(one, Done)]
        if not used:
            return Empty("no CCD has flat exposures which can be used")
        key = key_of(SCALES, (band,), plan.config, None, used)
        levels = [one.value for one in used]
        arguments = (levels, plan.config.calibs.level_clip, band)
        return _call(plan, solve_scales, arguments, key, Estimate(0.1, BASE))

    return Node(id=NodeId(SCALES.name, (band,)), needs=needs, prepare=prepare, order=(2.0, 0.5))


def _sky_node(plan: CalibPlan, band: str) -> Node:
    """Return the node which gathers the skies of a filter."""
    needs = tuple(NodeId(SKIES.name, where) for where in plan.frames["sky"] if where[0] == band)

    def prepare(outcomes: Outcomes) -> Call | Empty:
        used = [one for one in outcomes.values() if isinstance(one, Done)]
        if not used:
            return Empty("no CCD has exposures which can be used")
        key = key_of(SKY, (band,), plan.config, None, used)
        digest = str(key["inputs"])
        job = SkyFrameJob(
            filter=band, stage=SKY.name, digest=digest,
            root=str(plan.rerun.repository.root),
            output=plan.rerun.relative(plan.rerun.calib("sky", band, None, digest)),
            config=plan.config.calibs, sky_correction=plan.config.sky_correction,
        )  # fmt: skip
        arguments = (job, [one.value for one in used])
        return _call(plan, build_sky_frames, arguments, key, Estimate(1.0, BASE))

    return Node(id=NodeId(SKY.name, (band,)), needs=needs, prepare=prepare, order=(5.0,))


def _call(
    plan: CalibPlan,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    key: dict[str, Any],
    estimate: Estimate,
) -> Call:
    return Call(
        function=function,
        arguments=arguments,
        key=key,
        cost=estimate.seconds,
        options={**plan.options, "memory": int(estimate.memory)},
    )


def _estimate(frames: list[RawFrame]) -> Estimate:
    """Of a task which reads frames and holds them all."""
    pixels = sum(frame.width * frame.height for frame in frames)
    return Estimate(0.2e-6 * pixels, BASE + 5 * pixels + 100 * pixels / len(frames))
