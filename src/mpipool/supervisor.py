"""The process between MPICH's launcher and a rank, so that the job survives the death of the rank.

Hydra ends the job when a rank's process ends without having said goodbye on its connection, PMI.
A supervisor starts the rank's process, keeps the connection open, and says goodbye in its place.
The other ranks notice the death by themselves. Rank 0's ends the job, and so does the death of a
rank which has not come up.

Run as ``python -I -S supervisor.py COMMAND ...`` in place of the command. There is one for each
rank, so it imports next to nothing, of this package neither.
"""

from __future__ import annotations

import os
import select
import signal
import sys

UP = "MPIPOOL_UP"
"""Environment variable: the supervisor's process id, and the descriptor at which the rank says that
it has come up."""
LAUNCHER = "MPIPOOL_LAUNCHER"
"""Environment variable: a path to tell whoever started mpiexec how the job has ended."""
PARENT_EVERY = 0.5
"""Seconds between two looks whether the launcher is still there."""
GOODBYE_SECONDS = 1.0
"""For which the launcher may take to answer."""
PASS_ON_SECONDS = 0.3
"""For which it may take to pass on what was printed: when it ends a job it drops the rest."""
FORWARDED = {
    signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
    signal.SIGCONT,
}  # fmt: skip


def main(command: list[str]) -> int:
    """Run a rank's command; return the exit code for the launcher."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    up, up_end = os.pipe()
    os.set_inheritable(up_end, True)
    environment = {**os.environ, UP: f"{os.getpid()} {up_end}"}
    # In a group of its own, it gets a signal that is for all processes of the rank from here only.
    child = os.posix_spawnp(command[0], command, environment, setpgroup=0, setsigmask=[])
    os.close(up_end)
    status = _wait(child)
    rank = int(os.environ.get("PMI_RANK", "0"))
    signalled = max(-status, 0)
    if signalled:
        _say(f"rank {rank} died ({_name(signalled)})")
    if not os.read(up, 1) or (signalled and not rank):
        return 128 + signalled if signalled else status
    _say_goodbye()
    return 0 if rank else status


def _wait(child: int) -> int:
    """Wait until the child ends, pass signals on to it; return its status, negative for a signal.

    When the launcher is gone, nobody waits for the rank: it is killed.
    """
    parent = os.getppid()
    while True:
        came = signal.sigtimedwait(FORWARDED | {signal.SIGCHLD}, PARENT_EVERY)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if os.getppid() != parent:
            os.kill(child, signal.SIGKILL)
        elif came and came.si_signo != signal.SIGCHLD:
            os.kill(child, came.si_signo)


def _say_goodbye() -> None:
    """Say on PMI what the rank would have said, had it not been killed."""
    connection = int(os.environ.get("PMI_FD", "-1"))
    try:
        os.write(connection, b"cmd=finalize\n")
        select.select([connection], [], [], GOODBYE_SECONDS)
    except OSError:
        pass  # it has said it itself


def _say(sentence: str) -> None:
    """Tell the user, and whoever has started the launcher."""
    try:
        os.write(2, f"mpipool: {sentence}\n".encode())
        with open(os.environ.get(LAUNCHER, os.devnull), "w") as launcher:
            launcher.write(f"{sentence}\n")
    except OSError:
        pass  # the reader is gone, or on another node
    select.select([], [], [], PASS_ON_SECONDS)


def _name(number: int) -> str:
    """Return a signal's name: signal 9, SIGKILL."""
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
