"""The command ``mpipool``: one verb per file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol

from mpipool.cli import failed, run, status
from mpipool.errors import MpipoolError


class Verb(Protocol):
    """What the module of a verb has."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the verb takes."""

    def main(self, args: argparse.Namespace) -> int:
        """Do it, and return the exit code."""


VERBS: Final[tuple[Verb, ...]] = (run, status, failed)
"""In the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    args = _parser().parse_args(argv)
    verb: Verb = args.verb
    try:
        code = verb.main(args)
        sys.stdout.flush()
    except MpipoolError as error:
        print(f"mpipool {verb.NAME}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpipool", description="Look at and run mpipool's runs.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        added = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.add_arguments(added)
        added.set_defaults(verb=verb)
    return parser
