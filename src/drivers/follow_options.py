"""The options of drivers which take frames as they arrive, and when they are to end."""

from __future__ import annotations

import argparse
import math
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from drivers.command import CommandError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Follow:
    """What is followed.

    Attributes
    ----------
    folders : tuple of Path
        They exist.
    poll : bool
        Look through them, though the kernel could tell.
    ends : float
        When that ends, as `time.monotonic` counts [s].
    """

    folders: tuple[Path, ...]
    poll: bool
    ends: float

    @property
    def left(self) -> float:
        """Seconds until it ends."""
        return self.ends - time.monotonic()


def add_follow(parser: argparse.ArgumentParser) -> None:
    """Declare ``--follow``, ``--until`` and ``--follow-poll``."""
    parser.add_argument(
        "--follow",
        action="append",
        default=[],
        metavar="DIR",
        help="take frames as they arrive in this folder and below it, each when it is complete",
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        help="with --follow: when that ends: HH:MM (local time), or how long: 90m, 10h, 1:30:00; "
        "otherwise a signal ends it",
    )
    parser.add_argument(
        "--follow-poll",
        action="store_true",
        help="look through the folders every few seconds even on a local disk",
    )


def followed(options: argparse.Namespace) -> Follow | None:
    """Return what the options say; None if nothing is followed.

    Raises
    ------
    CommandError
        If a folder is none, or a time can't be understood.
    """
    if not options.follow:
        if options.until or options.follow_poll:
            raise CommandError("--until and --follow-poll go with --follow DIR")
        return None
    for folder in options.follow:
        if not Path(folder).is_dir():
            raise CommandError(f"--follow {folder}: is no folder")
    seconds = seconds_until(options.until, datetime.now()) if options.until else math.inf
    folders = tuple(Path(folder).absolute() for folder in options.follow)
    return Follow(folders, options.follow_poll, time.monotonic() + seconds)


def seconds_until(text: str, now: datetime) -> float:
    """Return how long it is until a time of the day, or how long a duration is [s].

    Parameters
    ----------
    text : str
        ``HH:MM``, the next time the clock says that, or a duration such as ``90m``, ``10h``,
        ``1:30:00`` or a number of seconds.
    now : datetime
        What the clock says.

    Raises
    ------
    CommandError
        If it is none of these.
    """
    if match := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text):
        then = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return (then + timedelta(days=then <= now) - now).total_seconds()
    if match := re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", text):
        hours, minutes, seconds = map(int, match.groups())
        return hours * 3600.0 + minutes * 60 + seconds
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text):
        return float(match[1]) * _UNITS[match[2] or "s"]
    raise CommandError(f"--until {text!r} is neither HH:MM nor a duration such as 90m or 1:30:00")
