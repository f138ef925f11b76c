"""What ``--dry-run`` and ``--show`` say: how much there is to do, on what, with which numbers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from drivers.command import Ending
from drivers.data_id import compact
from drivers.graph.graph import Graph, State
from drivers.planning.expectation import expected
from drivers.planning.plan import Plan, ident
from drivers.planning.stages import SINGLE_FRAME, STAGES, VITAL, Mode
from drivers.planning.survey_graph import survey_graph
from drivers.recall import recall_of
from drivers.standing import require_configuration, standing


def describe(plan: Plan, options: argparse.Namespace) -> Ending:
    """Return what was asked for; nothing is changed."""
    if options.show == "config":
        return Ending(0, list(_config(plan.config.as_dict())))
    if options.show == "graph":
        return Ending(0, list(_graph(plan)))
    if not (options.clobber_config or options.reprocess):
        require_configuration(plan.rerun, plan.config.as_dict())
    graph = standing(plan, recall_of(plan, options), options.group)
    return Ending(0, list((_data if options.show == "data" else _dry_run)(plan, graph)))


def _config(values: Mapping[str, Any]) -> Iterator[str]:
    """Say the configuration as a file for --config-file: TOML has no word for "not set"."""
    unset: list[str] = []
    yield from tomli_w.dumps(_set(values, "", unset)).splitlines()
    if unset:
        yield f"# not set: {', '.join(unset)}"


def _set(values: Mapping[str, Any], prefix: str, unset: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            unset.append(prefix + name)
        elif isinstance(value, Mapping):
            found[name] = _set(value, f"{prefix}{name}.", unset)
        else:
            found[name] = value
    return found


def _data(plan: Plan, graph: Graph) -> Iterator[str]:
    for ccd, frame in plan.inputs.frames.items():
        node = ident(SINGLE_FRAME, *ccd)
        is_done = node in graph and graph.state(node) is State.REUSED
        state = " (done already)" if is_done else ""
        yield f"{frame} filter={frame.filter} {frame.instrument} {frame.role} {frame.path}{state}"
    for (tract, column, row), bands in plan.inputs.patches.items():
        covered = ", ".join(
            f"{band} {len({visit for visit, _ in ccds})} visits {len(ccds)} CCDs"
            for band, ccds in bands.items()
        )
        yield f"tract={tract} patch={column},{row}: {covered}"
    visits = compact(sorted(plan.inputs.visits))
    yield f"{len(plan.inputs.frames)} CCDs of visit={visits}; nothing was changed"


def _graph(plan: Plan) -> Iterator[str]:
    counts = survey_graph(plan).counts()
    for stage in STAGES:
        if stage.name in counts:
            before = VITAL.get(stage.name, "")
            what = f" after {before}" if before else ""
            number = sum(counts[stage.name].values())
            yield f"{stage.name}: {number} {stage.unit}{what} ({plan.modes[stage.name].value})"


def _dry_run(plan: Plan, graph: Graph) -> Iterator[str]:
    """Count the tasks of each stage and those which are done; say what the rest will take."""
    done = {stage: states[State.REUSED] for stage, states in graph.counts().items()}
    yield f"{'stage':<18} {'tasks':>8} {'done':>8}  {'expected':>12} {'memory':>9}  basis"
    total, widest = 0.0, 0.0
    for stage in STAGES:
        tasks, estimate = expected(plan, stage)
        if not tasks or plan.modes[stage.name] is not Mode.RUN:
            continue
        learnt = plan.learnt.get(stage.name)
        estimate = learnt.of(estimate) if learnt else estimate
        each, memory = estimate.seconds, estimate.memory
        left = max(0, tasks - done.get(stage.name, 0))
        total, widest = total + left * each, max(widest, memory)
        basis = "records" if learnt else "image sizes"
        yield (
            f"{stage.name:<18} {tasks:>8} {done.get(stage.name, 0):>8}  {_time(left * each):>12}"
            f" {memory / 1e6:>6.0f} MB  {basis}"
        )
    yield (
        f"in all {_time(total)} of one core; tasks need up to {widest / 1e6:.0f} MB; "
        "nothing was changed"
    )
    if plan.inputs.unplaced:
        lost = ", ".join(map(str, plan.inputs.unplaced[:5]))
        yield f"note: {len(plan.inputs.unplaced)} CCDs say nothing of where they are: {lost}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
