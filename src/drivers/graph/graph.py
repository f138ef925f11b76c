"""A graph of tasks which may grow while it runs: a state machine without any effects.

A node starts when all that it needs has ended, in whatever way: one which has failed is left out by
those behind it, which are made of what there is. Outcomes are let go when nobody needs them any
more, so that the values of a large survey are not all in memory at once.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from drivers.graph.node import Call, Done, Empty, Failed, Node, NodeId, Outcome


class State(Enum):
    """Where a node stands."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    REUSED = "reused"
    FAILED = "failed"
    EMPTY = "empty"


ENDED: Final = frozenset({State.DONE, State.REUSED, State.FAILED, State.EMPTY})
MOVES: Final = {
    State.WAITING: {State.READY},
    State.READY: {State.RUNNING, State.EMPTY},
    State.RUNNING: {State.DONE, State.REUSED, State.FAILED, State.EMPTY},
}
"""All legal moves."""


class GraphError(Exception):
    """A graph was built or told something impossible; the message names the node."""


@dataclass(slots=True)
class _Standing:
    """What the graph knows of a node."""

    node: Node | None
    """None once it has ended: what its preparation holds is let go."""
    state: State = State.WAITING
    missing: int = 0
    """Prerequisites which have not ended."""
    dependents: list[NodeId] = field(default_factory=list)
    wanted: int = 0
    """Nodes which still need its outcome."""


class Graph:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, _Standing] = {}
        self._ready: list[tuple[tuple[float, ...], int, NodeId]] = []
        self._outcomes: dict[NodeId, Outcome] = {}
        self._entered = 0
        self._open = 0
        self.reasons: Counter[tuple[str, str]] = Counter()
        """Why nodes had nothing to do: how many of which stage, and the reason."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._nodes

    @property
    def is_over(self) -> bool:
        """Whether all nodes have ended."""
        return self._open == 0

    def state(self, node: NodeId) -> State:
        """Where a node stands."""
        return self._nodes[node].state

    def counts(self) -> dict[str, Counter[State]]:
        """Count nodes by stage, in the order in which stages came, and state."""
        counted: dict[str, Counter[State]] = {}
        for node, standing in self._nodes.items():
            counted.setdefault(node.stage, Counter())[standing.state] += 1
        return counted

    def add(self, node: Node) -> None:
        """Add a node; what it needs was added before.

        Raises
        ------
        GraphError
            If it is there already, or something that it needs is not, or its outcome is gone.
        """
        if node.id in self._nodes:
            raise GraphError(f"{node.id} stands in the graph already")
        standing = _Standing(node)
        for need in dict.fromkeys(node.needs):
            before = self._nodes.get(need)
            if before is None:
                raise GraphError(f"{node.id} needs {need}, which is not in the graph")
            if before.state in ENDED and need not in self._outcomes:
                raise GraphError(f"{node.id} needs {need}, whose outcome was let go")
        for need in dict.fromkeys(node.needs):
            before = self._nodes[need]
            before.wanted += 1
            if before.state not in ENDED:
                before.dependents.append(node.id)
                standing.missing += 1
        self._nodes[node.id] = standing
        self._open += 1
        if not standing.missing:
            self._make_ready(node.id)

    def next(self) -> tuple[NodeId, Call] | None:
        """Take the node which is to start next, and its call; None if none may start now.

        Nodes which turn out to have nothing to do end on the way.
        """
        while self._ready:
            _, _, node = heapq.heappop(self._ready)
            standing = self._nodes[node]
            assert standing.node
            needed = {need: self._outcomes[need] for need in standing.node.needs}
            prepared = standing.node.prepare(needed)
            if isinstance(prepared, Call):
                self._move(node, State.RUNNING)
                return node, prepared
            self._end(node, prepared)
        return None

    def end(self, node: NodeId, outcome: Outcome) -> None:
        """Take in what came of a node that was running."""
        if self._nodes[node].state is not State.RUNNING:
            raise GraphError(f"{node} ends, but it is {self._nodes[node].state.value}")
        self._end(node, outcome)

    def outcomes(self, stage: str) -> Iterator[tuple[NodeId, Outcome]]:
        """Yield the outcomes of a stage's nodes which are still held."""
        for node, outcome in self._outcomes.items():
            if node.stage == stage:
                yield node, outcome

    def _end(self, node: NodeId, outcome: Outcome) -> None:
        self._move(node, _state_of(outcome))
        standing = self._nodes[node]
        self._open -= 1
        if isinstance(outcome, Empty):
            self.reasons[node.stage, outcome.reason] += 1
        ended, standing.node = standing.node, None
        assert ended
        if standing.wanted:
            self._outcomes[node] = outcome
        for dependent in standing.dependents:
            behind = self._nodes[dependent]
            behind.missing -= 1
            if not behind.missing:
                self._make_ready(dependent)
        standing.dependents.clear()
        for need in dict.fromkeys(ended.needs):
            self._let_go(need)

    def _let_go(self, need: NodeId) -> None:
        standing = self._nodes[need]
        standing.wanted -= 1
        if not standing.wanted:
            del self._outcomes[need]

    def _make_ready(self, node: NodeId) -> None:
        standing = self._nodes[node]
        assert standing.node
        self._move(node, State.READY)
        self._entered += 1
        heapq.heappush(self._ready, (standing.node.order, self._entered, node))

    def _move(self, node: NodeId, state: State) -> None:
        standing = self._nodes[node]
        if state not in MOVES.get(standing.state, ()):
            raise GraphError(f"{node} is {standing.state.value} and can't be {state.value} next")
        standing.state = state


def _state_of(outcome: Outcome) -> State:
    match outcome:
        case Done(reused=reused):
            return State.REUSED if reused else State.DONE
        case Failed():
            return State.FAILED
        case Empty():
            return State.EMPTY
