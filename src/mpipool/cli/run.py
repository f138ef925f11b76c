"""``mpipool run``: run a script on ranks."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from mpipool.draining import ALIKE, DEFAULT_GRACE, TERM_GRACE, limits
from mpipool.executor.environment import RESOURCES, SHARED_BY, SILENCE
from mpipool.launch import run_below_agents
from mpipool.liveness import SHORTEST as SHORTEST_SILENCE
from mpipool.liveness import SILENCE as SILENCE_SECONDS

NAME: Final = "run"
HELP: Final = "run a Python script on ranks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.description = (
        "Run a script whose Pool() is the ranks that this starts. Inside mpiexec, "
        "(mpiexec -n 4 mpipool run script.py) the ranks are those of mpiexec. The script runs "
        "once, below rank 0; the other ranks never import it."
    )
    parser.add_argument(
        "-n", "--ranks", type=int, help="how many ranks to start (1; inside mpiexec, leave it out)"
    )
    parser.add_argument(
        "--survive",
        action="store_true",
        help="go on when ranks other than rank 0 die, if this MPI can do that: a line says whether "
        "and how (docs/faults.md)",
    )
    parser.add_argument(
        "--silence",
        type=float,
        metavar="SECONDS",
        help=f"a rank that says nothing for so long counts as dead ({SILENCE_SECONDS:g}; at least "
        f"{SHORTEST_SILENCE:g}; 0: never)",
    )
    parser.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=N",
        help="named tokens for resources= of calls: io=32 lets at most 32 tasks hold an io; "
        "can be given several times",
    )
    _add_limits(parser)
    parser.add_argument(
        "--group",
        default="",
        metavar="NAME",
        help="a Unix group which shares the run's checkpoint: its members may go on with it "
        "(docs/checkpoint.md)",
    )
    parser.add_argument("script", help="the script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare when and why the run is to end before its work does."""
    parser.add_argument(
        "--walltime",
        metavar="TIME",
        help="when the job ends, counted from now: seconds, or like 1:30:00; the run drains before "
        "it, and exits with code 75 if work is left (docs/faults.md)",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        help="the time between the warning of a batch system, or that before the end of the "
        f"walltime, and the end of the run ({DEFAULT_GRACE:g}; {TERM_GRACE:g} after a SIGTERM)",
    )
    parser.add_argument(
        "--max-failures",
        metavar="N",
        help="drain when N tasks have failed, and exit with code 1 (when it is not given: when the "
        f"first {ALIKE} tasks of a stage have all failed alike)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Become the run; return only if it can't begin."""
    if not Path(arguments.script).is_file():
        print(f"error: no script {arguments.script}", file=sys.stderr)
        return 2
    if arguments.ranks is not None and arguments.ranks < 1:
        print(f"error: -n {arguments.ranks}: at least one rank is needed", file=sys.stderr)
        return 2
    silence = arguments.silence
    if silence is not None and not (silence == 0 or silence >= SHORTEST_SILENCE):
        least = f"0 or at least {SHORTEST_SILENCE:g} s"
        print(f"error: --silence {silence:g}: {least}", file=sys.stderr)
        return 2
    if silence is not None:
        os.environ[SILENCE] = str(silence)
    for resource in arguments.resource:
        name, _, count = resource.partition("=")
        if not name or not count.isdigit() or int(count) < 1:
            print(f"error: --resource {resource}: say NAME=N, like io=32", file=sys.stderr)
            return 2
    said = limits(arguments.walltime, arguments.grace, arguments.max_failures, time.time())
    os.environ.update(said.written(os.environ))
    if arguments.group:
        os.environ[SHARED_BY] = arguments.group
    os.environ[RESOURCES] = ",".join(arguments.resource)
    command = [sys.executable, arguments.script, *arguments.arguments]
    return run_below_agents(command, arguments.ranks, survive=arguments.survive)
