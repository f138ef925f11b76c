"""How long a member of a gang is waited for that may wait for the dead, within MPI.

Nothing can interrupt code which waits in MPI. Some MPIs let everybody out with an error when a
member of the communicator has died; not always, and no other one does. And while communicators are
made, the death of any rank may leave members waiting for each other, all of which live: seen under
Open MPI 5.0 with ULFM, once in some twenty gangs which were just entering. So a member whose gang
has lost another one must come out, and one that is joining its gang when some rank dies must get
its communicator; who does not within a grace is given up too, and others run the task again.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from mpipool.group.gang import GRACE
from mpipool.ids import Rank


class Patience:
    """With the task of a gang which has the main thread of this rank."""

    def __init__(self) -> None:
        self._members: Collection[int] = ()
        """Of the gang; none while no task has the main thread."""
        self._lost: list[Rank] = []
        self._join_by = self._end_by = inf

    def entered(self, members: Collection[int], gone: Collection[Rank], now: float) -> None:
        """Note that a task begins, when some ranks may be gone already."""
        self.left()
        self._members = members
        for rank in sorted(gone):
            self.lost(rank, now)

    def lost(self, rank: Rank, now: float) -> None:
        """Note that a rank is gone."""
        self._join_by = now + GRACE
        if rank in self._members:
            self._lost.append(rank)
            self._end_by = min(self._end_by, now + GRACE)

    def left(self) -> None:
        """Note that the task has ended."""
        self._members, self._lost = (), []
        self._join_by = self._end_by = inf

    def verdict(self, joined: bool, now: float) -> str:
        """Return why this rank is to be given up; empty while it is not.

        Parameters
        ----------
        joined : bool
            Whether the task has its communicator.
        now : float
            Seconds, monotonic.
        """
        if joined:
            self._join_by = inf
        if not self._members or now < min(self._join_by, self._end_by):
            return ""
        names = ", ".join(map(str, self._lost))
        self.left()
        if names:
            return f"its task of a gang does not end, and waits for rank {names}, which is gone"
        return "its gang does not get a communicator since a rank died meanwhile"
