"""The messages and outcomes of a gang's tasks: cut, made, and joined to one of all members."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import replace

from mpipool.errors import UsageError
from mpipool.executor.running import discard
from mpipool.ids import Rank
from mpipool.led import Block
from mpipool.messages import Buffer, Enter, RunTasks, TasksDone
from mpipool.outcomes import Parts, pack
from mpipool.serving import NO_OUTCOMES
from mpipool.task import DONE, FAILED, LOST, Outcome, dump_details, load_details
from mpipool.task import Entry as Row


def as_chunk(enter: Enter) -> RunTasks:
    """Make the chunk of one task which a member runs."""
    return RunTasks(
        lease=enter.lease,
        chunk=enter.chunk,
        scatter=enter.scatter,
        path=enter.path,
        digest=enter.digest,
        first=enter.task,
        count=1,
        attempt=enter.attempt,
        parts=enter.parts,
    )


def item_of(chunk: RunTasks, task: int) -> tuple[Buffer, Buffer]:
    """Cut one item out of a chunk."""
    sizes, items = chunk.parts
    return Block(chunk.first, sizes, items).cut(task, 1)


def report_on(
    chunk: RunTasks, first: int, parts: Parts, back: int, failed: bool = False, busy: float = 0.0
) -> TasksDone:
    """Say how one task of a chunk ended, or that it all comes back."""
    return TasksDone(
        lease=chunk.lease,
        chunk=chunk.chunk,
        scatter=chunk.scatter,
        first=first,
        count=int(parts is not NO_OUTCOMES),
        back=back,
        failures=int(failed),
        busy=busy,
        leave=False,
        parts=parts,
    )


def refusal_of(chunk: RunTasks, reason: str) -> TasksDone:
    """Say that all tasks of a chunk failed since they can't run here."""
    details = dump_details({"error": "UsageError", "message": reason, "traceback": ""})
    error = pickle.dumps(UsageError(reason))
    row = Row(FAILED, len(details), time.time(), 0.0, 0.0, 0, len(error))
    end = Outcome(row, memoryview(details), memoryview(error))
    report = report_on(chunk, chunk.first, pack([end] * chunk.count), back=0)
    return replace(report, count=chunk.count, failures=chunk.count)


def lost_with(rank: Rank) -> Outcome:
    """Say that a task was lost, as a member of its gang was."""
    message = f"rank {rank} was lost, a member of the gang which ran the task"
    details = dump_details({"error": "RankLost", "message": message})
    row = Row(LOST, len(details), time.time(), 0.0, 0.0, 0, 0)
    return Outcome(row, memoryview(details), memoryview(b""))


def has_failed(end: Outcome) -> bool:
    """Whether a member has raised."""
    return end.entry.state != DONE


def joined(ends: Sequence[Outcome]) -> Outcome:
    """Make one outcome of those of all members, in their order.

    The first one's result counts, or the first failure, and what all of them put out; of a metric
    which several have recorded, the first one's value. CPU seconds add up.
    """
    failed = next(filter(has_failed, ends), None)
    said = [load_details(end.details) for end in ends]
    details = load_details((failed or ends[0]).details)
    outputs = [output for one in said for output in one.get("outputs", ())]
    if failed:
        discard(outputs)
    elif outputs:
        details["outputs"] = outputs
    metrics = {k: v for one in reversed(said) for k, v in one.get("metrics", {}).items()}
    if metrics:
        details["metrics"] = metrics
    encoded = dump_details(details) if details else b""
    rows = [end.entry for end in ends]
    row = (failed or ends[0]).entry._replace(
        details=len(encoded),
        started=min(row.started for row in rows),
        wall=max(row.wall for row in rows),
        cpu=sum(row.cpu for row in rows),
        peak=max(row.peak for row in rows),
    )
    return Outcome(row, memoryview(encoded), (failed or ends[0]).result)
