"""Who gets which rank. Pure decisions: events and the time go in, grants come out."""

from mpipool.scheduler.events import (
    Command,
    CoreBlocked,
    DemandChanged,
    Event,
    Grant,
    LeaseReturned,
    Pardon,
    RankJoined,
    RankLost,
    RankQuarantined,
    Reclaim,
    Refuse,
    TokensProvided,
)
from mpipool.scheduler.health import Health
from mpipool.scheduler.machine import Scheduler

__all__ = [
    "Command",
    "CoreBlocked",
    "DemandChanged",
    "Event",
    "Grant",
    "Health",
    "LeaseReturned",
    "Pardon",
    "RankJoined",
    "RankLost",
    "RankQuarantined",
    "Reclaim",
    "Refuse",
    "Scheduler",
    "TokensProvided",
]
