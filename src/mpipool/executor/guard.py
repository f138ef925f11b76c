"""The guard: forks executors, reports how they end, and outlives its agent just long enough to
end everything below it.

It has no MPI and no threads, so that forking is safe; what it imports beforehand its executors
share. It was started in a session of its own: a launcher which kills the agent's process group must
not take along the one process that knows what else to end.

Run as ``python -m mpipool.executor.guard DESCRIPTOR [MODULE ...]``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

from mpipool.errors import WorldLost
from mpipool.executor import progress
from mpipool.executor.channel import BlockingChannel, send_with_descriptors, socketpair
from mpipool.executor.descendants import (
    adopt_orphans,
    die_with_parent,
    end_children,
    end_group,
    kill,
)
from mpipool.executor.environment import SCRIPT_FD
from mpipool.executor.signals import shield
from mpipool.messages import Exited, Fork, Kill, Run, Started

_NEEDED: Final = ("mpipool.executor.runtime", "mpipool.pool")
"""What every executor needs, by name: a guard is below the pool in the order of imports."""
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Guard:
    """One agent's guard."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._channel = BlockingChannel(end)
        self._running: dict[int, int] = {}
        """Executors by pid."""

    def serve(self) -> NoReturn:
        """Fork and reap until the agent is gone; then end everything below and exit."""
        wake, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(self._end, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poller.poll()}
                if wake in ready:
                    os.read(wake, 4096)
                    self._reap()
                if self._end.fileno() in ready:
                    self._obey()
        except WorldLost:
            end_children()
            os._exit(0)

    def _obey(self) -> None:
        for message in self._channel.receive_ready():
            match message:
                case Fork(executor=executor):
                    self._fork(executor)
                case Run(executor=executor, parts=parts):
                    self._run(executor, [bytes(part).decode() for part in parts])
                case Kill(executor=executor):
                    for pid, running in self._running.items():
                        if running == executor:
                            kill(pid)
                case _:
                    raise AssertionError(f"a guard can't take {message}")

    def _fork(self, executor: int) -> None:
        ours, theirs = socketpair()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        page = progress.make()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_executor(parent, theirs, (out_end, err_end), page)
        self._running[pid] = executor
        given = [ours.fileno(), out, err, page]
        send_with_descriptors(self._end, Started(executor=executor, pid=pid), given)
        for descriptor in (out, out_end, err, err_end, page):
            os.close(descriptor)
        ours.close()
        theirs.close()

    def _become_executor(
        self, parent: int, end: socket.socket, output: tuple[int, int], page: int
    ) -> NoReturn:
        code = 1
        try:
            die_with_parent(parent)
            os.setpgid(0, 0)
            _reset_signals()
            shield()
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
                score.write("1000")  # the kernel takes the executor first, not the rank
            _redirect(*output)
            _close_others(end.fileno(), page)
            from mpipool.executor.runtime import serve

            serve(end, page)
            code = 0
        except BaseException:
            with contextlib.suppress(BaseException):
                os.write(2, traceback.format_exc().encode())  # sys.stderr may be closed
        finally:
            os._exit(code)

    def _run(self, executor: int, arguments: list[str]) -> None:
        ours, theirs = socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                die_with_parent(parent)
                _reset_signals()
                theirs.set_inheritable(True)
                os.environ[SCRIPT_FD] = str(theirs.fileno())
                os.execv(arguments[0], arguments)
            os._exit(127)
        self._running[pid] = executor
        send_with_descriptors(self._end, Started(executor=executor, pid=pid), [ours.fileno()])
        ours.close()
        theirs.close()

    def _reap(self) -> None:
        ended = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                executor = self._running.pop(pid, None)
                if executor is not None:
                    ended = True
                    end_group(pid)
                    self._report(executor, status, usage.ru_maxrss)
        if ended:
            # What the dead have left behind, in sessions of their own too, is ours now.
            end_children(keep=self._running.keys())

    def _report(self, executor: int, status: int, peak: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._channel.send(Exited(executor=executor, status=code, peak=peak))


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (*_IGNORED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _redirect(out: int, err: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _close_others(*keep: int) -> None:
    previous = 2
    for descriptor in sorted(keep):
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    os.closerange(previous + 1, 65536)


def main() -> NoReturn:
    """Take the descriptor and the modules to import from the command line, and serve."""
    adopt_orphans()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for module in (*_NEEDED, *sys.argv[2:]):
        try:
            importlib.import_module(module)
        except Exception as error:
            print(f"mpipool: can't preload {module}: {error}", file=sys.stderr)
    gc.collect()
    gc.freeze()  # so that a collection in an executor does not copy the shared pages
    Guard(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
