"""``mpipool status RUN.db``: how far a run is, and who works on it."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from mpipool.checkpoint import reading
from mpipool.checkpoint.lock import Holder, moment
from mpipool.checkpoint.reading import StageCount, StoredNote, StoredSession
from mpipool.checkpoint.utilisation import RankUse, utilisation
from mpipool.cli.text import duration, first_line, table

NAME: Final = "status"
HELP: Final = "print how many tasks of a run are done, failed and left, and who works on it"
LAST: Final = 10
"""So many of its notes are printed."""

_SENTENCES: Final = {
    "killed": "killed: it left no end",
    "failed": "failed: it could not record any more",
    "exit 1": "ended with exit code 1",
    "exit 75": "drained: work is left, and the same command goes on (exit code 75)",
    "exit 130": "was interrupted (exit code 130)",
    "exit 143": "was ended by SIGTERM (exit code 143)",
}
_LIVENESS: Final = {"live": "running", "dead": "killed", "unknown": "not seen from here"}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What is known of a run."""

    path: str
    state: str
    """``running``, ``killed``, ``not seen from here``, or as the last session ended."""
    sessions: list[StoredSession]
    stages: list[StageCount]
    ranks: list[RankUse]
    """Of the last session, for the time which it took."""
    holder: Holder | None
    now: float
    heard: float
    """Until when the last session is known to have lived."""
    notes: list[StoredNote]
    """What the last session has said of itself."""

    @property
    def live(self) -> bool:
        """Whether somebody may still be working on it."""
        return self.state in {"running", "not seen from here"}

    @property
    def elapsed(self) -> float:
        """Seconds which the last session took, so far or until it was last heard of."""
        return max(0.0, self.heard - self.sessions[-1].started)

    @property
    def sentence(self) -> str:
        """How it is, for people."""
        if self.state == "exit 1" and any(stage.failed for stage in self.stages):
            return f"{_sentence(self.state)}: some tasks failed"
        return _sentence(self.state)

    @property
    def shares(self) -> list[float]:
        """For each of `ranks`, the part of the time in which it was busy."""
        return [rank.busy / self.elapsed if self.elapsed else 0.0 for rank in self.ranks]


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
    state = sessions[-1].state if holder is None else _LIVENESS[holder.liveness()]
    now = time.time()
    heard = now if state == "running" else reading.last_heard(path)
    ranks = utilisation(path, period=(sessions[-1].started, heard))
    counts, notes = reading.counts(path), reading.notes(path)
    return RunStatus(path, state, sessions, counts, ranks, holder, now, heard, notes)


def _sentence(state: str) -> str:
    if state.startswith("exit ") and state not in _SENTENCES:
        return f"ended with exit code {state.removeprefix('exit ')}"
    return _SENTENCES.get(state, state)


def _plain(status: RunStatus) -> dict[str, Any]:
    holder = status.holder
    last = {**asdict(status.sessions[-1]), "sentence": status.sentence}
    ranks = zip(status.ranks, status.shares, strict=True)
    return {
        "path": status.path,
        "state": status.state,
        "sentence": status.sentence,
        "live": status.live,
        "elapsed": status.elapsed,
        "last_heard": status.heard,
        "holder": holder and {**asdict(holder), "liveness": holder.liveness()},
        "stages": [{**asdict(stage), "total": stage.total} for stage in status.stages],
        "sessions": [
            *({**asdict(one), "sentence": _sentence(one.state)} for one in status.sessions[:-1]),
            last,
        ],
        "ranks": [{**asdict(rank), "share": share} for rank, share in ranks],
        "notes": [asdict(note) for note in status.notes],
    }


def _text(status: RunStatus) -> str:
    last = status.sessions[-1]
    lines = [
        f"{status.path}: {status.sentence}",
        f"command: {first_line(last.command)}",
        f"session {len(status.sessions)}, started {moment(last.started)} on {last.host}"
        f" with {last.ranks} rank{'s' if last.ranks > 1 else ''}, {duration(status.elapsed)} long",
    ]
    if status.holder is not None:
        lines.append(_holder(status, status.holder))
    if status.ranks and status.elapsed > 0:
        lines.append(_use(status.shares))
    lines += (f"{moment(note.said)}: {first_line(note.text)}" for note in status.notes[-LAST:])
    return "\n".join([*lines, "", _stages(status)])


def _holder(status: RunStatus, holder: Holder) -> str:
    heard = holder.heartbeat if status.live else status.heard
    ago = f"last heard of {duration(max(0.0, status.now - heard))} ago"
    if status.live:
        return f"held by {holder.describe()}; {ago}"
    return f"was held by {holder.describe(gone=True)}; {ago}"


def _use(shares: list[float]) -> str:
    mean = sum(shares) / len(shares)
    return f"ranks busy: {mean:.0%} (from {min(shares):.0%} to {max(shares):.0%})"


def _stages(status: RunStatus) -> str:
    if not status.stages:
        return "no task was started yet"
    left = "waiting or running" if status.live else "not done"
    rows = [
        (first_line(of.stage) or "(no stage)", of.done, of.failed, of.unfinished, of.total)
        for of in status.stages
    ]
    return table(("stage", "done", "failed", left, "total"), rows)
