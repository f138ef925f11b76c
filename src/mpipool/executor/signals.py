"""The signals by which batch systems, launchers and users ask a run to end.

They may reach an agent, the script, or all processes of a job at once. An agent takes them in
(`Inbox`, `Ear`), the script's process passes them on to its agent (`pass_on`), and to a task they
do nothing (`shield`): it may end within the grace period.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final

WARNINGS: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
)  # fmt: skip
_FIRST_PASSED_ON: Final = signal.SIGRTMIN + 8
"""The first of the signals by which a script says which warning it was sent; a number of its own
for each, since the same signal, again, would be another warning."""
SHIELDED: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
MOMENT: Final = 1.0
"""Seconds. Open MPI's launcher sends SIGCONT, 0.25 s later SIGTERM, 0.25 s later SIGKILL."""


class Inbox:
    """Signals which were caught, for a loop to read.

    Parameters
    ----------
    at_once : bool
        Whether they are noted even while the interpreter is in foreign code. The process must be
        our own: this takes Python's only wake-up descriptor.
    """

    def __init__(self, at_once: bool) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._at_once = at_once
        if at_once:
            signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return a descriptor which is readable when there is something to read."""
        return self._reading

    def catch(self, numbers: Iterable[int]) -> None:
        """Catch these signals from now on; in the main thread."""
        for number in numbers:
            signal.signal(number, self._came)

    def _came(self, number: int, _: object) -> None:
        if not self._at_once:  # else Python has noted it already
            with contextlib.suppress(BlockingIOError):
                os.write(self._writing, bytes([number]))

    def read(self) -> list[int]:
        """Return the numbers of the signals which have come since the last call."""
        try:
            return list(os.read(self._reading, 4096))
        except BlockingIOError:
            return []


class Ear:
    """What an agent makes of the signals which it is sent.

    Parameters
    ----------
    warn : callable
        Told the signal, and whether the launcher kills this process in a moment.
    interrupt : callable or None
        Interrupts the script at a second Ctrl-C, if it is below this agent.
    """

    def __init__(
        self, warn: Callable[[int, bool], None], interrupt: Callable[[], None] | None = None
    ) -> None:
        self._warn = warn
        self._interrupt = interrupt
        self._continued = -inf
        self._interrupted = False

    def heard(self, number: int, now: float, kills: bool = False) -> None:
        """Take a signal in; ``kills``: the launcher does so soon after SIGCONT and SIGTERM."""
        if number == signal.SIGCONT:
            self._continued = now
        elif number == signal.SIGINT and self._interrupted and self._interrupt:
            self._interrupt()
        elif number >= _FIRST_PASSED_ON:
            self._warn(WARNINGS[number - _FIRST_PASSED_ON], False)
        else:
            self._interrupted |= number == signal.SIGINT
            hurried = kills and number == signal.SIGTERM and now - self._continued < MOMENT
            self._warn(number, hurried)


def of_agent(takes_ctrl_c: bool) -> list[int]:
    """Return which signals an agent catches.

    Parameters
    ----------
    takes_ctrl_c : bool
        Whether SIGINT is for it; else it is for the script, and the agent ignores it.
    """
    passed_on = [_FIRST_PASSED_ON + at for at in range(len(WARNINGS))]
    own = [number for number in WARNINGS if takes_ctrl_c or number != signal.SIGINT]
    return [*own, *passed_on, signal.SIGCONT]


def pass_on(agent: int, takes_ctrl_c: bool) -> None:
    """Have the script's process pass warnings on to its agent, those for which it has no handler.

    Parameters
    ----------
    agent : int
        Its process id.
    takes_ctrl_c : bool
        Whether the first SIGINT is such a warning too; the second is a Ctrl-C to Python.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def tell(number: int, _: object) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        try:
            os.kill(agent, _FIRST_PASSED_ON + WARNINGS.index(signal.Signals(number)))
        except ProcessLookupError:  # there is no run any more
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in WARNINGS:
        handler: Any = signal.getsignal(number)
        if number == signal.SIGINT:
            free = takes_ctrl_c and handler is signal.default_int_handler and not at_a_prompt()
        else:
            free = handler is signal.SIG_DFL
        if free:
            signal.signal(number, tell)


def at_a_prompt() -> bool:
    """Whether somebody types the script: in a REPL, or in a notebook."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def shield() -> None:
    """Let warnings do nothing to this process, an executor; what it starts gets them as usual."""
    for number in SHIELDED:
        signal.signal(number, _do_nothing)
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_drop_shield)


def _do_nothing(*_: object) -> None:
    """Take a signal in."""


_masks: list[set[int]] = []


def _hold() -> None:
    """Hold signals up while the process forks: one for the child must not come to nothing there."""
    _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED))


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


def _drop_shield() -> None:
    for number in SHIELDED:
        if signal.getsignal(number) is _do_nothing:
            signal.signal(number, signal.SIG_DFL)
    _release()
