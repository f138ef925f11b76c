"""Whether a batch system says that a job has ended. In any doubt it has not.

A job that was put back into the queue keeps its number: of its earlier start nothing runs any more
once it waits again, or was started later than the process in question.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Final

TIMEOUT: Final = 10.0
"""Seconds for which an answer is waited for."""
SKEW: Final = 60.0
"""Seconds by which the clocks of a job's hosts and of its batch system may differ."""

_SLURM: Final = re.compile(r"[0-9]{1,19}")
_PBS: Final = re.compile(r"[0-9]{1,19}(\[[0-9]*\])?\.[A-Za-z0-9.-]{1,250}")
_OVER: Final = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
})  # fmt: skip
_NOT_BEGUN: Final = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD"})


def has_ended(job: str, started: float) -> bool:
    """Return whether nothing runs any more of a job as it was at some time.

    Parameters
    ----------
    job : str
        ``SLURM_JOB_ID`` or ``PBS_JOBID``; empty for none.
    started : float
        When a process of it was begun, s since the epoch.
    """
    if _SLURM.fullmatch(job):
        return _slurm_has_ended(job, started)
    return bool(_PBS.fullmatch(job)) and _pbs_has_ended(job)


def _slurm_has_ended(job: str, started: float) -> bool:
    rows = _ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%S")
    # A job is forgotten some minutes after its end; then only the accounting knows it.
    rows = rows or _ask(
        "sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={job}",
        "--format=State,Start",
    )  # fmt: skip
    lines = [line.partition("|") for line in rows.splitlines() if line.strip()]
    return bool(lines) and all(_is_over(state, since, started) for state, _, since in lines)


def _is_over(state: str, since: str, started: float) -> bool:
    word = state.split(" ")[0].rstrip("+")  # "CANCELLED by 1000"
    if word in _OVER or word in _NOT_BEGUN:
        return True
    try:
        begun = datetime.fromisoformat(since.strip()).timestamp()
    except ValueError:
        return False
    return begun > started + SKEW


def _pbs_has_ended(job: str) -> bool:
    try:
        jobs: Any = json.loads(_ask("qstat", "-x", "-f", "-F", "json", job))["Jobs"]
        return bool(jobs) and all(facts["job_state"] in {"F", "X"} for facts in jobs.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _ask(*command: str) -> str:
    """Return what a command of the batch system says; nothing if it doesn't, or not in time."""
    import subprocess  # of all runs few come to this

    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
