"""Typed integers: a rank is not a lease, and mypy says so."""

from __future__ import annotations

from typing import NewType

Rank = NewType("Rank", int)

ScatterId = NewType("ScatterId", int)
"""Unique in one session of a run: leader's rank in the upper bits, a serial number below."""

LeaseId = NewType("LeaseId", int)
"""Never reused, so a stale reply is recognisable. Negative: a leader's loan of its own core."""

ChunkId = NewType("ChunkId", int)
"""Serial number of a chunk within its scatter."""

ExecutorId = NewType("ExecutorId", int)
"""One process where user code runs; never reused, so a late frame of a dead one is recognisable."""

NO_SCATTER = ScatterId(0)
NO_LEASE = LeaseId(0)
"""The lease of what no scheduler knows: the script."""

ANY_EXECUTOR = ExecutorId(0)
"""Of a chunk which any process of a rank may run."""

GONE = ExecutorId(-1)
"""In place of a process that has ended."""

HERE = ExecutorId(-2)
"""In place of a process below an agent: the rank's own, which runs the tasks of gangs."""

GangId = NewType("GangId", int)
"""Unique in one session of a run: the rank of the first member in the upper bits, a number below.
Each task of a gang has one of its own."""

DataId = NewType("DataId", int)
"""Unique in one session of a run: the rank which keeps it in the upper bits, a number below."""

BROKER = Rank(0)
"""The rank whose agent also lends the others."""

_SERIAL_BITS = 40


def is_own(lease: LeaseId) -> bool:
    """Whether a lease is the loan of a rank's own core to its own scatter."""
    return lease < 0


def scatter_id(leader: Rank, serial: int) -> ScatterId:
    """Make the id of the ``serial``-th scatter led by ``leader``."""
    return ScatterId((leader << _SERIAL_BITS) | serial)


def leader_of(scatter: ScatterId) -> Rank:
    """Return the rank which leads ``scatter``."""
    return Rank(scatter >> _SERIAL_BITS)


def data_id(home: Rank, serial: int) -> DataId:
    """Make the id of the ``serial``-th data kept by ``home``."""
    return DataId((home << _SERIAL_BITS) | serial)


def home_of(data: DataId) -> Rank:
    """Return the rank which keeps ``data``."""
    return Rank(data >> _SERIAL_BITS)


def gang_id(first: Rank, serial: int) -> GangId:
    """Make the id of the ``serial``-th gang whose first member is ``first``."""
    return GangId((first << _SERIAL_BITS) | serial)


def first_of(gang: GangId) -> Rank:
    """Return the rank of the first member of ``gang``."""
    return Rank(gang >> _SERIAL_BITS)
