"""The communicators of gangs where a rank's death does not end the job, and MPI knows of it.

Who waits in MPI for a dead rank, or for one that has noticed the death and does something else, is
interrupted by the revocation of the communicator and by nothing else. The agent's loop does that,
while the gang has the main thread.

After a death `MPI_Comm_create_group` fails from a communicator of all ranks, but not at the same
moment everywhere: who has not noticed it yet waits for ever for those who have, whichever other way
they take, although none of the members is dead. So communicators are made from one of the members
alone. That one is made by `MPI_Comm_create_from_group`, which knows nothing of other ranks, and is
kept: under Open MPI 5 each such call takes longer than the one before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from mpipool.ids import Rank


class Gangs:
    """The communicators which a rank has for gangs; it belongs to one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bases: dict[tuple[int, ...], Any] = {}
        self._ranks: tuple[int, ...] = ()
        self._communicators: list[Any] = []

    def base(self, ranks: Sequence[int], make: Callable[[], Any]) -> Any:
        """Return the communicator of some ranks from which those of their gangs are made.

        Parameters
        ----------
        ranks : sequence of int
            The members, in their order.
        make : callable
            Makes it, if there is none yet; each member calls it then.
        """
        self._ranks = tuple(ranks)
        if self._ranks not in self._bases:
            self._bases[self._ranks] = make()
        base = self._bases[self._ranks]
        with self._lock:
            self._communicators = [base]
        return base

    def add(self, communicator: Any) -> None:
        """Note a communicator of the gang."""
        with self._lock:
            self._communicators.append(communicator)

    def remove(self, communicator: Any) -> None:
        """Note that a communicator is about to be freed."""
        with self._lock:
            self._communicators = [each for each in self._communicators if each is not communicator]

    def give_up(self, rank: Rank) -> None:
        """Get the members of the gang out of MPI, if the rank was one of them."""
        with self._lock:
            for communicator in self._communicators if rank in self._ranks else ():
                communicator.Revoke()
