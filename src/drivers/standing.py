"""What of a plan is done: the graph is gone through with the records, and nothing is run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from drivers.graph.graph import Graph
from drivers.graph.node import Call, Done, Empty, NodeId, Outcome
from drivers.planning.plan import Plan
from drivers.planning.survey_graph import survey_graph
from drivers.recall import Recall
from drivers.repository import Rerun
from mpipool import CheckpointError, CheckpointMismatch, RecordedRun

TO_DO = Empty("it is not done")


def standing(plan: Plan, recall: Recall, group: str = "") -> Graph:
    """Return the graph of a plan, ended as far as it is done: its nodes are reused, or empty.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    recall : Recall
        What is known of it from elsewhere.
    group : str
        A Unix group whose results are trusted.

    Raises
    ------
    CheckpointError
        If the database can't be read.
    """
    graph = survey_graph(plan)
    run = RecordedRun(plan.rerun.run_db, group) if plan.rerun.run_db.is_file() else None
    if run is None and not recall.has_parent:
        return graph
    while started := graph.next():
        graph.end(started[0], recall.known(*started) or _outcome(run, *started))
    return graph


def _outcome(run: RecordedRun | None, node: NodeId, call: Call) -> Outcome:
    with suppress(KeyError, CheckpointError):
        if run:
            return Done(run.result(node.stage, call.key), call.key, reused=True)
    return TO_DO


def require_configuration(rerun: Rerun, configuration: Mapping[str, Any]) -> None:
    """Refuse what a run would refuse: another configuration than that of the rerun.

    Raises
    ------
    CheckpointMismatch
        With what differs.
    """
    stored = stored_configuration(rerun)
    if stored is None or stored == configuration:
        return
    old, new = _leaves(stored), _leaves(configuration)
    differences = [
        f"\n  {name}: {old.get(name, '(absent)')} → {new.get(name, '(absent)')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    raise CheckpointMismatch(
        str(rerun.run_db),
        "it was made with another configuration; --clobber-config goes on all the same, and makes "
        f"again what depends on it. What differs:{''.join(differences)}",
    )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value, ensure_ascii=False)
    return found


def stored_configuration(rerun: Rerun) -> dict[str, Any] | None:
    """Return the configuration of the database (docs/checkpoint.md), or None if it has none yet."""
    if not rerun.run_db.is_file():
        return None
    # In a folder which can't be written, a database is read only if it is said not to change.
    for mode in ("ro", "ro&immutable=1"):
        uri = f"{rerun.run_db.absolute().as_uri()}?mode={mode}"
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'config'").fetchone()
            return json.loads(row[0]) if row else None
    return None
