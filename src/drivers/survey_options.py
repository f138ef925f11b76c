"""The command lines of the drivers which run stages of the survey."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.command import EXIT_CODES, add_limits
from drivers.follow_options import add_follow

_SELECTION = """\
--id and --selectId take KEY=VALUE words. '^' separates alternatives, 'A..B' is an inclusive range,
  'A..B:S' every S-th of it:
    --id visit=1228^1230..1236:2 ccd=0..103 filter=g^r
    --id tract=9813 patch=1,2^3,4
  All words of one --id must fit, and any of several. --id selects what is made, --selectId what it
  is made of. Without them everything is selected. --where "seeing < 0.9 and n_sources > 50" leaves
  out CCDs by what was measured on them.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A driver.

    Attributes
    ----------
    program : str
        Its name.
    description : str
        What it does, for its help.
    stages : tuple of str
        The stages which it runs; of the others it uses what is done.
    chooses : bool
        Whether its user may say which stages it runs.
    by_visit : bool
        Whether all that is done with a visit is one task, which scatters its CCDs.
    """

    program: str
    description: str
    stages: tuple[str, ...]
    chooses: bool = False
    by_visit: bool = False


def parser(command: Command) -> argparse.ArgumentParser:
    """Return the parser of a driver's command line."""
    made = argparse.ArgumentParser(
        prog=command.program,
        description=command.description,
        epilog=f"{_SELECTION}\nexit code: 0 all done, 1 some tasks failed, 2 usage, {EXIT_CODES}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("repo", metavar="REPO", help="folder of the repository")
    _add_what(made, command)
    _add_configuration(made)
    _add_how(made)
    if "singleFrame" in command.stages:
        add_follow(made)
    else:
        made.set_defaults(follow=[], until=None, follow_poll=False)
    add_limits(made)
    return made


def _add_what(made: argparse.ArgumentParser, command: Command) -> None:
    add = made.add_argument
    add(
        "--rerun",
        required=True,
        metavar="[PARENT:]NAME",
        help="where outputs go: REPO/rerun/NAME; what PARENT has is read from there",
    )
    words: Sequence[tuple[str, str]] = (
        ("--id", "what to make"),
        ("--selectId", "what to make it of"),
    )
    for option, text in words:
        add(option, action="append", nargs="*", default=[], metavar="KEY=VALUE", help=text)
    add("--where", action="append", default=[], metavar="CONDITION", help="which CCDs are used")
    if command.chooses:
        add(
            "--stages", metavar="A,B,C..D", help="run these stages only; use what is done of others"
        )
        add("--skip", default="", metavar="A,B", help="do without these stages")
    add(
        "--reuse-outputs-from",
        metavar="STAGE",
        help="take what is done up to this stage (or all) as it is, whatever it was made with",
    )


def _add_configuration(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--config-file", action="append", default=[], metavar="FILE", help="TOML")
    add(
        "-c", "--config", nargs="+", action="extend", default=[], metavar="STAGE.FIELD=VALUE",
        help="such as coadd.clip_sigma=3",
    )  # fmt: skip
    add(
        "--clobber-config",
        action="store_true",
        help="go on with a rerun of another configuration; what has changed is made again",
    )
    add(
        "--reprocess",
        action="store_true",
        help="measure again, with a larger measure.deblend.max_area, where something was over it",
    )
    add("--show", choices=("data", "config", "graph"), help="show that, and change nothing")


def _add_how(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    add("--fail-fast", action="store_true", help="begin nothing more once a task has failed")
    add("--retries", type=_count, default=0, metavar="K", help="try a failed task K times more")
    add("--scratch", default="", metavar="DIR", help="each node's disk for what is needed briefly")
    add("--cores", type=int, metavar="N", help="start N ranks (without mpiexec)")
    add(
        "--survive",
        action="store_true",
        help="with --cores: go on when a rank dies, if this MPI can do that",
    )
    add(
        "--take-over",
        action="store_true",
        help="take the run's database from a run on another host which nobody can see any more",
    )
    add(
        "--group",
        default="",
        metavar="NAME",
        help="a Unix group whose members share the rerun, and may go on with it",
    )


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)
