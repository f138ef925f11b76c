"""Who gets which task: one level below the scheduler, and of the same shape.

`Scatter` is the leader's side (one per scatter), `Member` the side of the rank that runs tasks.
"""

from mpipool.group.member import Entry, Member
from mpipool.group.scatter import Scatter

__all__ = ["Entry", "Member", "Scatter"]
