"""What can never be placed, however long it waits, and why: it is refused at once.

What ancestors hold does not matter here: descendants may use all of that again. Only the gang which
an ancestor is in does: a rank's own process takes part in one gang at a time.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mpipool.ids import LeaseId
from mpipool.needs import Needs
from mpipool.scheduler.cores import NO_GANG, Cores
from mpipool.scheduler.demands import Demand
from mpipool.scheduler.stores import Store

FITS: Final = ""


class Fitting:
    """Judges needs by what there is in all.

    Parameters
    ----------
    cores : Cores
        The ranks, on their nodes.
    tokens : dict
        The run's tokens by name.
    """

    def __init__(self, cores: Cores, tokens: dict[str, Store]) -> None:
        self._cores = cores
        self._tokens = tokens
        self._nodes: Counter[tuple[int, int]] = Counter()
        """How many nodes have so many ranks and so much memory."""
        self._ranks = -1
        """How many ranks there were when the nodes were counted."""

    def judge(self, demand: Demand) -> str:
        """Return why no task of a scatter can ever be placed; empty if one can."""
        return (
            self._pins(demand)
            or self._gang(demand.needs, demand.gang)
            or self._threads(demand.needs)
            or self._memory(demand.needs)
            or self._lacking_tokens(demand.needs)
        )

    def _pins(self, demand: Demand) -> str:
        for rank in demand.pins:
            if rank not in self._cores:
                return f"a task must run on rank {rank}, which runs no tasks"
            if demand.needs.in_place:
                return "a gang can't be bound to a rank by what is kept there"
            node = self._cores[rank].node
            if demand.needs.threads > len(node.ranks):
                return (
                    f"a task must run on rank {rank} and needs {demand.needs.threads} cores; "
                    f"the node of this rank has {len(node.ranks)}"
                )
            cap = node.memory.cap
            if demand.needs.memory > cap:
                return (
                    f"a task must run on rank {rank} and needs {demand.needs.memory} MiB; "
                    f"the node of this rank has {cap} MiB"
                )
        return FITS

    def _gang(self, needs: Needs, within: LeaseId) -> str:
        fewest = needs.ranks[0]
        if not needs.in_place:
            return FITS
        if within != NO_GANG:
            return (
                "a gang can't be started below a gang, whose ranks' own processes are taken: "
                "use map without ranks= there, or start the gang further outside"
            )
        if needs.threads > 1:
            return (
                f"a task in a rank's own process can't have cores of other ranks "
                f"(threads={needs.threads}): leave threads= out"
            )
        if fewest > len(self._cores):
            return (
                f"each task needs {fewest} ranks and the run has {len(self._cores)} that run "
                "tasks: ask for fewer, or start more"
            )
        return FITS

    def _threads(self, needs: Needs) -> str:
        most = max((ranks for ranks, _ in self._classes()), default=0)
        if needs.threads <= most:
            return FITS
        return (
            f"each task needs {needs.threads} cores of one node (threads={needs.threads}) and no "
            f"node has more than {most} ranks: ask for fewer, or start more ranks on a node"
        )

    def _memory(self, needs: Needs) -> str:
        if not needs.memory:
            return FITS
        seats = sum(
            nodes * min(ranks, memory // needs.memory)
            for (ranks, memory), nodes in self._classes().items()
            if ranks >= needs.threads
        )
        if seats >= needs.ranks[0]:
            return FITS
        most = max((memory for ranks, memory in self._classes() if ranks >= needs.threads))
        if needs.memory > most:
            beside = f" and {needs.threads} ranks" if needs.threads > 1 else ""
            return (
                f"each task needs {needs.memory} MiB{beside} and no node has more than "
                f"{most} MiB{beside and ' beside these'}: ask for less"
            )
        return (
            f"each task needs {needs.ranks[0]} ranks with {needs.memory} MiB each and the nodes "
            f"have room for {seats} of these: ask for fewer ranks, or for less memory"
        )

    def _lacking_tokens(self, needs: Needs) -> str:
        for name, count in needs.tokens:
            if name not in self._tokens:
                return f"each task needs {name}={count}: no --resource {name}=N was given"
            if count > self._tokens[name].cap:
                return (
                    f"each task needs {name}={count} and the run has "
                    f"--resource {name}={self._tokens[name].cap}: ask for less, or give more"
                )
        return FITS

    def _classes(self) -> Counter[tuple[int, int]]:
        if self._ranks != len(self._cores):
            self._ranks = len(self._cores)
            self._nodes = Counter((len(n.ranks), n.memory.cap) for n in self._cores.nodes)
        return self._nodes
