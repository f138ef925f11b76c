"""Who holds a run database, and whether that process still lives.

The lock is a row of the database, taken and given back in transactions. It tells the user who
works on a run; what protects the data is its token, which every transaction checks, so that a
holder which was only thought dead can write nothing more.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mpipool.checkpoint.damaged import Damaged, typed

Liveness = Literal["live", "dead", "unknown"]


@dataclass(frozen=True, slots=True)
class Holder:
    """One row of table ``lock``."""

    token: int
    host: str
    pid: int
    process: str
    """From `identity`."""
    started: float
    batch_job: str
    heartbeat: float

    def liveness(self) -> Liveness:
        """Say whether the holder lives; ``unknown`` if it can't be seen from here."""
        if self.host != socket.gethostname():
            return "unknown"
        boot, namespace, start = self.process.split("/")
        if boot != _boot():
            return "dead"  # with the machine
        if namespace != _namespace():
            return "unknown"  # in another container, where our PIDs mean nothing
        found = _start(self.pid)
        if not found and _is_hidden(self.pid):
            return "unknown"  # a colleague's, where /proc shows everybody only his own
        return "live" if found == start else "dead"

    def describe(self, *, gone: bool = False) -> str:
        """Say who it is, for a message."""
        job = f", batch job {self.batch_job}" if self.batch_job else ""
        pid = f"{self.pid} (gone)" if gone else f"{self.pid}"
        return f"pid {pid} on {self.host}, started {moment(self.started)}{job}"


def moment(when: float) -> str:
    """Write a time for people."""
    try:
        return datetime.fromtimestamp(when).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, OSError, ValueError):  # from a damaged row
        return f"{when:g} s after 1970"


def this_process(token: int) -> Holder:
    """Make the row which says that this process holds the database."""
    now = time.time()
    job = os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""
    pid = os.getpid()
    return Holder(token, socket.gethostname(), pid, identity(pid), now, job, now)


def identity(pid: int) -> str:
    """Return what tells a process from later ones with the same PID."""
    return f"{_boot()}/{_namespace()}/{_start(pid)}"


def read_holder(connection: sqlite3.Connection) -> Holder | None:
    """Read the lock."""
    row = connection.execute(
        "SELECT token, host, pid, process, started, batch_job, heartbeat FROM lock"
    ).fetchone()
    if row is None:
        return None
    (row,) = typed([row], int, str, int, str, float, str, float)
    holder = Holder(*row)
    if holder.process.count("/") != 2:
        raise Damaged(f"the lock's process is {holder.process!r:.80}")
    return holder


def last_heard(connection: sqlite3.Connection, token: int, heartbeat: float = 0.0) -> float:
    """Return when a session was last heard of: a sign of life, or the end of a task."""
    found = connection.execute("SELECT max(finished) FROM attempt WHERE session = ?", (token,))
    ((last,),) = typed(found, float | None)
    return max(heartbeat, last or 0.0)


def write_holder(connection: sqlite3.Connection, holder: Holder) -> None:
    """Take the lock, in the caller's transaction, whoever had it."""
    connection.execute(
        "INSERT OR REPLACE INTO lock VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        (
            holder.token, holder.host, holder.pid, holder.process,
            holder.started, holder.batch_job, holder.heartbeat,
        ),
    )  # fmt: skip


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _is_hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _start(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold anything; the fields behind it are plain.
            fields = file.read().rpartition(")")[2].split()
        # A zombie is gone, unless only its first thread is: then the others may still write.
        if fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1:
            return ""
        return fields[19]
    except (OSError, IndexError):
        return ""
