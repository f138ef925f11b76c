"""Who gets which rank. Pure decisions: events and the time go in, grants come out."""

from mpipool.scheduler.events import (
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    RankJoined,
)
from mpipool.scheduler.machine import Scheduler

__all__ = [
    "CoreBlocked",
    "DemandChanged",
    "Event",
    "Grant",
    "LeaseReturned",
    "RankJoined",
    "Scheduler",
]
