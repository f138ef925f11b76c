"""How a run begins: whoever is started first becomes, or starts, the agent of its rank.

* A driver under mpiexec: each rank becomes an agent (`enter`), and rank 0's runs the driver below
  itself. The other ranks never import the driver.
* A script under mpiexec (``mpiexec -n 4 python script.py``): at the first ``Pool()`` rank 0 starts
  its agent as a child, to which the launcher's connection passes, and the other ranks become
  agents where they stand. MPI is not touched before.
* A script which has initialised MPI itself: that can't be handed over. The ranks serve where they
  are, rank 0 in a thread beside the script.
* Without mpiexec: the script starts an agent without MPI.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

from mpipool.draining import limits
from mpipool.errors import UsageError, WorldLost
from mpipool.executor import caller
from mpipool.executor.caller import Caller
from mpipool.executor.channel import BlockingChannel, socketpair
from mpipool.executor.cores import parent_of
from mpipool.executor.environment import (
    PRELOAD,
    SCRIPT_FD,
    SIZE,
    launched,
    without_launcher,
)
from mpipool.executor.signals import Inbox, at_a_prompt, of_agent, pass_on
from mpipool.messages import Leave
from mpipool.mpiexec import (
    IMPOSSIBLE,
    ROOT_FLAGS,
    find_mpiexec,
    run,
    survival_inside,
    survival_under,
)
from mpipool.uncaught import tell_plainly

_STANDARD_ERROR: Final = 2
_AGENT: Final = (sys.executable, "-P", "-m", "mpipool.agent_main")


def enter(module: str, preload: Sequence[str] = ()) -> None:
    """Begin a driver: the first call of its console script.

    Under mpiexec this process becomes an agent and does not return; rank 0's agent runs
    ``python -m module`` with the same arguments below itself. Outside, with ``--cores N`` among
    the arguments, it starts the ranks in the same way, by mpiexec where there is one. Otherwise it
    returns, and the first `Pool` starts a world of one rank.

    Parameters
    ----------
    module : str
        The driver's module, which calls this when it is run.
    preload : sequence of str
        Modules which the parent of the executors imports once for all of them.

    Raises
    ------
    SystemExit
        With code 2, if ``--cores`` is no number or is not the number of ranks, or if
        ``--walltime``, ``--grace`` or ``--max-failures`` make no sense.
    """
    os.environ[PRELOAD] = ",".join(preload)
    if SCRIPT_FD in os.environ:
        return
    arguments = sys.argv[1:]
    walltime, grace = _option(arguments, "--walltime"), _option(arguments, "--grace")
    try:
        said = limits(walltime, grace, _option(arguments, "--max-failures"), time.time())
        os.environ.update(said.written(os.environ))
    except UsageError as error:
        _refuse(str(error))
    cores = _cores(arguments)
    if cores or launched(os.environ):
        script = [sys.executable, "-m", module, *sys.argv[1:]]
        run_below_agents(script, cores, "--cores", survive="--survive" in sys.argv[1:])


def run_below_agents(
    script: Sequence[str], ranks: int | None, option: str = "-n", survive: bool = False
) -> NoReturn:
    """Become a run of ``script``: an agent inside mpiexec, else mpiexec or an agent without MPI.

    Parameters
    ----------
    script : sequence of str
        The command which rank 0's agent runs below itself.
    ranks : int, optional
        How many were asked for.
    option : str
        By which option, for the error.
    survive : bool
        Whether the run is to go on when a rank dies, if this MPI can do that.

    Raises
    ------
    SystemExit
        With the job's exit code; with 2 if ``ranks`` is not what mpiexec has started.
    """
    _open_standard_streams()
    promised = launched(os.environ)
    if promised and ranks and ranks != promised[1]:
        _refuse(f"{option} {ranks}, but mpiexec has started {promised[1]} ranks: leave it out")
    agent = [*_AGENT, *_preload()]
    mpiexec = None if promised or not ranks else find_mpiexec()
    if mpiexec:
        for name, value in ROOT_FLAGS.items():
            os.environ.setdefault(name, value)
        how = survival_under(mpiexec) if survive else IMPOSSIBLE
    else:
        how = survival_inside(os.environ) if survive and promised else IMPOSSIBLE
    if survive:
        how.choose(aloud=not promised or promised[0] == 0)
    agent = [*how.wrapper, *agent]
    if mpiexec:
        sys.exit(run([mpiexec, *how.options, "-n", str(ranks), *agent, "--run", *script]))
    local = [] if promised else ["--local", str(ranks or 1)]
    os.execv(agent[0], [*agent, *local, "--run", *script])


def _open_standard_streams() -> None:
    """Have descriptors 0 to 2, which may have been closed: MPICH's mpiexec does not begin without.

    Whatever else was opened in their place would be taken for them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def connect(workers: int | None = None) -> Caller:
    """Return the caller of this process; in the script, the first call starts the world.

    Parameters
    ----------
    workers : int, optional
        How many ranks to start, without mpiexec.

    Raises
    ------
    UsageError
        If ``workers`` disagrees with the world that is there.
    """
    existing = caller.installed()
    if existing is None:
        existing = _begin(workers)
        caller.install(existing)
        tell_plainly()
    if workers is not None and workers != existing.size:
        raise UsageError(f"Pool(workers={workers}), but there are {existing.size} ranks already")
    return existing


def connect_for(most: int | None) -> Caller:
    """Return the caller of this process for an executor.

    Parameters
    ----------
    most : int, optional
        How many ranks to start if the world begins here, without mpiexec: the CPUs of this process
        if nothing is said. In a world that is there they are what they are.
    """
    there = caller.installed() or SCRIPT_FD in os.environ or launched(os.environ)
    if there or _mpi_is_initialized():
        return connect()
    return connect(most or len(os.sched_getaffinity(0)))


