"""Which CPUs the executors of a rank may use: one each, unless there are too few or the launcher
has said otherwise.

An agent is not pinned, nor is the script. What tasks with more threads use instead is `threads`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mpipool.executor.environment import PIN, local_place

_TOPOLOGY: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"

Cores = Sequence[Sequence[int]]
"""Physical cores, each as the CPUs (hardware threads) of it that may be used."""


def choose(cores: Cores, index: int, size: int) -> frozenset[int] | None:
    """Choose the CPU of one of the ranks of a node.

    The ranks of a node each call this with the same cores, and get different CPUs: of different
    cores, spread over the sockets, as long as there are enough.

    Parameters
    ----------
    cores : sequence of sequences of int
        What the ranks of the node may use together.
    index, size : int
        Which of the ranks of this node, and how many there are.

    Returns
    -------
    frozenset of int or None
        None if there are more ranks than CPUs.
    """
    firsts = [core[0] for core in cores]
    others = [cpu for core in cores for cpu in core[1:]]
    if size > len(firsts) + len(others):
        return None
    if size <= len(firsts):
        return frozenset({firsts[index * len(firsts) // size]})
    return frozenset({(firsts + others)[index]})


def group(allowed: Collection[int], siblings: Mapping[int, Collection[int]]) -> Cores:
    """Group CPUs which may be used into cores.

    Parameters
    ----------
    allowed : collection of int
        The CPUs.
    siblings : mapping of int to collection of int
        For each, the hardware threads of its core; those not in it are cores by themselves.
    """
    cores: dict[int, list[int]] = {}
    for cpu in sorted(allowed):
        cores.setdefault(min(siblings.get(cpu, (cpu,))), []).append(cpu)
    return list(cores.values())


def parse(listed: str) -> frozenset[int]:
    """Read a list of CPUs as Linux writes it, for example ``0-3,64``."""
    found: set[int] = set()
    for item in filter(None, listed.strip().split(",")):
        first, _, last = item.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


# --- of this process -----------------------------------------------------------------------------


class Share(NamedTuple):
    """The CPUs of a rank."""

    own: frozenset[int]
    """Those of its executors."""
    node: frozenset[int]
    """Those of all ranks of its node: for a task with more threads, while its neighbours rest."""


def of_this_rank(environment: Mapping[str, str], launcher: int) -> Share | None:
    """Return the CPUs of this rank, or None if its executors are not to be pinned.

    Parameters
    ----------
    environment : mapping
        Of the agent: only a launcher's says which ranks share the node.
    launcher : int
        The process which started the rank. If it may use more CPUs, it has bound the rank, which
        keeps what it was given.
    """
    place = local_place(environment)
    if place is None or environment.get(PIN) == "0":
        return None
    allowed = frozenset(os.sched_getaffinity(0))
    try:
        everything = frozenset(os.sched_getaffinity(launcher))
    except OSError:  # it is gone, or not ours to look at: leave things as they are
        return None
    if allowed < everything:  # it has bound the rank
        return Share(allowed, everything)
    own = choose(group(allowed, _siblings(allowed)), *place)
    return Share(own, allowed) if own else None


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _siblings(cpus: Collection[int]) -> dict[int, frozenset[int]]:
    found = {}
    for cpu in cpus:
        try:
            found[cpu] = parse(Path(_TOPOLOGY.format(cpu)).read_text())
        except OSError:  # not told, in some containers
            continue
    return found
