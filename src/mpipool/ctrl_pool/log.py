"""Logs of batch jobs: a file per process, and what a process used."""

from __future__ import annotations

import logging
import os
from typing import Any

from mpipool.ctrl_pool.diagnostics import NODE


def jobLog(job: str | None) -> None:
    """Let tasks of this process log to a file, too: ``JOB.HOST.PID``, made with its first line."""
    if job in {None, "None"}:
        return
    host = os.uname().nodename.split(".")[0]
    handler = logging.FileHandler(f"{job}.{host}.{os.getpid()}", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    # Not to the root: a program's logging.basicConfig would find it configured.
    for name in ("ctrl_pool", "lsst"):
        logging.getLogger(name).addHandler(handler)


def processStats() -> dict[str, str]:
    """Return what Linux says in ``/proc/self/status``, by name."""
    with open("/proc/self/status") as status:
        pairs = (line.partition(":") for line in status)
        return {name: value.strip() for name, _, value in pairs}


def printProcessStats() -> None:
    """Log `processStats`."""
    logger().info("Process stats for %s: %s", NODE, processStats())


def logger(name: str = "") -> Any:
    """Return a logger whose INFO lines are seen, as those of LSST's are, configured or not."""
    top = logging.getLogger("ctrl_pool")
    if not any(isinstance(handler, _Unconfigured) for handler in top.handlers):
        top.addHandler(_Unconfigured())
        top.setLevel(logging.INFO)
    return top.getChild(name) if name else top


def warn(log: Any, sentence: str) -> None:
    """Log a warning, to LSST's older logs too, which call it differently."""
    (getattr(log, "warning", None) or log.warn)(sentence)


class _Unconfigured(logging.StreamHandler[Any]):
    """Writes to standard error, unless the program has said what is to be done with logs."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)
