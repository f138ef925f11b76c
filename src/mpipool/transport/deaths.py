"""Deaths of ranks on the same node, as the kernel tells of them.

A pidfd becomes readable at the moment when its process ends, whatever MPI and its launcher make of
that. Ranks on other nodes are noticed by MPI, where it can, or else by their silence.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from mpipool.ids import Rank

SURVIVE: Final = "MPIPOOL_SURVIVE"
"""Environment variable which tells ranks that the job goes on when one of them dies, and how."""
LAUNCHER: Final = "MPIPOOL_LAUNCHER"
"""Environment variable: a path to tell whoever started mpiexec how the job has ended."""
BEGUN: Final = "begun"
"""Note of rank 0, once all ranks have come up."""
OVER: Final = "over"
"""Note of rank 0, when the run has ended in order: with whichever exit code, and in all words."""
_ULFM_IS_ON: Final = "OMPI_MCA_mpi_ft_enable"
"""As ``mpiexec --with-ft ulfm`` of Open MPI sets it."""


def survives(environment: Mapping[str, str]) -> bool:
    """Whether the other ranks go on when one dies."""
    return bool(environment.get(SURVIVE)) or environment.get(_ULFM_IS_ON) in {"1", "true"}


def tell_launcher(note: str) -> None:
    """Tell whoever has started mpiexec, if that is on this node, how the job fares."""
    path = os.environ.get(LAUNCHER)
    with contextlib.suppress(OSError):
        if path:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(descriptor, f"{note}\n".encode())
            os.close(descriptor)


class Deaths:
    """Watches the processes of other ranks.

    Parameters
    ----------
    bell : int
        A further descriptor which wakes whoever waits for deaths.

    Attributes
    ----------
    descriptor : int
        Readable when a rank has died, or the bell has rung.
    """

    def __init__(self, bell: int) -> None:
        self._epoll = select.epoll()
        self._bell = bell
        self._ranks: dict[int, Rank] = {}
        """Whose process a descriptor is."""
        self._epoll.register(bell, select.EPOLLIN)
        self.descriptor = self._epoll.fileno()

    def watch(self, rank: Rank, pid: int) -> None:
        """Be told when a process of this node ends. Without it, where the kernel can't."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            self._ranks[descriptor] = rank
            self._epoll.register(descriptor, select.EPOLLIN)

    def noticed(self) -> Sequence[Rank]:
        """Return the ranks which have died since the last call."""
        ready = [descriptor for descriptor, _ in self._epoll.poll(0) if descriptor != self._bell]
        return [self._forget(descriptor) for descriptor in ready]

    def kill(self, rank: Rank) -> None:
        """Kill the process of a rank, if it is on this node and not known to be dead."""
        for descriptor, watched in list(self._ranks.items()):
            if watched == rank:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                self._forget(descriptor)

    def _forget(self, descriptor: int) -> Rank:
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        return self._ranks.pop(descriptor)
