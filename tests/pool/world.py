"""A world without mpiexec, in a process of its own: tests send functions which run as its script.

The world outlives a test's failures and crashes, so that each test also tries whether the pool is
still usable after those before it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle

TIMEOUT = 60.0
"""Seconds after which a call counts as hung."""


class World:
    """A script with a pool, which does what it is told.

    Parameters
    ----------
    workers : int
        Number of ranks.
    cwd : path-like, optional
        Where it runs.
    """

    def __init__(self, workers: int = 3, cwd: str | os.PathLike[str] | None = None) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "pool.world", str(theirs.fileno()), str(workers)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MPIPOOL")}
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._process = subprocess.Popen(
            command, env=environment, cwd=cwd, pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """The script's."""
        return self._process.pid

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in the script; return its result, or fail with its traceback."""
        self.begin(function, *arguments)
        return self.result()

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a function in the script."""
        # The script can't import a test module; what a test defines is sent whole.
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
        self._connection.send_bytes(cloudpickle.dumps((function, arguments)))

    def result(self) -> Any:
        """Wait for the function which was begun."""
        if not self._connection.poll(TIMEOUT):
            self.kill()
            raise AssertionError("the pool hangs")
        try:
            ok, value = cloudpickle.loads(self._connection.recv_bytes())
        except EOFError:
            raise AssertionError(f"the script ended with {self._process.wait()}") from None
        assert ok, f"in the script:\n{value}"
        return value

    def kill(self) -> None:
        """End the script as the power would; its agent and guards are to follow."""
        self._process.kill()

    def close(self) -> int:
        """Let it end in its own way; return its exit code."""
        self._connection.close()
        try:
            return self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the world does not end") from None


def main() -> None:
    """Be the script of a world."""
    from mpipool import Pool

    connection = Connection(int(sys.argv[1]))
    Pool(workers=int(sys.argv[2]))
    while True:
        try:
            function, arguments = cloudpickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer = True, function(*arguments)
        except BaseException:
            answer = False, traceback.format_exc()
        connection.send_bytes(cloudpickle.dumps(answer))


if __name__ == "__main__":
    main()
