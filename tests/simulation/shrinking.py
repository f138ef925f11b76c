"""Makes a failing case smaller while it fails in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mpipool.executor.virtual import Plan
from simulation.cases import Case, name_of
from simulation.history import History

MOST_TRIALS: Final = 400


def failure_of(case: Case) -> str:
    """Run a case; return how it fails, without the numbers in it; empty if it does not."""
    try:
        History(case).run()
    except Exception as error:
        return f"{type(error).__name__}: {re.sub(r'[0-9]+', 'N', str(error))[:200]}"
    return ""


def shrink(case: Case, fails: Callable[[Case], str] = failure_of) -> Case:
    """Leave out whatever is not needed for a case to fail as it does.

    Parameters
    ----------
    case : Case
        One that fails.
    fails : callable
        Returns how a case fails; empty if it does not.
    """
    wanted = fails(case)
    trials = 0
    smaller = True
    while smaller and trials < MOST_TRIALS:
        smaller = False
        names = [*parts_of(case)]
        for some in _pieces(names):
            tried = case.smaller(*(name for name in some if name not in case.without))
            if tried == case or trials >= MOST_TRIALS:
                continue
            trials += 1
            if fails(tried) == wanted:
                case, smaller = tried, True
    return case


def parts_of(case: Case) -> Iterator[str]:
    """Yield the names of what may be left out: large parts first."""
    yield from (fault.name for fault in case.faults())
    yield from _below(case.planner().plan)


def _below(plan: Plan) -> Iterator[str]:
    for scatter in plan.scatters:
        yield name_of(scatter)
    for scatter in plan.scatters:
        yield from map(name_of, scatter.tasks)
        for task in scatter.tasks:
            yield from _below(task)


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield halves, quarters ... and single names."""
    length = len(names)
    while length > 1:
        length = (length + 1) // 2
        for at in range(0, len(names), length):
            yield names[at : at + length]
    if len(names) == 1:
        yield names


def story(case: Case) -> str:
    """Describe what is left of a case: its faults, and its tree of scatters."""
    planner = case.planner()
    nodes = ", ".join(f"{ranks} ranks with {memory or '?'} MiB" for ranks, memory in planner.nodes)
    lines = [f"nodes: {nodes}; checkpoint: {'yes' if case.recorded else 'no'}"]
    lines += [f"fault {fault}" for fault in case.faults()]
    lines += _tree(planner.plan, "")
    return "\n".join(lines)


def _tree(plan: Plan, indent: str) -> Iterator[str]:
    for step in plan.steps:
        for scatter in step:
            traits = ("previous", "touches", "keeps", "fetches", "keyed", "cancels", "gives_up")
            said = [trait for trait in traits if getattr(scatter, trait)]
            needs = scatter.needs.packed() or "no needs"
            said = " ".join([scatter.mode, f"retries={scatter.retries}", *said])
            yield f"{indent}{name_of(scatter)}: {len(scatter.tasks)} tasks, {needs}, {said}"
            for task in scatter.tasks:
                if task.steps or len(scatter.tasks) <= 4:
                    faults = f", {task.deaths} deaths, {task.failures} failures"
                    yield f"{indent}  {name_of(task)}: {task.seconds:.2g} s{faults}"
                    yield from _tree(task, indent + "    ")
