"""Whether the holder of a lock is in the way of a run that wants the database."""

from __future__ import annotations

import logging
import time

from mpipool.checkpoint.batch_job import has_ended
from mpipool.checkpoint.lock import Holder
from mpipool.errors import CheckpointLocked


class Judge:
    """Judges holders, and asks the batch system once about each.

    Parameters
    ----------
    path : str
        The database.
    take_over : bool
        Whether the user says that holders which can't be seen are dead.
    """

    def __init__(self, path: str, take_over: bool) -> None:
        self._path, self._take_over = path, take_over
        self._dead: set[tuple[int, str]] = set()

    def lives(self, holder: Holder) -> bool:
        """Return whether a holder lives.

        Raises
        ------
        CheckpointLocked
            If that can't be found out.
        """
        liveness = holder.liveness()
        if liveness != "unknown":
            return liveness == "live"
        if self._take_over or (holder.token, holder.process) in self._dead:
            return False
        if has_ended(holder.batch_job, holder.started):
            logging.getLogger("mpipool.checkpoint").info(
                "%s: the batch system says that job %s has ended", self._path, holder.batch_job
            )
            self._dead.add((holder.token, holder.process))
            return False
        raise CheckpointLocked(
            self._path,
            f"a run that can't be seen from here holds it ({holder.describe()}; last heard of"
            f" {max(0.0, time.time() - holder.heartbeat):.0f} s ago): end it, or if it is surely"
            " dead start again with --take-over (in a script of your own, Pool(take_over=True))",
        )
