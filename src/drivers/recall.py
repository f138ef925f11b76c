"""What is known of a task from elsewhere than the run's own database says by its key.

A rerun can go on from a parent's results, and take what is done as it is, whatever it was made
with. And when a task comes back to an earlier configuration, whose files have meanwhile been
replaced by a later one's, its record would not tell: its files are removed, so that it is run.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from drivers.command import complain
from drivers.graph.node import Call, Done, NodeId
from drivers.planning.patches import APART
from drivers.planning.plan import Plan
from drivers.planning.stages import NAMES, STAGES, read_stages
from drivers.product import size_of
from drivers.repository import Rerun
from drivers.survey_plan import rerun_of
from mpipool import CheckpointError, RecordedRun, read_records

_PLACES = {stage.name: stage.places for stage in STAGES}
Where = tuple[str, tuple[Any, ...]]
"""A stage, and the values of a data ID."""
Key = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where results may come from beside the run's own database and key.

    Attributes
    ----------
    parent : Rerun or None
        The rerun whose results are gone on from.
    reused : frozenset of str
        Stages of which what is done is taken as it is.
    larger_limit : int
        Only patches on which something was over the limit of areas before are measured again, with
        this one [px]; 0 for all that the configuration changes.
    group : str
        A Unix group whose results are trusted.
    """

    parent: Rerun | None = None
    reused: frozenset[str] = frozenset()
    larger_limit: int = 0
    group: str = ""


class Recall:
    """See the module's docstring.

    Parameters
    ----------
    rerun : Rerun
        The rerun.
    sources : Sources
        Where else results may come from.
    """

    def __init__(self, rerun: Rerun, sources: Sources) -> None:
        self._from = sources
        self._newest, self._done = _records(rerun)
        needed = bool(sources.reused or sources.larger_limit)
        self._own = _opened(rerun if needed else None, sources.group)
        self._parent = _opened(sources.parent, sources.group)
        self._keys = [_latest_keys(one) for one in (self._own, self._parent) if one]
        self.taken: Counter[str] = Counter()
        """How many tasks of each stage were taken from another run or configuration."""

    def __call__(self, node: NodeId, call: Call) -> Done | None:
        """Return what came of a task, if that is known from elsewhere; else have it run."""
        self._refresh(node, call)
        return self.known(node, call)

    @property
    def has_parent(self) -> bool:
        """Whether there is another run that results may come from."""
        return self._parent is not None

    def known(self, node: NodeId, call: Call) -> Done | None:
        """Return the same, and change nothing."""
        place = (node.stage, _place(node.stage, call.key))
        for run, key in self._candidates(place, call):
            with suppress(KeyError, CheckpointError):
                done = Done(run.result(node.stage, key), key, reused=True)
                self.taken[node.stage] += 1
                return done
        return None

    def _candidates(self, place: Where, call: Call) -> Iterator[tuple[RecordedRun, Key]]:
        """Yield the runs and keys under which a result may stand that can be taken."""
        stage = place[0]
        if self._own and (key := self._same_without_limit(place, call)):
            yield self._own, key
        if stage in self._from.reused:
            runs = [run for run in (self._own, self._parent) if run]
            for run, keys in zip(runs, self._keys, strict=True):
                if place in keys and keys[place] != call.key:
                    yield run, keys[place]
        if self._parent:
            yield self._parent, call.key

    def _same_without_limit(self, place: Where, call: Call) -> Key | None:
        """Return the key of what was measured with a smaller limit which nothing was over."""
        newest = self._newest.get(place)
        if not self._from.larger_limit or APART not in call.key or newest is None:
            return None
        is_same = newest.data_id.get(APART) == call.key[APART] and newest.data_id != call.key
        within = newest.metrics.get("max_area", inf) <= self._from.larger_limit
        return newest.data_id if is_same and within and newest.metrics["n_skipped"] == 0 else None

    def _refresh(self, node: NodeId, call: Call) -> None:
        """Remove files which are not those that are called for: the task is run if it has none.

        They were made later, with another key, or have been damaged: their size is another one.
        """
        newest = self._newest.get((node.stage, _place(node.stage, call.key)))
        if newest is None or not call.run:
            return
        if newest.data_id == call.key:
            for path in newest.outputs:
                _remove_damaged(path, newest.metrics.get(size_of(Path(path))))
            return
        if (node.stage, _frozen(call.key)) in self._done and node.stage not in self._from.reused:
            for path in newest.outputs:
                with suppress(FileNotFoundError):
                    os.unlink(path)


def _remove_damaged(path: str, size: int | None) -> None:
    with suppress(FileNotFoundError):
        if size is not None and os.path.getsize(path) != size:
            complain(f"note: {path} is not as it was written, and is made again")
            os.unlink(path)


def recall_of(plan: Plan, options: argparse.Namespace) -> Recall:
    """Return what the command line says of where results may come from."""
    _, parent = rerun_of(plan.rerun.repository, options.rerun)
    reused: Iterable[str] = ()
    if options.reuse_outputs_from == "all":
        reused = NAMES
    elif options.reuse_outputs_from:
        reused = read_stages("--reuse-outputs-from", f"..{options.reuse_outputs_from}")
    limit = plan.config.measure.deblend.max_area if options.reprocess else 0
    sources = Sources(
        parent=parent, reused=frozenset(reused), larger_limit=limit, group=options.group
    )
    return Recall(plan.rerun, sources)


def _opened(rerun: Rerun | None, group: str) -> RecordedRun | None:
    return RecordedRun(rerun.run_db, group) if rerun and rerun.run_db.is_file() else None


def _records(rerun: Rerun) -> tuple[dict[Where, Any], set[Any]]:
    """Return the newest record that is done of each place, and the keys of all that are."""
    newest: dict[Where, Any] = {}
    done: set[Any] = set()
    if rerun.run_db.is_file():
        for record in read_records(rerun.run_db, state="done"):
            if record.stage in _PLACES and record.data_id:
                newest[record.stage, _place(record.stage, record.data_id)] = record
                done.add((record.stage, _frozen(record.data_id)))
    return newest, done


def _latest_keys(source: RecordedRun) -> dict[Where, dict[str, Any]]:
    return {(stage, _place(stage, key)): key for stage in _PLACES for key in source.data_ids(stage)}


def _place(stage: str, key: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(key.get(name) for name in _PLACES[stage])


def _frozen(key: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(key.items()))
