"""The process of an agent.

``python -m mpipool.agent_main [--script-fd N | --run ARG ...]``, on each rank of mpiexec's, or with
``--local N`` as N ranks in this one process without MPI. Rank 0 runs the script below itself
(``--run``) or was started by it (``--script-fd``).
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mpipool import liveness
from mpipool.agent import Agent
from mpipool.executor.cores import Share, of_this_rank
from mpipool.executor.descendants import adopt_orphans, die_with_parent, outlive_parent
from mpipool.executor.environment import (
    CGROUP,
    RANK,
    SILENCE,
    SIZE,
    TRAFFIC,
    for_user_code,
    launched,
    local_place,
    tokens,
)
from mpipool.executor.leaf import place_for_leaves
from mpipool.executor.process import Executors
from mpipool.executor.script import ScriptAbove, ScriptBelow
from mpipool.executor.signals import Ear, Inbox, of_agent
from mpipool.executor.watch import Watch
from mpipool.ganging import NEEDS_MAIN_THREAD, NEEDS_MPI, Here, NotHere
from mpipool.ids import BROKER
from mpipool.launcher import Launcher
from mpipool.loop import Loop, abort
from mpipool.messages import Hello, Stop
from mpipool.node import Node, memory_mib
from mpipool.supervisor import UP
from mpipool.transport import Transport
from mpipool.transport.deaths import BEGUN, OVER, tell_launcher
from mpipool.transport.local import LocalTransport, local_world

if TYPE_CHECKING:
    from mpipool.broker import Broker

LEAVE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Arguments:
    """What the process of an agent is told."""

    local: int = 0
    """So many ranks, in this process; 0 for one of MPI's."""
    preload: str = ""
    """Modules for the guard to import, separated by commas."""
    script_fd: int | None = None
    """Where the script is that has started this process."""
    run: list[str] | None = None
    """The command which rank 0 starts; of other ranks it does not matter."""
    supervised: bool = False
    """Whether a supervisor of ours is between the launcher and this process."""


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
    come_up = _below_supervisor(arguments)
    # Before MPI_Init, in which it may be killed: whoever has adopted us then is no launcher.
    launcher = Launcher(os.environ, _below_launcher(arguments))
    world = _world(arguments.local)
    come_up()
    if arguments.script_fd is not None:
        outlive_parent()
    inbox = Inbox(at_once=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Outside of mpiexec a Ctrl-C is for the script which has started this process.
    inbox.catch(of_agent(takes_ctrl_c=not arguments.local or arguments.run is not None))
    if world[0].rank == BROKER:
        tell_launcher(BEGUN)
    stop = serve(world, arguments, inbox, launcher)
    _tell_traffic(world)
    _leave(world, stop)


def _below_supervisor(arguments: Arguments) -> Callable[[], None]:
    """Die with the supervisor, if there is one; return what tells it that the rank has come up."""
    supervisor, end = map(int, os.environ.pop(UP, "0 0").split())
    if supervisor != os.getppid():
        return lambda: None
    arguments.supervised = True
    die_with_parent(supervisor)

    def come_up() -> None:
        os.write(end, b"!")
        os.close(end)

    return come_up


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
    if world[0].rank == BROKER:
        tell_launcher(OVER)
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


def _parse(argv: Sequence[str]) -> Arguments:
    """Read the command line, which only other parts of mpipool write; argparse takes 0.3 MiB."""
    arguments, words = Arguments(), iter(argv)
    for word in words:
        match word:
            case "--local":
                arguments.local = int(next(words))
            case "--preload":
                arguments.preload = next(words)
            case "--script-fd":
                arguments.script_fd = int(next(words))
            case "--run":
                arguments.run = list(words)
            case _:
                sys.exit(f"mpipool.agent_main: {word} is none of its options")
    if (arguments.run is None) == (arguments.script_fd is None):
        sys.exit("mpipool.agent_main: give either --run or --script-fd")
    return arguments


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
    world: Sequence[Transport],
    arguments: Arguments,
    inbox: Inbox,
    launcher: Launcher,
    in_place: bool = False,
) -> Stop:
    """Serve the ranks of ``world`` which live in this process; return how the run ended.

    Parameters
    ----------
    world : sequence of Transport
        One, or all ranks of a local world.
    arguments : Arguments
        As from the command line.
    inbox : Inbox
        The signals which this process is sent.
    launcher : Launcher
        What has started this rank.
    in_place : bool
        Whether this process is the user's own, whose other children are none of ours.
    """
    watch = Watch()
    agents: list[Agent] = []
    loop = Loop(agents, watch, launcher)
    spared: set[int] | None = None if in_place else set()
    preload = tuple(filter(None, arguments.preload.split(",")))
    # A local world says nothing of its neighbours on the node, if there are any.
    cpus = None if arguments.local else of_this_rank(os.environ, launcher.pid)
    told = {CGROUP: _group()}
    ranks = arguments.local or (local_place(os.environ) or (0, 1))[1]
    node = Node(memory_mib(ranks), ranks)
    os.environ[SIZE] = str(world[0].size)
    for transport in world:
        broker = _broker(transport, loop) if transport.rank == BROKER else None
        agents.append(
            Agent(
                transport,
                lambda agent: Executors(
                    watch, agent, preload, spared, cpus, told | {RANK: str(agent.transport.rank)}
                ),
                time.monotonic,
                broker,
                partial(_here, transport, watch, in_place, cpus),
                node,
            )
        )
    if agents[0].broker:
        _begin_script(agents[0], watch, spared, arguments)
    _listen(agents[0], watch, inbox)
    for agent in agents:
        agent.transport.send(BROKER, _hello(node, cpus))
        agent.executors.prepare()
    return loop.run()


def _hello(node: Node, cpus: Share | None) -> Hello:
    """Return what the broker is told of a rank."""
    own = ",".join(map(str, sorted(cpus.own))) if cpus else ""
    return Hello(host=socket.gethostname(), pid=os.getpid(), memory=node.memory, cpus=own)


def _listen(agent: Agent, watch: Watch, inbox: Inbox) -> None:
    """Have an agent hear the signals which its process is sent."""
    script = agent.script
    interrupt = script.interrupt if isinstance(script, ScriptBelow) else None
    ear = Ear(agent.warn, interrupt)
    kills = "PRTE_LAUNCHED" in os.environ

    def read() -> None:
        for number in inbox.read():
            ear.heard(number, time.monotonic(), kills)

    watch.add(inbox.fileno(), read)


def _below_launcher(arguments: Arguments) -> int:
    """Return the process which the launcher has started: the script, a supervisor, or this one."""
    between = arguments.supervised or arguments.script_fd is not None
    return os.getppid() if between else os.getpid()


def _group() -> str:
    """Return the folder in which executors make control groups; empty if there is none."""
    given = os.environ.get(CGROUP)
    if given is None:
        return place_for_leaves()
    return "" if given == "0" else given


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
    from mpipool.draining import Limits

    silence = float(os.environ.get(SILENCE, liveness.SILENCE))
    broker = Broker(transport, time.monotonic, loop.wake, tokens(os.environ), silence=silence)
    broker.oversight.know(Limits.of(os.environ))
    return broker


def _begin_script(root: Agent, watch: Watch, spared: set[int] | None, arguments: Arguments) -> None:
    if arguments.run:
        assert spared is not None, "a script below an agent is none of the user's processes"
        root.script = ScriptBelow(watch, root, arguments.run, spared)
    elif arguments.script_fd is not None:
        root.script = ScriptAbove(watch, root, arguments.script_fd)


if __name__ == "__main__":
    main()
