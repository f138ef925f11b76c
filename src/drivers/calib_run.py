"""Plans, runs and registers what `constructCalibsDriver` is to make."""

from __future__ import annotations

import argparse
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from drivers.command import CommandError, Ending, Stopped, first_line
from drivers.configuration import SurveyConfig, load_configuration
from drivers.data_id import condition, parse_selection
from drivers.graph.graph import Graph, State
from drivers.graph.node import Done, Empty, Failed, NodeId, Outcome
from drivers.graph.running import run
from drivers.instruments import Cameras, cameras_in
from drivers.planning.calibs import (
    CALIB_STAGES,
    KINDS,
    OBSTYPES,
    OF_ANY_FILTER,
    CalibPlan,
    calib_graph,
)
from drivers.planning.identity import data_id
from drivers.progress import shown
from drivers.registry import (
    Calib,
    RawFrame,
    add_calibs,
    find_calibs,
    find_frames,
    open_registry,
    selectable,
)
from drivers.repository import open_repository
from drivers.selection import usable_detectors
from drivers.stages.calibs import Made
from mpipool import Drained, Pool, WorldLost

ROLES = ("science", "focus", "guide")
"""Of the detectors for which calibration frames are made."""
_BEFORE = 1.0
"""Days before its first exposure from which on a calibration frame is good: evening flats are for
the night, and morning flats for the one before."""
_EVER = 1e9
"""An MJD which nobody will see."""
_NAMED = 20
"""Lines about what was not made."""


@dataclass(frozen=True, slots=True)
class Validity:
    """For when calibration frames are good, as the command says [MJD]; None: nothing is said."""

    begins: float | None = None
    ends: float | None = None

    def of(self, frames: Sequence[RawFrame]) -> tuple[float, float]:
        """Return for when what is made of these exposures is good: from, to [MJD]."""
        dates = [frame.mjd for frame in frames if frame.mjd is not None]
        first = min(dates) - _BEFORE if dates else -_EVER
        return (
            first if self.begins is None else self.begins,
            _EVER if self.ends is None else self.ends,
        )


def make_calib_plan(options: argparse.Namespace, open_files: ExitStack) -> CalibPlan:
    """Check a command line against the repository. Changes nothing on disk.

    Raises
    ------
    CommandError
        If it can't be carried out, with the reason.
    """
    begins, ends = options.valid_from, options.valid_to
    if begins is not None and ends is not None and begins >= ends:
        raise CommandError("--valid-from is not before --valid-to")
    repository = open_repository(options.repo)
    own = [repository.configuration] if repository.configuration.is_file() else []
    config = load_configuration(SurveyConfig, [*own, *options.config_file], options.config)
    registry = open_files.enter_context(open_registry(repository.registry))
    cameras = cameras_in(repository.instruments)
    return CalibPlan(
        rerun=repository.rerun(options.rerun),
        config=config,
        cameras=cameras,
        frames={
            kind: _frames(registry, options, config, cameras, kind)
            for kind in KINDS
            if kind in options.kind
        },
        calibs=lambda frame: find_calibs(registry, frame),
        options={"retries": options.retries} if options.retries else {},
    )


def _frames(
    registry: sqlite3.Connection,
    options: argparse.Namespace,
    config: SurveyConfig,
    cameras: Cameras,
    kind: str,
) -> Mapping[tuple[str, int], list[RawFrame]]:
    """Return the exposures of which a kind is made, by filter and ccd."""
    kinds = selectable("raw")
    obstype = OBSTYPES.get(kind, kind)
    clauses = [condition([parse_selection(words, kinds) for words in options.id])]
    clauses.append(usable_detectors(ROLES, config.selection.ignore_ccds, cameras, obstype))
    where = " AND ".join(f"({clause})" for clause, _ in clauses)
    frames = find_frames(registry, where, [value for _, some in clauses for value in some])
    if not frames:
        raise CommandError(f"--kind {kind}: --id selects no {obstype} exposure")
    names = sorted({frame.instrument for frame in frames})
    if len(names) > 1:
        raise CommandError(
            f"--kind {kind}: the exposures are of {' and '.join(names)}; take one of them, such "
            f"as --id instrument={names[0]}"
        )
    found: dict[tuple[str, int], list[RawFrame]] = {}
    for frame in frames:
        band = "" if kind in OF_ANY_FILTER else frame.filter
        found.setdefault((band, frame.ccd), []).append(frame)
    return found