def _begin(workers: int | None) -> Caller:
    if SCRIPT_FD in os.environ:
        end = socket.socket(fileno=int(os.environ.pop(SCRIPT_FD)))
        os.set_inheritable(end.fileno(), False)
        pass_on(parent_of(os.getppid()), takes_ctrl_c=False)  # the guard is between
        return Caller(BlockingChannel(end), size=int(os.environ.get(SIZE, "1")))
    if _mpi_is_initialized():
        return _serve_in_place()
    promised = launched(os.environ)
    if promised and promised[0] != 0:
        sys.stdout.flush()
        os.execv(_AGENT[0], [*_AGENT, *_preload(), "--run"])
    local = [] if promised else ["--local", str(workers or 1)]
    size = promised[1] if promised else int(local[1])
    return _start_agent(local, size)


def _mpi_is_initialized() -> bool:
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized()


def _serve_in_place() -> Caller:
    """Serve in the processes which have MPI already; ranks other than 0 do not return."""
    from mpipool import agent_main
    from mpipool.launcher import Launcher
    from mpipool.transport.mpi import MpiTransport

    ours, theirs = socketpair()
    transport = MpiTransport(finalizes=False)
    inbox = Inbox(at_once=False)
    if threading.current_thread() is threading.main_thread():
        inbox.catch(of_agent(takes_ctrl_c=False))
    arguments = agent_main.Arguments(preload=os.environ.get(PRELOAD, ""), script_fd=theirs.detach())

    def serve() -> None:
        launcher = Launcher(os.environ, os.getpid())
        agent_main.serve([transport], arguments, inbox, launcher, in_place=True)
        transport.close()

    if transport.rank:
        serve()
        sys.exit(0)
    print(
        "mpipool: MPI was initialised before Pool(): serving in a thread of the script, which "
        "slows both; make the Pool before importing mpi4py.MPI",
        file=sys.stderr,
    )
    thread = threading.Thread(target=serve, name="mpipool-agent", daemon=True)
    thread.start()
    channel = BlockingChannel(ours)
    _leave_at_exit(channel, thread.join)
    return Caller(channel, size=transport.size)


def _start_agent(local: list[str], size: int) -> Caller:
    ours, theirs = socketpair()
    descriptors = [theirs.fileno(), *_launcher_descriptors()]
    command = [*_AGENT, *local, *_preload(), "--script-fd", str(theirs.fileno())]
    # A notebook's kernel ends what is in its process group, and waits for that, before it lets us
    # end the run.
    apart = 0 if local and at_a_prompt() else None
    agent = subprocess.Popen(
        command, pass_fds=descriptors, stdin=subprocess.DEVNULL, process_group=apart
    )
    theirs.close()
    pass_on(agent.pid, takes_ctrl_c=not local)
    # MPI in user code must not take itself for the rank: the agent is.
    kept = without_launcher(os.environ)
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    channel = BlockingChannel(ours)
    wait = agent.wait if local else partial(_end_like, agent)
    _leave_at_exit(channel, wait)
    return Caller(channel, size=size)


def _end_like(agent: subprocess.Popen[bytes]) -> None:
    """Wait for the agent; if it was killed, be killed too.

    To the launcher we are the rank. If we ended by ourselves while the others wait for our agent
    in MPI_Init, MPICH's would let them wait for ever; a rank which is killed ends the job.
    """
    if agent.wait() < 0:
        sys.stdout.flush()
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


_leaving: list[Callable[[], None]] = []
"""How this process leaves the world that it has begun, while it has not."""


def _leave_at_exit(channel: BlockingChannel, wait: Callable[[], object]) -> None:
    _leaving.append(partial(_leave, os.getpid(), channel, wait))
    atexit.register(_leaving[0])


def leave() -> None:
    """End the world now, while the script goes on; a script below an agent ends with it only."""
    while _leaving:
        atexit.unregister(_leaving[0])
        _leaving.pop()()


def serve_and_return() -> None:
    """Serve as a rank other than 0 until the run is over, and go on then.

    MPI can't be used afterwards, unless the program had initialised it before.
    """
    if _mpi_is_initialized():
        with contextlib.suppress(SystemExit):
            _serve_in_place()
        return
    sys.stdout.flush()
    command = [*_AGENT, *_preload(), "--run"]
    _end_like(subprocess.Popen(command, pass_fds=_launcher_descriptors()))


def _leave(script: int, channel: BlockingChannel, wait: Callable[[], object]) -> None:
    """End the world, and wait for it: the launcher takes our end for that of the rank."""
    if os.getpid() != script:
        return  # a fork of the script ends, to which the world does not belong
    with contextlib.suppress(WorldLost):
        channel.send(Leave(exit_code=0))
    wait()


def _launcher_descriptors() -> list[int]:
    """Return the descriptors by which a launcher is reached, which the agent inherits."""
    return [int(os.environ[name]) for name in ("PMI_FD",) if name in os.environ]


def _preload() -> list[str]:
    return ["--preload", os.environ.get(PRELOAD, "")]


def _cores(arguments: Sequence[str]) -> int | None:
    text = _option(arguments, "--cores")
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        _refuse(f"--cores {text or '(nothing)'}: how many ranks to run is a number from 1 up")
    return int(text)


def _option(arguments: Sequence[str], wanted: str) -> str | None:
    """Find an option without the driver's parser: it would have to be imported on each rank."""
    for index, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == wanted:
            return value or "".join(arguments[index + 1 : index + 2])
    return None


def _refuse(sentence: str) -> NoReturn:
    rank, _ = launched(os.environ) or (0, 1)
    if rank:
        sys.exit(0)  # rank 0 says it for all; a failure here could have it ended before it does
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(2)
