"""``mpipool failed RUN.db``: what failed, and why."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Final

from mpipool.checkpoint.reading import StoredRecord, counts, read_records
from mpipool.cli.text import data_id, first_line, memory, printable
from mpipool.errors import UsageError

NAME: Final = "failed"
HELP: Final = "print which tasks of a run failed, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("database", metavar="RUN.db", help="the run database")
    parser.add_argument("--stage", help="only tasks of this stage")
    parser.add_argument(
        "--traceback", action="store_true", help="print tracebacks and the end of stderr too"
    )
    parser.add_argument("--json", action="store_true", help="print it for programs")


def main(args: argparse.Namespace) -> int:
    """Print the failed tasks of a run."""
    if args.stage is not None:
        _require_stage(args.database, args.stage)
    records = read_records(args.database, args.stage, "failed", order="data_id")
    if args.json:
        print(json.dumps([asdict(record) for record in records], indent=2))
        return 0
    found = False
    for record in records:
        found = True
        print(_line(record))
        if args.traceback:
            print(_story(record), end="")
    if not found:
        print("nothing failed")
    return 0


def _require_stage(path: str, stage: str) -> None:
    stages = [count.stage for count in counts(path)]
    if stage not in stages:
        known = ", ".join(map(repr, stages)) or "none"
        raise UsageError(f"{path} has no stage {stage!r}, but {known}")


def _line(record: StoredRecord) -> str:
    index = f"scatter {record.scatter} task {record.task}"
    what = data_id(record.data_id) if record.data_id is not None else index
    stage = first_line(record.stage) or "(no stage)"
    where = f"rank {record.rank}" + (f" on {record.host}" if record.host else "")
    peak = f", peak {memory(record.peak_memory)}" if record.peak_memory else ""
    why = ": ".join(first_line(part) for part in (record.error, record.message) if part)
    return f"{stage} {what}, attempt {record.attempt}: {why} [{where}{peak}]"


def _story(record: StoredRecord) -> str:
    parts = ((record.traceback, ""), (record.stderr, "--- end of its standard error ---\n"))
    text = "".join(title + part.rstrip("\n") + "\n" for part, title in parts if part)
    return "".join(f"    {line}\n" for line in printable(text).splitlines())
