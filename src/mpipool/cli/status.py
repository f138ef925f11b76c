"""``mpipool status RUN.db``: how far a run is, and who works on it."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from mpipool.checkpoint import reading
from mpipool.checkpoint.lock import Holder, moment
from mpipool.checkpoint.reading import StageCount, StoredSession
from mpipool.checkpoint.utilisation import RankUse, utilisation
from mpipool.cli.text import duration, first_line, table

NAME: Final = "status"
HELP: Final = "print how many tasks of a run are done, failed and left, and who works on it"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What is known of a run."""

    path: str
    state: str
    """``running``, ``killed``, ``not seen from here``, or as the last session ended."""
    sessions: list[StoredSession]
    stages: list[StageCount]
    ranks: list[RankUse]
    """Of the last session."""
    holder: Holder | None
    now: float

    @property
    def live(self) -> bool:
        """Whether somebody may still be working on it."""
        return self.state in {"running", "not seen from here"}

    @property
    def elapsed(self) -> float:
        """Seconds which the last session took, so far or until it was last heard of."""
        last = self.sessions[-1]
        if self.holder is None:
            return (last.ended or last.started) - last.started
        return (self.now if self.state == "running" else self.holder.heartbeat) - last.started


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("database", metavar="RUN.db", help="the run database")
    parser.add_argument("--json", action="store_true", help="print it for programs")


def main(args: argparse.Namespace) -> int:
    """Print the status of a run."""
    status = read_status(args.database)
    print(json.dumps(_plain(status), indent=2) if args.json else _text(status))
    return 0


def read_status(path: str) -> RunStatus:
    """Read a run's status from its database."""
    holder, sessions = reading.holder(path), reading.sessions(path)
    state = sessions[-1].state
    if holder is not None:
        states = {"live": "running", "dead": "killed", "unknown": "not seen from here"}
        state = states[holder.liveness()]
    return RunStatus(
        path, state, sessions, reading.counts(path), utilisation(path), holder, time.time()
    )


def _plain(status: RunStatus) -> dict[str, Any]:
    holder = status.holder
    return {
        "path": status.path,
        "state": status.state,
        "elapsed": status.elapsed,
        "holder": holder and {**asdict(holder), "liveness": holder.liveness()},
        "stages": [{**asdict(stage), "total": stage.total} for stage in status.stages],
        "sessions": [asdict(session) for session in status.sessions],
        "ranks": [asdict(rank) for rank in status.ranks],
    }


def _text(status: RunStatus) -> str:
    last = status.sessions[-1]
    lines = [
        f"{status.path}: {status.state}",
        f"command: {first_line(last.command)}",
        f"session {len(status.sessions)}, started {moment(last.started)} on {last.host}"
        f" with {last.ranks} rank{'s' if last.ranks > 1 else ''}, {duration(status.elapsed)} long",
    ]
    if status.holder is not None:
        ago = duration(max(0.0, status.now - status.holder.heartbeat))
        lines.append(f"held by {status.holder.describe()}; last heard of {ago} ago")
    if status.ranks and status.elapsed > 0:
        lines.append(_use(status))
    return "\n".join([*lines, "", _stages(status)])


def _use(status: RunStatus) -> str:
    shares = [rank.busy / status.elapsed for rank in status.ranks]
    mean = sum(shares) / len(shares)
    return f"ranks busy: {mean:.0%} (from {min(shares):.0%} to {max(shares):.0%})"


def _stages(status: RunStatus) -> str:
    if not status.stages:
        return "no task was started yet"
    left = "waiting or running" if status.live else "interrupted"
    rows = [
        (first_line(of.stage) or "(no stage)", of.done, of.failed, of.unfinished, of.total)
        for of in status.stages
    ]
    return table(("stage", "done", "failed", left, "total"), rows)
