"""How the drivers' commands end: what they say, where, and with which exit code.

0 all done, 1 something failed and the rest was done, 2 the command can't be carried out, 75 the run
drained (a signal, the walltime) and the same command goes on, 130 it was stopped before its end.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from mpipool import Drained, MpipoolError, WorldLost

STOPPED = 130
"""The exit code that shells give to what Ctrl-C ended."""


EXIT_CODES = "75 drained: the same command goes on, 130 stopped"
"""The end of the sentence about exit codes in each driver's help."""


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the options which say when a run is to end; `mpipool.enter` takes them in."""
    parser.add_argument(
        "--walltime",
        metavar="TIME",
        help="when the job ends, counted from now: seconds, or like 1:30:00; the run drains before",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        help="the time between a warning (a signal, or before the walltime) and the run's end",
    )
    parser.add_argument(
        "--max-failures",
        metavar="N",
        help="drain when N tasks have failed (else when the first 20 have all failed alike)",
    )


class CommandError(Exception):
    """The command can't be carried out; the message is a sentence that says why."""


class Stopped(Exception):
    """The command was stopped before its end; the message says how far it was."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended.

    Attributes
    ----------
    code : int
        The exit code.
    lines, errors : sequence of str
        What goes to standard output, and then to standard error.
    """

    code: int
    lines: Sequence[str] = ()
    errors: Sequence[str] = ()


def carry_out(command: Callable[[], Ending]) -> int:
    """Call the command, say how it ended, and return the exit code."""
    try:
        return _say(_ending(command))
    finally:
        _flush()


def _ending(command: Callable[[], Ending]) -> Ending:
    try:
        return command()
    except Drained as error:
        return Ending(error.code, errors=[f"drained: {error}"])
    except Stopped as error:
        return Ending(STOPPED, errors=[f"stopped: {error}"])
    except (KeyboardInterrupt, WorldLost):
        return Ending(STOPPED, errors=["stopped before anything was begun"])
    except (CommandError, MpipoolError, OSError) as error:
        return Ending(2, errors=[f"error: {error}"])


def _say(ending: Ending) -> int:
    try:
        for line in ending.lines:
            print(line)
    except BrokenPipeError:
        _discard_output()
    _flush()
    for line in ending.errors:
        complain(line)
    return ending.code


def complain(line: str) -> None:
    """Write a line to standard error, if anybody still reads that."""
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """Let go of standard output: its reader has seen enough, and Python flushes again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end(code: int) -> NoReturn:
    """Exit. What was stopped once is not disturbed by a second Ctrl-C while its ranks end."""
    if code == STOPPED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; its class if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
