"""Carries a plan out: opens the rerun's database, runs the graph, and derives the registry."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

from drivers.command import Ending, Stopped
from drivers.follow_options import followed
from drivers.frame_error import FrameError
from drivers.graph.graph import Graph, State
from drivers.graph.node import Failed, NodeId, Outcome
from drivers.graph.running import run
from drivers.planning.plan import Plan
from drivers.planning.stages import SINGLE_FRAME, STAGES, Mode
from drivers.planning.survey_graph import survey_graph
from drivers.progress import shown
from drivers.recall import recall_of
from drivers.registry import RegistryError, open_registry
from drivers.registry.products import Table, replace_products
from drivers.repository import Rerun
from drivers.standing import require_configuration
from drivers.survey_night import process_as_they_come
from drivers.survey_summary import Failure, notes_of, summarise
from mpipool import Drained, MpipoolError, Pool, WorldLost, read_records

_TABLES: dict[str, Table] = {
    "singleFrame": "calexp", "exposure": "visit", "skyCorrection": "visit", "coadd": "coadd",
    "detect": "coadd", "measure": "coadd",
}  # fmt: skip
"""Which table of the registry says what the tasks of a stage have recorded."""


def carry_out(plan: Plan, options: argparse.Namespace) -> Ending:
    """Run what is not done, and say what was done.

    Raises
    ------
    MpipoolError
        If the database is refused.
    Stopped
        If the run was interrupted.
    """
    follow = followed(options)
    graph = survey_graph(plan)
    running = _Running(plan, graph)
    try:
        recall = recall_of(plan, options)
        with _open_pool(plan, options) as pool:
            derive(plan.rerun)
            if follow:
                plan = process_as_they_come(plan, follow, pool, recall)
                graph = survey_graph(plan)
                running = _Running(plan, graph)
            with shown(running.total, plan.rerun.name, "tasks") as running.show:
                run(pool, graph, running.ended, recall=recall, fail_fast=options.fail_fast)
    except Drained as error:
        said = [*_derived(plan.rerun), f"drained ({error.reason}): {running}"]
        return Ending(error.code, errors=said)
    except (KeyboardInterrupt, WorldLost) as error:
        raise Stopped(str(running)) from error
    errors = _derived(plan.rerun)
    lines = summarise(plan, graph, running.failures, recall.taken)
    lines += notes_of(running.notes)
    left = sum(states[State.READY] + states[State.WAITING] for states in graph.counts().values())
    if left:
        lines.append(f"{left} tasks were not begun: --fail-fast")
    if running.total and not any(
        states[State.DONE] + states[State.REUSED] + states[State.FAILED]
        for stage, states in graph.counts().items()
        if plan.modes[stage] is Mode.RUN
    ):
        errors.append(f"error: nothing could be done: {_missing(plan, graph)}")
    return Ending(1 if running.failures or errors else 0, lines, errors)


def _missing(plan: Plan, graph: Graph) -> str:
    """Say of which stage nothing is done without which there is nothing to do."""
    counts = graph.counts()
    used = [name for name, mode in plan.modes.items() if mode is Mode.RECORDED and name in counts]
    lacking = next((name for name in used if not counts[name][State.REUSED]), None)
    if lacking is None:
        return "no input can be used"
    return f"of {lacking} nothing is done in this rerun; run that first"


class _Running:
    """What came of the nodes so far."""

    def __init__(self, plan: Plan, graph: Graph) -> None:
        self._plan = plan
        counts = graph.counts()
        self.total = sum(sum(counts[stage].values()) for stage in counts if self._is_run(stage))
        self.failures: list[Failure] = []
        self.notes: list[tuple[NodeId, str]] = []
        self.show: Any = None
        self._done = 0

    def ended(self, node: NodeId, outcome: Outcome) -> None:
        """Take in that a node has ended."""
        if isinstance(outcome, Failed):
            self.failures.append((node, outcome.error))
        value = getattr(outcome, "value", None)
        for ccd, reason in (getattr(value, "figures", None) or {}).get("failed", ()):
            failed = NodeId(SINGLE_FRAME.name, (node.place[0], ccd))
            self.failures.append((failed, FrameError(reason)))
        row = getattr(value, "row", None) or {}
        self.notes += [(node, note) for note in row.get("notes", ())]
        self._done += self._is_run(node.stage) and not isinstance(outcome, Failed)
        self.show(self._done, len(self.failures), self.total)

    def _is_run(self, stage: str) -> bool:
        return self._plan.modes.get(stage, Mode.RUN) is Mode.RUN

    def __str__(self) -> str:
        known = f"{self._done} of {self.total} tasks are done; " if self._done else ""
        return f"{known}the same command goes on from there"


def _open_pool(plan: Plan, options: argparse.Namespace) -> Pool:
    """Open the rerun's database; if it is refused, nothing is left of what was made for it."""
    plan.rerun.check_writable()
    clobber = options.clobber_config or options.reprocess
    if not clobber:
        require_configuration(plan.rerun, plan.config.as_dict())
    made = plan.rerun.make_folder()
    try:
        return Pool(
            checkpoint=plan.rerun.run_db,
            config=plan.config.as_dict(),
            take_over=options.take_over,
            clobber_config=clobber,
            group=options.group,
        )
    except MpipoolError:
        for folder in made:
            with suppress(OSError):  # something stands in it
                folder.rmdir()
        raise


def derive(rerun: Rerun) -> None:
    """Make the registry's tables say of this rerun what its committed records say.

    Records are the truth and the tables are derived from all of them, so it doesn't matter at which
    moment an earlier run was killed. What failed last has no row, whatever was made of it before.
    """
    rows: dict[Table, dict[tuple[Any, ...], dict[str, Any]]] = {}
    if not rerun.run_db.is_file():
        return
    places = {stage.name: stage.places for stage in STAGES}
    newest = {}
    for record in read_records(rerun.run_db):
        if record.stage in _TABLES and record.data_id:
            place = tuple(record.data_id.get(name) for name in places[record.stage])
            newest[record.stage, place] = record
    for (stage, place), record in newest.items():
        found = rows.setdefault(_TABLES[stage], {})
        if record.state == "done":
            row = found.setdefault(place, {"notes": []})
            notes = [*row["notes"], *record.metrics.get("notes", ())]
            row.update(record.metrics, notes=notes)
    with open_registry(rerun.repository.registry, create=True) as connection:
        for table, of_table in rows.items():
            replace_products(connection, rerun.name, table, of_table.values())


def _derived(rerun: Rerun) -> list[str]:
    """Derive the tables; return what to say if that can't be done, since all the rest is."""
    try:
        derive(rerun)
    except RegistryError as error:
        safe = f"the records are safe in {rerun.run_db}; the next start derives the tables"
        return [f"error: {error}", safe]
    return []