def describe(plan: CalibPlan) -> Ending:
    """Say what a plan would make."""
    lines = []
    for kind, places in plan.frames.items():
        bands = sorted({band for band, _ in places if band})
        of = f" in {', '.join(bands)}" if bands else ""
        exposures = len({frame.visit for frames in places.values() for frame in frames})
        ccds = len({ccd for _, ccd in places})
        lines.append(f"{kind}: {ccds} CCDs{of} from {exposures} exposures")
    lines.append(f"{len(calib_graph(plan))} tasks at most; nothing was changed")
    return Ending(0, lines)


class _Running:
    """What came of the nodes so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.made: list[tuple[Made, NodeId]] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.show: Any = None
        self._done = 0

    def ended(self, node: NodeId, outcome: Outcome) -> None:
        """Take in that a node has ended."""
        match outcome:
            case Failed(error):
                self.missing.append(f"{_named(node)}: {first_line(error)}")
            case Empty(reason):
                self.missing.append(f"{_named(node)}: {reason}")
            case Done(value):
                self._done += 1
                row = getattr(value, "row", {})
                self.notes += [f"{_named(node)}: {note}" for note in row.get("notes", ())]
                if isinstance(value, Made):
                    self.made.append((value, node))
        self.show(self._done, len(self.missing), len(self._graph))


def _named(node: NodeId) -> str:
    values = data_id(CALIB_STAGES[node.stage], node.place)
    return " ".join([node.stage, *(f"{name}={value}" for name, value in values.items())])


def carry_out_calibs(plan: CalibPlan, options: argparse.Namespace, validity: Validity) -> Ending:
    """Make what is not made yet, enter it into the registry, and say what was done.

    Raises
    ------
    MpipoolError
        If the rerun's database is refused.
    Stopped
        If the run was interrupted.
    """
    graph = calib_graph(plan)
    running = _Running(graph)
    plan.rerun.check_writable()
    plan.rerun.make_folder()
    try:
        pool = Pool(
            checkpoint=plan.rerun.run_db,
            config=plan.config.as_dict(),
            take_over=options.take_over,
            clobber_config=options.clobber_config,
        )
        with pool, shown(len(graph), plan.rerun.name, "tasks") as running.show:
            run(pool, graph, running.ended, fail_fast=options.fail_fast)
    except Drained as error:
        _register(plan, running, validity)
        return Ending(error.code, errors=[f"drained ({error.reason}): the same command goes on"])
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped("the same command goes on from there") from error
    entered = _register(plan, running, validity)
    return Ending(1 if running.missing else 0, _summary(plan, graph, running, entered))


def _register(plan: CalibPlan, running: _Running, validity: Validity) -> int:
    """Enter what was made into the registry; return how many calibration frames these are."""
    calibs = []
    for made, _ in running.made:
        kind, band = made.row["kind"], made.row["filter"]
        for ccd, unit in made.units.items():
            used = set(made.row["visits"])
            frames = [one for one in plan.frames[kind][band, ccd] if one.visit in used]
            begins, ends = validity.of(frames)
            calibs.append(
                Calib(
                    kind, frames[0].instrument, ccd, band, begins, ends, made.path, unit,
                    tuple(made.row["visits"]), plan.rerun.name,
                )
            )  # fmt: skip
    if not calibs:
        return 0
    with open_registry(plan.rerun.repository.registry, create=True) as connection:
        return add_calibs(connection, calibs)


def _summary(plan: CalibPlan, graph: Graph, running: _Running, entered: int) -> list[str]:
    lines = [f"{'stage':<12} {'tasks':>6} {'done':>6} {'before':>6} {'failed':>6} {'nothing':>7}"]
    for name, states in graph.counts().items():
        lines.append(f"{name:<12} {_counted(states)}")
    missing = running.missing
    if missing:
        lines.append(f"not made ({len(missing)}):")
        lines += [f"  {line}" for line in missing[:_NAMED]]
        if len(missing) > _NAMED:
            lines.append(f"  … and {len(missing) - _NAMED} more")
    lines += [f"note: {note}" for note in running.notes[:_NAMED]]
    folder = plan.rerun.folder / "calib"
    lines.append(f"{entered} calibration frames are in {plan.rerun.repository.registry}: {folder}")
    return lines


def _counted(states: Counter[State]) -> str:
    before, failed, empty = states[State.REUSED], states[State.FAILED], states[State.EMPTY]
    done = states[State.DONE] + before
    return f"{sum(states.values()):>6} {done:>6} {before:>6} {failed:>6} {empty:>7}"
