"""What the tests of the checkpoint and of the verbs which read it are made of."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from mpipool.checkpoint.database import Checkpoint, Scatter
from mpipool.task import Record

BIG = (1 << 62) - 1
CONFIG = {"detection": {"threshold": 5.0}, "rerun": "first"}


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def record(task: int = 0, **changes) -> Record:
    values = {
        "scatter": 7, "task": task, "attempt": 1, "digest": None, "data_id": None, "state": "done",
        "rank": 1, "started": 1000.0 + task, "finished": 1002.0 + task, "cpu": 1.5,
        "peak_memory": 2048, "error": None, "message": None, "traceback": None, "stderr": None,
        "metrics": None, "outputs": None, "result": None, "result_file": None,
    }  # fmt: skip
    return Record(**{**values, **changes})


def failure(task: int = 0, **changes) -> Record:
    reason = {"error": "ValueError", "message": "no stars", "traceback": "Traceback: …\n"}
    return record(task, **{"state": "failed", **reason, **changes})


def scatter(number: int = 7, **changes) -> Scatter:
    values = {"id": number, "parent": None, "stage": "frame", "tasks": 3, "leader": 0}
    return Scatter(**{**values, "opened": 1000.0, **changes})


def opened(path, **changes) -> Checkpoint:
    asked = {"config": CONFIG, "command": "singleFrameDriver REPO", "ranks": 2, "wait": 0.0}
    return Checkpoint.open(path, **{**asked, **changes})


def query(path, sql: str, *arguments) -> list[tuple]:
    """Read (or, for a test's evil deeds, write) by a connection of our own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, arguments).fetchall()


def contents(path) -> dict[str, bytes]:
    """Everything on disk that belongs to a database, but for the index of its log."""
    folder = os.path.dirname(path)
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            if not name.endswith("-shm"):
                with open(os.path.join(where, name), "rb") as file:
                    found[os.path.join(where, name)] = file.read()
    return found


def child(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Start a process which runs ``code`` with these builders at hand."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", "from checkpoint.run_builders import *\n" + code]
        + [str(argument) for argument in arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


HOLD = """
held = opened(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
held.close("done")
"""
"""Hold the database until a line comes in."""


def holding(path, **options) -> subprocess.Popen:
    """Start a process which holds the database."""
    process = child(HOLD, path, **options)
    assert process.stdout.readline() == "held\n"
    return process
