"""Instructions per task with 1,000 to 1,000,000 tasks queued, as callgrind counts them.

The caller, the agents of four ranks with the broker, and an executor below each are driven in one
process, in turns: all items are in before the first task runs. Messages pass as bytes. Time is
simulated (a task takes a microsecond), so that the same is decided on every machine. What is
counted is a map; what Python needs to start, and a first map with which the ranks get ready, are
counted in a run of their own and subtracted.

Usage: ``python benchmarks/instructions.py [--sizes 1000 10000 100000 1000000]``; a million tasks
take some minutes under valgrind.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from mpipool.agent import Agent
from mpipool.broker import Broker
from mpipool.errors import WorldLost
from mpipool.executor import attempt, caller, progress
from mpipool.executor.channel import BlockingChannel, socketpair
from mpipool.executor.process import SCRIPT
from mpipool.executor.runtime import Executor
from mpipool.executor.stream import Call
from mpipool.ids import BROKER, ExecutorId
from mpipool.messages import Hello, Message, Results, decode, encode
from mpipool.transport.local import local_world

Clock = Callable[[], float]

RANKS = 4
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FIRST = 10_000
"""Tasks of the map with which the ranks get ready."""
TICK = 0.5e-6
"""Simulated seconds from one look at the clock to the next."""


def replaced(module: ModuleType, name: str, by: Clock) -> Clock:
    """Let a module look at another clock, which it must have; return that."""
    vars(module)[name]  # a clock of another name would let it see how slow valgrind is
    setattr(module, name, by)
    return by


def passed(message: Message, payload: Any = None) -> Message:
    """Return a message as it arrives."""
    return decode(bytearray(b"".join(encode(message, payload))))


class Line:
    """What an executor has in place of its channel and its post."""

    def __init__(self, executor: ExecutorId, agent: Agent) -> None:
        self.arrived: deque[Message] = deque()
        self._executor, self._agent = executor, agent

    def send(self, message: Message, payload: Any = None) -> None:
        """Let the agent hear a message."""
        self._agent.heard(self._executor, passed(message, payload))

    def next_for_executor(self) -> Message:
        """Return what has arrived; the turn of the executor ends when there is nothing."""
        if not self.arrived:
            raise WorldLost("the turn is over")
        return self.arrived.popleft()


class Below:
    """The executors below an agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._executors: dict[ExecutorId, tuple[Executor, Line]] = {}

    def start(self, executor: ExecutorId) -> None:
        """Make an executor."""
        line: Any = Line(executor, self._agent)
        page = progress.Progress(progress.make())
        self._executors[executor] = Executor(line, page), line

    def hold(self, executor: ExecutorId, limit: int) -> None:
        """Nobody limits memory here."""

    def send(self, executor: ExecutorId, message: Message) -> None:
        """Let a message wait for the executor's turn."""
        self._executors[executor][1].arrived.append(passed(message))

    def run(self) -> None:
        """Let each executor do what there is to do."""
        for executor, line in self._executors.values():
            if line.arrived:
                try:
                    executor.serve(line)  # type: ignore[arg-type]
                except WorldLost:
                    continue


class World:
    """The ranks; and what the script has in place of its post."""

    def __init__(self) -> None:
        looks = count()
        clock = replaced(attempt, "monotonic", lambda: TICK * next(looks))
        ranks = local_world(RANKS)
        below: Any = Below
        broker = Broker(ranks[BROKER], clock, lambda: None)
        self._agents = [Agent(at, below, clock, None if at.rank else broker) for at in ranks]
        self._agents[BROKER].script = Script(self)  # type: ignore[assignment]
        self._boxes: dict[int, deque[Message]] = {}
        for agent in self._agents:
            agent.transport.send(BROKER, Hello(host="here", pid=os.getpid(), memory=0))

    def expect(self, request: int, taker: Any = None) -> None:
        """Keep messages about a request."""
        self._boxes[request] = deque()

    def has(self, request: int) -> bool:
        """Whether there is one."""
        return bool(self._boxes[request])

    def forget(self, request: int) -> None:
        """Drop them."""
        del self._boxes[request]

    def send(self, message: Message, payload: Any = None, more: bool = False) -> None:
        """Let rank 0's agent hear the script."""
        self._agents[BROKER].heard(SCRIPT, passed(message, payload))
        self.let_agents_work()

    def next(self, request: int, serving: bool = False) -> Message:
        """Let executors and agents have their turns until something comes for the script."""
        script = caller.installed()
        assert script
        while not self._boxes[request]:
            for agent in self._agents:
                agent.executors.run()  # type: ignore[attr-defined]
            self.let_agents_work()
        caller.install(script)
        return self._boxes[request].popleft()

    def let_agents_work(self) -> None:
        """Let all messages between ranks arrive."""
        while any(not agent.transport.may_sleep() for agent in self._agents):
            for agent in self._agents:
                for sender, message in agent.transport.receive():
                    agent.take(sender, message)

    def come(self, message: Any) -> None:
        """Take a message for the script."""
        assert isinstance(message, Results), message
        self._boxes[message.request].append(passed(message))


class Script:
    """The script's process, as its agent sees it."""

    def __init__(self, world: World) -> None:
        self.send = world.come

    def close(self) -> None:
        """It does not end."""


def run(tasks: int) -> None:
    """Make the first map, and one with so many tasks."""
    ours, theirs = socketpair()
    script = caller.Caller(BlockingChannel(ours), size=RANKS)
    theirs.close()
    caller.install(script)
    world: Any = World()
    script.post = world
    world.let_agents_work()
    for size in (FIRST, tasks):
        items = range(size)
        values, _ = script.scatter(Call(function=abs), items)
        assert values == list(items), "a result is wrong"


def done(command: list[str], tasks: int, folder: str) -> str:
    """Let a process of its own make a run, with compiled modules in the folder; return its log."""
    environment = {"PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": folder}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        [*command, sys.executable, str(Path(__file__).resolve()), "--run", str(tasks)],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{command} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stderr


def counted(valgrind: str, tasks: int, folder: str) -> int:
    """Return how many instructions callgrind counts for a run with so many tasks."""
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=out"]
    log = done(command, tasks, folder)
    found = re.search(r"Collected : (\d+)", log)
    if not found:
        raise SystemExit(f"valgrind has counted nothing:\n{log}")
    return int(found[1])


def table(valgrind: str, sizes: list[int], folder: str) -> None:
    """Count, and print a table."""
    done([], 0, folder)  # so that everything is compiled
    before = counted(valgrind, 0, folder)
    print("| queued tasks | instructions per task |\n| --- | --- |")
    counts = []
    for size in sizes:
        counts.append((counted(valgrind, size, folder) - before) / size)
        print(f"| {size:,} | {counts[-1]:,.0f} |", flush=True)
    print(f"\nThe largest is {max(counts) / min(counts):.2f} times the smallest.")


def main() -> None:
    """Read the command line, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        run(options.run)
        return
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("skipped: there is no valgrind on this machine, whose callgrind would count")
        return
    with tempfile.TemporaryDirectory() as folder:
        table(valgrind, options.sizes, folder)


if __name__ == "__main__":
    main()
