"""The launcher, as a rank sees it: whether it is still there.

A launcher that is killed ends nothing. Its ranks go on, and what they have inherited of it makes
mpiexec believe that it lives: the connections of MPICH's proxy are open in every rank of its node.
So each rank ends by itself when its launcher is gone. It sees that in two ways: its parent changes,
and the connection hangs up that only the launcher holds at the other end.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Mapping
from typing import Final

from mpipool.executor.cores import parent_of
from mpipool.executor.environment import launched

_CONNECTION: Final = "PMI_FD"
_SENTENCE: Final = b"mpipool: the launcher is gone; this rank ends\n"


class Launcher:
    """The process which started this rank, if one has; not a shell from which a run is begun.

    Parameters
    ----------
    environment : mapping
        As the launcher has made it.
    below : int
        The process which the launcher has started: this one, or its parent.

    Attributes
    ----------
    pid : int
        Of the process; 0 if it can't be told.
    """

    def __init__(self, environment: Mapping[str, str], below: int) -> None:
        self.pid = parent_of(below)
        self._parents: dict[int, int] = {}
        self._connection = select.poll()
        if below == os.getppid():  # ours too: a script, or a supervisor
            self._parents[os.getpid()] = below
        if not launched(environment):
            return
        self._parents[below] = self.pid
        with contextlib.suppress(KeyError, ValueError):
            # For nothing that is said on it: a hang-up is always reported.
            self._connection.register(int(environment[_CONNECTION]), 0)

    @property
    def is_gone(self) -> bool:
        """Whether it was there and is not any more, or what stands between it and this rank."""
        moved = any(parent_of(child) != parent for child, parent in self._parents.items())
        return moved or bool(self._connection.poll(0))


def end_without_launcher() -> None:
    """End this process; the guards see it and end everything below.

    The other end of stderr was the launcher: nobody may read it, or it may be closed.
    """
    if select.select([], [2], [], 0)[1]:
        with contextlib.suppress(OSError):
            os.write(2, _SENTENCE)
    os._exit(1)
