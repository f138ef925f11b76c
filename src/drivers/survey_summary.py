"""What the drivers say at their end: how much of each stage was done, and what failed, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from drivers.command import first_line
from drivers.graph.graph import Graph, State
from drivers.graph.node import NodeId
from drivers.planning.identity import data_id
from drivers.planning.plan import Plan
from drivers.planning.stages import STAGES, Mode

_NOTES = 5
"""Kinds of notes that are shown."""
_NAMED = 3
"""Tasks that a note names."""
_REASONS = 5
_FAILURES = 10
"""Reasons, and failed tasks, that are shown."""

Failure = tuple[NodeId, BaseException]
_STAGES = {stage.name: stage for stage in STAGES}


def named(node: NodeId) -> str:
    """Return a task as users write it, such as ``coadd tract=9 patch=1,2 filter=g``."""
    values = data_id(_STAGES[node.stage], node.place)
    return " ".join([node.stage, *(f"{name}={value}" for name, value in values.items())])


def summarise(
    plan: Plan,
    graph: Graph,
    failures: Sequence[Failure],
    taken: Mapping[str, int],
) -> list[str]:
    """Return how much of each stage was done, what failed, and where it all is."""
    lines = [f"{'stage':<18} {'tasks':>7} {'done':>7} {'before':>7} {'failed':>7} {'nothing':>8}"]
    for name, states in graph.counts().items():
        if plan.modes[name] is not Mode.RUN and not (states[State.DONE] or states[State.REUSED]):
            continue
        total, empty = sum(states.values()), states[State.EMPTY]
        before, failed = states[State.REUSED], states[State.FAILED]
        done = states[State.DONE] + before
        lines.append(f"{name:<18} {total:>7} {done:>7} {before:>7} {failed:>7} {empty:>8}")
    for (name, reason), count in graph.reasons.most_common(_REASONS):
        if plan.modes[name] is Mode.RUN:
            lines.append(f"nothing to do ({count} x {name}): {reason}")
    for name, count in taken.items():
        lines.append(f"{name}: {count} taken from another run or configuration, as they are")
    lines += list_failures(plan, failures)
    registry = plan.rerun.repository.registry
    lines.append(f"outputs: {plan.rerun.folder}; records: {plan.rerun.run_db}; tables: {registry}")
    return lines


def notes_of(notes: Iterable[tuple[NodeId, str]]) -> list[str]:
    """Return what was unusual, most frequent first, and where."""
    where: dict[str, list[str]] = {}
    for node, note in notes:
        where.setdefault(note, []).append(named(node))
    frequent = sorted(where.items(), key=lambda item: -len(item[1]))
    lines = []
    for note, tasks in frequent[:_NOTES]:
        more = ", …" if len(tasks) > _NAMED else ""
        lines.append(f"note ({len(tasks)} x, {', '.join(tasks[:_NAMED])}{more}): {note}")
    if len(where) > _NOTES:
        lines.append(f"{len(where) - _NOTES} more notes: columns notes of the registry")
    return lines


def list_failures(plan: Plan, failures: Sequence[Failure]) -> list[str]:
    """Return how often each reason stands, and the first tasks with theirs."""
    if not failures:
        return []
    details = f"mpipool failed {plan.rerun.run_db}"
    lines = [f"failed ({len(failures)}); details: {details}"]
    if len(failures) > 1:
        lines += _reasons(plan, failures)
    lines += [f"  {named(node)}: {first_line(error)}" for node, error in failures[:_FAILURES]]
    if len(failures) > _FAILURES:
        lines.append(f"  … and {len(failures) - _FAILURES} more: {details}")
    return lines


def _reasons(plan: Plan, failures: Sequence[Failure]) -> list[str]:
    """Count the reasons; such as differ in numbers only are one, shown by its first."""
    alike: dict[str, list[str]] = {}
    for _, error in failures:
        reason = first_line(error).replace(f"{plan.root}/", "")
        alike.setdefault(re.sub(r"\d+", "#", reason), []).append(reason)
    frequent: list[list[Any]] = sorted(alike.values(), key=len, reverse=True)
    lines = [f"  {len(reasons)} x {reasons[0]}" for reasons in frequent[:_REASONS]]
    if len(frequent) > _REASONS:
        lines.append(f"  … and {len(frequent) - _REASONS} more reasons")
    return lines
