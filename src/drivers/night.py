"""Takes files into a repository as they arrive during the night."""

from __future__ import annotations

import time

from drivers.command import complain
from drivers.follow_options import Follow
from drivers.following import Following
from drivers.intake import Intake
from mpipool import Drained

_LONGEST_WAIT = 1.0
"""Seconds after which the pool is asked whether the run is to end."""


def take_as_they_come(intake: Intake, follow: Follow) -> None:
    """Take in the files which arrive, until it is time or the run is told to end.

    What is there is taken first. A file that never becomes complete is a problem of the outcome.

    Raises
    ------
    Drained
        If the run is told to end while files are taken in; what is left is taken next time.
    """
    with Following(follow.folders, poll=follow.poll) as following:
        complain(f"following {', '.join(map(str, follow.folders))}: {following.how}")
        while follow.left > 0 and not _told_to_end(intake):
            _take(intake, following.arrived(min(_LONGEST_WAIT, follow.left)))
        _take(intake, following.rest())
        intake.outcome.problems += [
            (path, f"never became complete: {why}") for path, why in following.unfinished()
        ]


def _take(intake: Intake, files: list[str]) -> None:
    if not files:
        return
    before = intake.outcome.new
    intake.take(files, _unseen)
    new = intake.outcome.new - before
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    complain(f"{time.strftime('%H:%M:%S')} {files[0]}{more}: {new} images")


def _told_to_end(intake: Intake) -> bool:
    """Whether the run drains: only a call to the pool tells, and while none comes there is none."""
    try:
        intake.pool.map(_beat, [None], errors="return", progress=_unseen)
    except (Drained, KeyboardInterrupt):
        return True
    return False


def _beat(nothing: None) -> None:
    """Do nothing."""


def _unseen(done: int, failed: int, total: int) -> None:
    """Files are named as they come."""
