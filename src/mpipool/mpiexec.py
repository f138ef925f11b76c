"""mpiexec: which one, what it can do when a rank dies, and how a job under it has ended.

The process which starts mpiexec waits for it: it passes signals on, and says a last line where a
rank has taken the job along, since what launchers say of that names neither a way on nor, with
MPICH, the rank. It learns of it on a pipe, which ranks on its node open as ``/proc/PID/fd/N``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpipool import supervisor
from mpipool.executor.descendants import die_with_parent
from mpipool.transport.deaths import BEGUN, OVER, SURVIVE, survives

ROOT_FLAGS: Final = {
    # Open MPI refuses to run as root, and with more ranks than cores, unless told otherwise.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
_VERSION_SECONDS: Final = 20.0
_HYDRA: Final = "HYDRA build details"
TIMES: Final = 2
"""How many SIGTERMs Open MPI's mpiexec is spared."""
_FROM_TERMINAL: Final = 0x80
"""si_code of a signal which the kernel has sent: to the whole process group, mpiexec included."""


@dataclass(frozen=True)
class Survival:
    """How a job goes on when one of its ranks dies.

    Attributes
    ----------
    name : str
        What `SURVIVE` is for the ranks; empty if the job does not go on.
    sentence : str
        What the user is told.
    options : sequence of str
        Of mpiexec.
    wrapper : sequence of str
        What stands before the command of each rank.
    """

    name: str
    sentence: str
    options: Sequence[str] = ()
    wrapper: Sequence[str] = ()

    def choose(self, aloud: bool) -> None:
        """Tell the ranks, and the user too unless another rank does."""
        os.environ[SURVIVE] = self.name
        if aloud:
            print(f"mpipool: {self.sentence}", file=sys.stderr, flush=True)


SUPERVISED: Final = Survival(
    "supervisor",
    "survives the death of ranks: MPICH under supervisors",
    wrapper=(sys.executable, "-I", "-S", supervisor.__file__),
)
ULFM: Final = Survival(
    "ulfm",
    "survives the death of ranks: Open MPI with ULFM",
    options=("--with-ft", "ulfm"),
)
IMPOSSIBLE: Final = Survival(
    "",
    "this MPI can't survive the death of ranks: the job will end when one dies, and the same "
    "command resumes it",
)


def find_mpiexec() -> str | None:
    """Return the mpiexec of this environment, or else the first on PATH; None without one."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def survival_under(mpiexec: str) -> Survival:
    """Return how a job survives which this mpiexec starts, by what it says of itself."""
    said = _says(mpiexec)
    if said.startswith(_HYDRA):
        return SUPERVISED
    version = re.search(r"\(Open ?MPI\) (\d+)\.", said)
    return ULFM if version and int(version[1]) >= 5 else IMPOSSIBLE


def _says(mpiexec: str) -> str:
    """Return what an mpiexec says of itself."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [mpiexec, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS
        )
        return done.stdout
    return ""


def survival_inside(environment: Mapping[str, str]) -> Survival:
    """Return how a job survives that an mpiexec has started, of which this process is a rank."""
    if "PMI_FD" in environment and "HYDI_CONTROL_FD" in environment:
        return SUPERVISED
    return ULFM if survives(environment) else IMPOSSIBLE


# --- running it ----------------------------------------------------------------------------------


def run(command: Sequence[str]) -> int:
    """Run mpiexec, say a last line if a rank's death has ended the job, and return the exit code.

    Parameters
    ----------
    command : sequence of str
        mpiexec and its arguments.
    """
    notes, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    parent = os.getpid()
    environment = {**os.environ, supervisor.LAUNCHER: f"/proc/{parent}/fd/{end}"}
    awaited = supervisor.FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    seen: Counter[int] = Counter()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        die_with_parent(parent)

    with subprocess.Popen(command, env=environment, preexec_fn=prepare) as process:
        while process.poll() is None:
            came = signal.sigwaitinfo(awaited)
            if came.si_signo != signal.SIGCHLD and came.si_code != _FROM_TERMINAL:
                process.send_signal(forwardable(command[0], came.si_signo, seen[came.si_signo]))
                seen[came.si_signo] += 1
    noted = _read(notes)
    status = _true_status(process.returncode, noted)
    line = last_line(status, noted, bool(os.environ.get(SURVIVE)))
    if line:
        print(f"mpipool: {line}", file=sys.stderr, flush=True)
    return status if status >= 0 else 128 - status


def _true_status(status: int, notes: Sequence[str]) -> int:
    """Return how mpiexec has ended; with ULFM it says 0 when all ranks were killed, rank 0 too."""
    unfinished = status == 0 and BEGUN in notes and OVER not in notes
    return 128 + signal.SIGKILL if unfinished else status


def forwardable(mpiexec: str, number: int, before: int) -> int:
    """Return by which signal mpiexec passes a warning on to the ranks, and goes on itself.

    Open MPI's kills them half a second after SIGTERM or SIGINT, so it gets a SIGINT only when that
    comes again, and a SIGTERM the third time: what stands for it says as well that there is little
    time, and again that there is none, but lets what is ended be recorded. SIGUSR2 and SIGXCPU end
    MPICH's.

    Parameters
    ----------
    mpiexec : str
        Its path.
    number : int
        The signal which came.
    before : int
        How often that has come before.
    """
    if _says(mpiexec).startswith(_HYDRA):
        instead = {signal.SIGUSR2: signal.SIGUSR1, signal.SIGXCPU: signal.SIGTERM}
    else:
        instead = {signal.SIGTERM: signal.SIGXCPU} if before < TIMES else {}
        instead |= {} if before else {signal.SIGINT: signal.SIGUSR1}
    return instead.get(signal.Signals(number), signal.Signals(number))


def last_line(status: int, notes: Sequence[str], survived: bool) -> str:
    """Return what is to be said of how a job has ended; empty if nothing is.

    Parameters
    ----------
    status : int
        How mpiexec has ended, negative for a signal.
    notes : sequence of str
        What ranks of its node have noted, in their order.
    survived : bool
        Whether the job went on when other ranks than rank 0 died.
    """
    if OVER in notes or status == 0:
        return ""
    died = [note for note in notes if note.startswith("rank ")]
    if survived:
        died = [note for note in died if note.startswith("rank 0 ")]
    if status < 0:
        cause = f"mpiexec was killed by signal {-status}"
    elif died:
        # The others were killed by the launcher.
        cause = max(died, key=len) if survived else died[0]
    elif BEGUN in notes:
        cause = "a rank died"
    else:
        return ""  # it has not begun, and mpiexec has said why
    code = status if status >= 0 else 128 - status
    return f"{cause}; the job has ended, with exit code {code}; the same command resumes it"


def _read(notes: int) -> list[str]:
    try:
        return os.read(notes, 1 << 16).decode(errors="replace").splitlines()
    except BlockingIOError:
        return []
