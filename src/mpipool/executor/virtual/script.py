"""The script of a simulated run."""

from __future__ import annotations

from typing import Final

from mpipool.executor.process import SCRIPT, Listener
from mpipool.executor.virtual.calling import Clock, Drains, Process, Raised, Work
from mpipool.executor.virtual.observer import Observer
from mpipool.executor.virtual.plan import Plan
from mpipool.messages import Answer, Leave, Message

LINGER: Final = 1000.0
"""Seconds for which the script does nothing at its end, so that everything comes to rest."""
NO_CHECKPOINT: Final = 3
"""The script's exit code where the checkpoint can't be had."""
FAILED: Final = 1
"""Its exit code where what it waits for fails."""


class VirtualScript(Process):
    """The outermost task: leads the scatters of a plan, and leaves."""

    blocks = False

    def __init__(self, clock: Clock, listener: Listener, plan: Plan, observer: Observer) -> None:
        super().__init__(SCRIPT, clock, listener, observer)
        clock.after(0.0, lambda: self.begin(self._run(plan)))

    def send(self, message: Message) -> None:
        """Take a message of the agent."""
        self.take(message)

    def close(self) -> None:
        """It has ended already."""

    def _run(self, plan: Plan) -> Work:
        if self._observer.checkpoint:
            path, command = self._observer.checkpoint, "simulated"
            answer = yield from self.ask(
                "attach", path=path, config=None, command=command, take_over=False
            )
            assert isinstance(answer, Answer)
            if not answer.ok:
                self.say(Leave(exit_code=NO_CHECKPOINT))
                return
        try:
            yield from self.lead(plan)
        except Raised:
            self.say(Leave(exit_code=FAILED))
            return
        except Drains as drains:
            self.say(Leave(exit_code=drains.exit_code))
            return
        yield LINGER
        self.say(Leave(exit_code=0))
