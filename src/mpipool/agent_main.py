"""The process of an agent.

``python -m mpipool.agent_main [--script-fd N | --run ARG ...]``, on each rank of mpiexec's, or with
``--local N`` as N ranks in this one process without MPI. Rank 0 runs the script below itself
(``--run``) or was started by it (``--script-fd``).
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mpipool.agent import Agent
from mpipool.executor.cores import Share, of_this_rank, parent_of
from mpipool.executor.descendants import adopt_orphans, die_with_parent, outlive_parent
from mpipool.executor.environment import RANK, SIZE, TRAFFIC, for_user_code, launched, tokens
from mpipool.executor.process import Executors, Watch
from mpipool.executor.script import ScriptAbove, ScriptBelow
from mpipool.ganging import NEEDS_MAIN_THREAD, NEEDS_MPI, Here, NotHere
from mpipool.ids import BROKER
from mpipool.loop import Loop, abort
from mpipool.messages import Hello, Stop
from mpipool.node import memory_mib
from mpipool.transport import Transport
from mpipool.transport.local import LocalTransport, local_world

if TYPE_CHECKING:
    from mpipool.broker import Broker

LEAVE_SECONDS: Final = 5.0


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Serve as the agent of a rank until the run is over, then end the process."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # no traceback; the guards end what is below
    if arguments.script_fd is not None:
        # In MPI_Init nothing of ours runs: there the kernel ends us if the script is killed.
        die_with_parent(os.getppid())
        _require_script(arguments.script_fd)
    world = _world(arguments.local)
    outlive_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the script
    stop = serve(world, arguments)
    _tell_traffic(world)
    _leave(world, stop)


def _require_script(descriptor: int) -> None:
    """End if the script is gone already."""
    poller = select.poll()
    poller.register(descriptor, 0)  # a hang-up is always reported
    if poller.poll(0):
        os._exit(1)


def _tell_traffic(world: Sequence[Transport]) -> None:
    """Leave each rank's counts of messages and bytes in a file, if somebody asked for them."""
    folder = os.environ.get(TRAFFIC)
    for transport in world if folder else ():
        counts = {"sent": transport.traffic.sent, "received": transport.traffic.received}
        Path(str(folder), f"{transport.rank}.json").write_text(json.dumps(counts))


def _leave(world: Sequence[Transport], stop: Stop) -> NoReturn:
    """Leave MPI and end the process, within 5 s whatever hangs.

    The interpreter is not finalised: other libraries' destructors are what crashes there. But C's
    exit handlers must run: MPICH says goodbye to its launcher in one of them, and a process that
    ends without it takes the job along (10 of 15 runs, measured).
    """
    if stop.stuck:
        abort(world[0], stop)
    sys.stdout.flush()
    sys.stderr.flush()
    if not stop.orderly:
        os._exit(stop.exit_code)  # MPICH's Finalize would wait for a launcher that is giving up
    # Not a timer of Python's: mpi4py holds the GIL in Finalize, and there it is that MPI hangs.
    nowhere = open(os.devnull, "w")  # noqa: SIM115 - it must outlive this function
    faulthandler.dump_traceback_later(LEAVE_SECONDS, exit=True, file=nowhere)
    for transport in world:
        transport.close()
    ctypes.CDLL(None).exit(stop.exit_code)
    raise AssertionError("exit does not return")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mpipool.agent_main", description=__doc__)
    parser.add_argument("--local", type=int, default=0, metavar="N")
    parser.add_argument("--preload", default="", metavar="MODULE,...")
    script = parser.add_mutually_exclusive_group(required=True)
    script.add_argument("--script-fd", type=int)
    script.add_argument("--run", nargs=argparse.REMAINDER, metavar="ARG")
    return parser.parse_args(argv)


def _world(local: int) -> Sequence[Transport]:
    if local:
        return local_world(local)
    from mpipool.transport.mpi import MpiTransport

    transport = MpiTransport()
    promised = launched(os.environ)
    if promised and promised[1] != transport.size:
        sys.exit(
            f"mpipool: the launcher promised {promised[1]} ranks, MPI found {transport.size}: "
            "mpiexec belongs to another MPI than mpi4py uses; call the mpiexec beside this python"
        )
    return [transport]


def serve(
    world: Sequence[Transport], arguments: argparse.Namespace, in_place: bool = False
) -> Stop:
    """Serve the ranks of ``world`` which live in this process; return how the run ended.

    Parameters
    ----------
    world : sequence of Transport
        One, or all ranks of a local world.
    arguments : argparse.Namespace
        As from the command line.
    in_place : bool
        Whether this process is the user's own, whose other children are none of ours.
    """
    watch = Watch()
    agents: list[Agent] = []
    loop = Loop(agents, watch)
    spared: set[int] | None = None if in_place else set()
    preload = tuple(filter(None, arguments.preload.split(",")))
    # A local world says nothing of its neighbours on the node, if there are any.
    cpus = None if arguments.local else of_this_rank(os.environ, _launcher(arguments, in_place))
    os.environ[SIZE] = str(world[0].size)
    for transport in world:
        broker = _broker(transport, loop) if transport.rank == BROKER else None
        agents.append(
            Agent(
                transport,
                lambda agent: Executors(watch, agent, preload, spared, cpus, agent.transport.rank),
                time.monotonic,
                broker,
                partial(_here, transport, watch, in_place, cpus),
            )
        )
    if agents[0].broker:
        _begin_script(agents[0], watch, spared, arguments)
    own = ",".join(map(str, sorted(cpus.own))) if cpus else ""
    hello = Hello(host=socket.gethostname(), pid=os.getpid(), memory=memory_mib(), cpus=own)
    for agent in agents:
        agent.transport.send(BROKER, hello)
        agent.executors.prepare()
    return loop.run()


def _launcher(arguments: argparse.Namespace, in_place: bool) -> int:
    """Return the process which started the rank; between it and us may be the script."""
    parent = os.getppid()
    return parent_of(parent) if arguments.script_fd is not None and not in_place else parent


def _here(
    transport: Transport, watch: Watch, in_place: bool, cpus: Share | None, agent: Agent
) -> Here:
    """Make the place for tasks which need the rank's own MPI."""
    if in_place:
        return NotHere(NEEDS_MAIN_THREAD)
    if isinstance(transport, LocalTransport):
        return NotHere(NEEDS_MPI)
    from mpipool.executor.inline import Inline
    from mpipool.transport.mpi import MpiTransport

    assert isinstance(transport, MpiTransport)
    environment = for_user_code(os.environ, *(cpus or ())) | {RANK: str(transport.rank)}
    return Inline(watch, agent, transport.communicator, transport.allows_gangs, environment)


def _broker(transport: Transport, loop: Loop) -> Broker:
    from mpipool.broker import Broker  # only rank 0 pays for SQLite

    return Broker(transport, time.monotonic, loop.wake, tokens(os.environ))


def _begin_script(
    root: Agent, watch: Watch, spared: set[int] | None, arguments: argparse.Namespace
) -> None:
    if arguments.run:
        assert spared is not None, "a script below an agent is none of the user's processes"
        script = ScriptBelow(watch, root, arguments.run, spared)
        root.script = script
        signal.signal(signal.SIGINT, lambda *_: script.interrupt())
    elif arguments.script_fd is not None:
        root.script = ScriptAbove(watch, root, arguments.script_fd)


if __name__ == "__main__":
    main()
