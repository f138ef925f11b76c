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
