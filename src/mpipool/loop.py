"""The loop of an agent's process: waits for messages, sockets and time, at next to no cost.

After any activity it looks again at once for 250 µs; then it sleeps, until something wakes
it, or, where messages can't, for a quarter of the time for which nothing has happened, up to what
the transport allows. So an answer that comes soon is taken soon, and an idle rank uses less than
1 % of a core.

While a task of a gang has the main thread, the loop goes on in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from mpipool.agent import Agent
from mpipool.executor.watch import Watch
from mpipool.ids import BROKER
from mpipool.launcher import Launcher, end_without_launcher
from mpipool.messages import Stop
from mpipool.transport import Transport

SPIN: Final = 250e-6
"""Seconds for which the loop does not sleep after something has happened."""
SHORTEST_SLEEP: Final = 50e-6
NO_YIELD: Final = 0.001
"""Seconds. A transport which allows no longer sleep has parcels under way, whose processes need the
cores too: a yield may last for a whole slice of another process, a short sleep does not."""
BETWEEN_PIECES: Final = 200e-6
"""Seconds. A ring full of pieces lasts ten times as long."""
EVERY: Final = 0.01
"""Seconds between two looks at what is due."""
LAST_SECONDS: Final = 1.0
"""For which the end of the run waits for the main thread once everybody has said goodbye."""
ABORT_SECONDS: Final = 5.0
"""For which the other ranks wait to be ended by rank 0's abort."""
PASS_ON_SECONDS: Final = 0.3
"""For which a launcher may take to pass on what was printed: once it aborts, it drops the rest."""
HELD_UP: Final = "mpipool: a task of a gang does not end; the run ends without it"
LAUNCHER_EVERY: Final = 0.5
"""Seconds between two looks whether the launcher is still there."""


def abort(transport: Transport, stop: Stop) -> NoReturn:
    """End the whole run, as some rank is stuck in user code where nothing can interrupt it.

    A rank that ended by itself would have its launcher kill the others, and exit with the number of
    that signal: rank 0 aborts for all, once the script has had time to say what it has to say.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if transport.rank == BROKER:
        time.sleep(LAST_SECONDS)
        print(f"mpipool: the run can't go on: {stop.stuck}", file=sys.stderr, flush=True)
        time.sleep(PASS_ON_SECONDS)
        transport.abort(stop.exit_code)
    time.sleep(ABORT_SECONDS)
    os._exit(stop.exit_code)


class Loop:
    """Serves the agents of this process (several only without MPI) until the run is over."""

    def __init__(self, agents: Sequence[Agent], watch: Watch, launcher: Launcher) -> None:
        self._agents = agents
        self._watch = watch
        self._launcher = launcher
        self._waker, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = wake
        self._stopping: set[int] = set()
        self._left: set[int] = set()
        watch.add(self._waker, self._wakened)

    def wake(self) -> None:
        """Wake the loop from another thread."""
        os.write(self._wake, b"w")

    def _wakened(self) -> None:
        os.read(self._waker, 4096)

    def run(self) -> Stop:
        """Serve until the run is over; return how it ended. In the main thread."""
        for agent in self._agents:
            if agent.transport.doorbell is not None:
                # Who saw us asleep may ring when we are up again: the bell is silenced here too.
                self._watch.add(agent.transport.doorbell, agent.transport.wakes)
        here = self._agents[0].here
        while not self._is_over:
            self._serve(lambda: here.due)
            if here.due:
                self._step_aside()
        assert self._agents[0].stop
        return self._agents[0].stop

    @property
    def _is_over(self) -> bool:
        return len(self._left) == len(self._agents)

    def _serve(self, is_to_end: Callable[[], bool]) -> None:
        """Serve until the run is over, or something else wants this thread to end."""
        last = tick = looked = time.monotonic()
        while not (self._is_over or is_to_end()):
            busy = self._step()
            now = time.monotonic()
            if now - tick > EVERY:
                tick = now
                self._tick()
            if now - looked > LAUNCHER_EVERY:
                looked = now
                if self._launcher.is_gone:
                    end_without_launcher()
            if busy or self._sleep(now - last):
                last = time.monotonic()

    def _step_aside(self) -> None:
        """Let a task have the main thread; serve in another one as long as it runs."""
        agent = self._agents[0]
        back = threading.Event()
        aside = threading.Thread(
            target=self._serve_aside, args=(back,), name="mpipool-agent", daemon=True
        )
        aside.start()
        agent.here.run()
        back.set()
        self.wake()
        aside.join()
        agent.ganging.main_thread_is_free()

    def _serve_aside(self, back: threading.Event) -> None:
        """Serve until the main thread is back."""
        try:
            self._serve(back.is_set)
        except BaseException:
            # As if it had happened in the main thread, which is not to be had.
            with contextlib.suppress(OSError):
                traceback.print_exc()
            os._exit(1)
        if not self._is_over:
            return
        stop = self._agents[0].stop
        assert stop
        # Everything is on disk. But MPI can't be left while code is in it.
        transport = self._agents[0].transport
        if stop.stuck:
            abort(transport, stop)
        if not back.wait(LAST_SECONDS):
            print(HELD_UP, file=sys.stderr, flush=True)
            time.sleep(PASS_ON_SECONDS)
            transport.abort(stop.exit_code or 1)

    def _step(self) -> bool:
        busy = self._watch.poll()
        for agent in self._agents:
            for sender, message in agent.transport.receive():
                busy = True
                agent.take(sender, message)
        return busy

    def _tick(self) -> None:
        for agent in self._agents:
            agent.tick()
            rank = agent.transport.rank
            if agent.outcast:
                print(f"mpipool: rank {rank} ends: {agent.outcast}", file=sys.stderr, flush=True)
                self._end_at_once(agent)
            if agent.may_leave and rank not in self._stopping:
                self._stopping.add(rank)
                agent.say_goodbye()
            if agent.released:
                self._left.add(rank)

    @staticmethod
    def _end_at_once(agent: Agent) -> NoReturn:
        """End without a word; the guards see it, and end everything below."""
        if BROKER in agent.transport.lost:
            os._exit(1)  # with the job
        while True:  # an exit code would become the job's, under some launchers; a signal does not
            os.kill(os.getpid(), signal.SIGKILL)

    def _sleep(self, idle: float) -> bool:
        """Sleep, the longer the longer nothing has happened; return whether something woke it."""
        transports = [agent.transport for agent in self._agents]
        pause = min(transport.longest_sleep for transport in transports)
        if idle < SPIN and pause > NO_YIELD:
            os.sched_yield()
            return False
        if any(transport.unsent for transport in transports):
            pause = SHORTEST_SLEEP
        elif not all(transport.rings for transport in transports):
            shortest = BETWEEN_PIECES if pause <= NO_YIELD else SHORTEST_SLEEP
            pause = min(max(idle / 4, shortest), pause)
        woken = not all([transport.may_sleep() for transport in transports])  # noqa: C419 - each
        if not woken:
            woken = bool(select.select([self._watch.fileno()], [], [], pause)[0])
        for transport in transports:
            transport.wakes()
        return woken
