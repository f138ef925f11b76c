"""``mpipool run``: run a script on ranks."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from mpipool.executor.environment import RESOURCES
from mpipool.launch import run_below_agents

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
        "--resource",
        action="append",
        default=[],
        metavar="NAME=N",
        help="named tokens for resources= of calls: io=32 lets at most 32 tasks hold an io; "
        "can be given several times",
    )
    parser.add_argument("script", help="the script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")


def main(arguments: argparse.Namespace) -> int:
    """Become the run; return only if it can't begin."""
    if not Path(arguments.script).is_file():
        print(f"error: no script {arguments.script}", file=sys.stderr)
        return 2
    if arguments.ranks is not None and arguments.ranks < 1:
        print(f"error: -n {arguments.ranks}: at least one rank is needed", file=sys.stderr)
        return 2
    for resource in arguments.resource:
        name, _, count = resource.partition("=")
        if not name or not count.isdigit() or int(count) < 1:
            print(f"error: --resource {resource}: say NAME=N, like io=32", file=sys.stderr)
            return 2
    os.environ[RESOURCES] = ",".join(arguments.resource)
    command = [sys.executable, arguments.script, *arguments.arguments]
    return run_below_agents(command, arguments.ranks)
