"""How much of their time the ranks of a session worked, from its records."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from mpipool.checkpoint.damaged import typed
from mpipool.checkpoint.reading import opened

_RANKS: Final = "SELECT coalesce(max(ranks), 0) FROM session WHERE token = ?"
_TASKS: Final = "SELECT rank, started, finished, cpu FROM attempt WHERE session = ?"
# While a task waits for a scatter of its own it does not work; the script's scatters have no task.
_GATHERS: Final = """
SELECT leader, opened, closed FROM scatter
WHERE session = ? AND parent IS NOT NULL AND closed IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankUse:
    """What one rank did in a session."""

    rank: int
    host: str
    """Empty if it was not recorded."""
    tasks: int
    """Attempts that finished on it."""
    busy: float
    """Seconds in which a task ran on it, waiting in a gather not counted."""
    cpu: float
    """Seconds of CPU which its tasks used."""


def utilisation(
    path: str | os.PathLike[str],
    session: int | None = None,
    period: tuple[float, float] = (-math.inf, math.inf),
) -> list[RankUse]:
    """Sum up each rank's work in a session, the last one by default; unused ranks too.

    Of what was busy, only what lies in the period counts.
    """
    with opened(path) as connection:
        if session is None:
            (session,) = connection.execute("SELECT max(token) FROM session").fetchone()

        def select(query: str, *kinds: type) -> list[Any]:
            return list(typed(connection.execute(query, (session,)), *kinds))

        ((ranks,),) = select(_RANKS, int)
        hosts = dict(select("SELECT rank, host FROM rank WHERE session = ?", int, str))
        tasks = select(_TASKS, int, float, float, float)
        gathers = select(_GATHERS, int, float, float)
    return _sum_up(range(ranks), hosts, tasks, gathers, period)


def _sum_up(
    ranks: range,
    hosts: dict[int, str],
    tasks: list[tuple[int, float, float, float]],
    gathers: list[tuple[int, float, float]],
    period: tuple[float, float],
) -> list[RankUse]:
    steps: dict[int, list[tuple[float, int]]] = defaultdict(list)
    count: dict[int, int] = defaultdict(int)
    cpu: dict[int, float] = defaultdict(float)
    for rank, started, finished, used in tasks:
        steps[rank] += (started, 1), (finished, -1)
        count[rank] += 1
        cpu[rank] += used
    for rank, opened_at, closed in gathers:
        steps[rank] += (opened_at, -1), (closed, 1)
    return [
        RankUse(
            rank=rank,
            host=hosts.get(rank, ""),
            tasks=count[rank],
            busy=_busy(steps[rank], *period),
            cpu=cpu[rank],
        )
        for rank in sorted({*ranks, *hosts, *count})
    ]


def _busy(steps: list[tuple[float, int]], since: float, to: float) -> float:
    """Return for how long the sum of the steps was above zero, of the time between two moments."""
    running, busy = 0, 0.0
    for (when, step), (until, _) in pairwise(sorted(steps)):
        running += step
        if running > 0:
            busy += max(0.0, min(until, to) - max(when, since))
    return busy
