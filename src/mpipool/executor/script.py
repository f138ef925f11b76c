"""The script, as rank 0's agent sees it: the outermost task."""

from __future__ import annotations

import os
import signal
import socket
from typing import Protocol

from mpipool.executor.channel import Channel
from mpipool.executor.environment import without_launcher
from mpipool.executor.process import SCRIPT, Death, GuardProcess, Listener, how_it_ended
from mpipool.executor.watch import Watch
from mpipool.messages import Exited, Message, Run, Started


class Script(Protocol):
    """Where messages for the script go."""

    def send(self, message: Message) -> None:
        """Send a message to the script."""

    def close(self) -> None:
        """Let the script go; it is ended if it still runs."""


class ScriptBelow:
    """The script as a process that a guard of its own runs below the agent.

    The guard ends what the script has started, whatever ends the agent.
    """

    def __init__(
        self, watch: Watch, listener: Listener, arguments: list[str], spared: set[int]
    ) -> None:
        self._watch, self._listener, self._spared = watch, listener, spared
        self._guard = GuardProcess(watch, without_launcher(os.environ))
        spared.add(self._guard.process.pid)
        watch.add(self._guard.channel.fileno(), self._read_guard)
        self._guard.send(Run(executor=SCRIPT, parts=tuple(map(str.encode, arguments))))
        self._channel: Channel | None = None
        self._pid: int | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Pass on a Ctrl-C, which reaches the agent alone: the script says how it ends."""
        self._interrupted = True
        if self._pid is not None:
            os.kill(self._pid, signal.SIGINT)

    def send(self, message: Message) -> None:
        """Send a message to the script."""
        if self._channel:
            self._watch.send(self._channel, message)

    def close(self) -> None:
        """Let the script go; it is ended if it still runs."""
        self._guard.close()

    def _read_guard(self) -> None:
        messages, alive = self._guard.channel.read()
        for message in messages:
            match message:
                case Started(pid=pid):
                    self._pid = pid
                    (end,) = self._guard.take_descriptors(1)
                    self._channel = Channel(socket.socket(fileno=end))
                    self._watch.add(self._channel.fileno(), self._read)
                    if self._interrupted:
                        self.interrupt()
                case Exited(status=status):
                    self._pid = None
                    self._read()
                    self._listener.ended(SCRIPT, Death(how_it_ended(status), status))
        if not alive:
            self._guard.bury(self._spared)
            self._listener.ended(SCRIPT, Death("the script's guard was killed", 1))

    def _read(self) -> None:
        if self._channel is None:
            return
        messages, alive = self._channel.read()
        if not alive:
            self._watch.drop(self._channel.fileno())
            self._channel = None
        for message in messages:
            self._listener.heard(SCRIPT, message)


class ScriptAbove:
    """The script as the process which started this agent, at the other end of a descriptor."""

    def __init__(self, watch: Watch, listener: Listener, descriptor: int) -> None:
        self._watch, self._listener = watch, listener
        self._channel = Channel(socket.socket(fileno=descriptor))
        watch.add(descriptor, self._read)

    def send(self, message: Message) -> None:
        """Send a message to the script."""
        self._watch.send(self._channel, message)

    def close(self) -> None:
        """Close the channel: the script waits for the end of this process, not for this."""

    def _read(self) -> None:
        messages, alive = self._channel.read()
        for message in messages:
            self._listener.heard(SCRIPT, message)
        if not alive:
            self._watch.drop(self._channel.fileno())
            self._listener.ended(SCRIPT, Death("the script is gone", 1, lost=True))
